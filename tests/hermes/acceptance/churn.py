"""The load of one profile, run by the interpreter of Hermes: through Hermes's own functions, as a busy gateway's.

``churn.py FILE``: until that file is there, one thread creates, comments, subscribes, completes and unsubscribes, and
prints the id of each task of which every call was acknowledged; another lists and promotes as fast as a dashboard.
Whatever a call raised is printed, too, each kind of it once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hermes_cli import kanban_db as kb
from hermes_cli.profiles import get_active_profile_name

READ_EVERY_S = 0.05
PAUSE_S = 0.02


def main() -> None:
    """Work until told to stop."""
    stop, me = Path(sys.argv[1]), get_active_profile_name()
    said: set[str] = set()

    def repeat(work: Callable[[Any, int], str | None], pause_s: float) -> None:
        number = 0
        while not stop.exists():
            number += 1
            try:
                with kb.connect_closing() as connection:
                    _say(work(connection, number))
            except Exception as error:
                problem = f"{type(error).__name__}: {error}".replace("\n", " ")
                if problem not in said:
                    said.add(problem)
                    _say(f"! {problem}")
            time.sleep(pause_s)

    def write(connection: Any, number: int) -> str | None:
        task = kb.create_task(connection, title=f"{me} {number}", created_by=me)
        kb.add_comment(connection, task, me, "begun")
        chat = {"task_id": task, "platform": "ntfy", "chat_id": f"nobody-{me}"}
        kb.add_notify_sub(connection, **chat, notifier_profile="nobody")
        if not kb.complete_task(connection, task, summary="done"):
            raise RuntimeError(f"{task} could not be completed")
        if not kb.remove_notify_sub(connection, **chat):
            raise RuntimeError(f"{task} had no subscription")
        return task

    def read(connection: Any, number: int) -> None:
        kb.list_tasks(connection)
        kb.list_notify_subs(connection)
        kb.recompute_ready(connection)

    threads = [
        threading.Thread(target=repeat, args=(write, PAUSE_S)),
        threading.Thread(target=repeat, args=(read, READ_EVERY_S)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _say(line: str | None) -> None:
    if line:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
