"""A process with Hermes loaded, which plays scenes: each in a fork, with a home of its own.

``python driver.py SITE MODULE…`` reads lines ``MODULE SCENE HOME`` and answers each with one line of JSON: null, or how
the scene failed. ``SITE``: the folder with this project, which is then bridged; ``-`` plays on the released Hermes.
"""

from __future__ import annotations

import importlib
import json
import os
import site
import sys
import traceback
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]


def main(folder: str, names: list[str]) -> None:
    """Play what is asked for, until nothing more is."""
    sys.path.append(str(ROOT))
    if folder != "-":
        site.addsitedir(folder)
        os.environ["SCENES_SITE"] = folder
        from kanban_shards.hermes import startup

        startup.start()
    from hermes_cli import kanban_db  # type: ignore[import-not-found]

    modules = {name: importlib.import_module(f"tests.hermes.scenes.{name}") for name in names}
    for line in sys.stdin:
        module, scene, home = line.split()
        print(json.dumps(_played(modules[module], scene, home, kanban_db)), flush=True)


def _played(module: ModuleType, scene: str, home: str, kanban_db: ModuleType) -> str | None:
    """How the scene failed, or None."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        said = _play(module, scene, home, kanban_db)
        with os.fdopen(write, "w") as answer:
            answer.write(said)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    _, status = os.waitpid(pid, 0)
    return said or (f"ended with {status}" if status else None)


def _play(module: ModuleType, scene: str, home: str, kanban_db: ModuleType) -> str:
    os.environ["HOME"] = home
    try:
        getattr(module, scene)(kanban_db, Path(home))
        if "kanban_shards.hermes.identity" in sys.modules:
            from kanban_shards.hermes import identity

            identity.close_kept()
    except BaseException:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
