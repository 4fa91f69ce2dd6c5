"""What the processes of these tests do: ``worker.py VERB HOME PROFILE …``. Each says what happened in JSON lines."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator

from kanban_shards import Board, Gateway, Refused
from kanban_shards.bell import WAITING_PREFIX
from kanban_shards.errors import KanbanError

PATIENCE_S = 120.0


def race(home: str, profile: str, read_end: str, write_end: str) -> None:
    """Claim each task of standard input at the instant when the other racer does."""
    claims = []
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        for task_id in sys.stdin.read().split():
            os.write(int(write_end), b".")
            os.read(int(read_end), 1)
            try:
                claims.append({"task": task_id, "won": gateway.claim(task_id).profile})
            except Refused as refused:
                claims.append({"task": task_id, "sentence": refused.sentence, "answer": refused.answer})
    for claim in claims:  # all at the end: a full pipe would hold up both racers
        say(**claim)


def work(home: str, profile: str, diary: str) -> None:
    """Make, comment, claim and complete tasks without end; note in ``diary`` what was acknowledged, once it was."""
    notes = os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def acknowledged(**facts: object) -> None:
        os.write(notes, (json.dumps({"profile": profile, **facts}) + "\n").encode())

    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        for number in endless():
            task_id = gateway.create(f"task {number} of process {os.getpid()}", assignee=profile)
            acknowledged(kind="create", task=task_id)
            acknowledged(kind="comment", task=task_id, seq=gateway.comment(task_id, f"{profile} {number}"))
            run = gateway.claim(task_id)
            acknowledged(kind="claim", task=task_id, run=run.id)
            gateway.complete(run, summary=f"done by {os.getpid()}")
            acknowledged(kind="complete", task=task_id, run=run.id)


def append(home: str, profile: str, task_id: str, count: str) -> None:
    """Comment ``count`` times; say the seq of each."""
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        for number in range(int(count)):
            say(seq=gateway.comment(task_id, f"{os.getpid()}-{number}"))


def threads(home: str, profile: str, count: str) -> None:
    """``count`` threads of one gateway make, comment, claim and complete a task each; say what each did."""

    def one() -> None:
        try:
            task_id = gateway.create("by a thread", assignee=profile)
            gateway.comment(task_id, "by a thread")
            run = gateway.claim(task_id)
            gateway.complete(run, summary="by a thread")
            say(task=task_id, run=run.id)
        except Exception as error:
            say(error=repr(error))

    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        working = [threading.Thread(target=one) for _ in range(int(count))]
        for thread in working:
            thread.start()
        for thread in working:
            thread.join()


def fork(home: str, profile: str) -> None:
    """Fork with an open gateway and board; the child tries to use and to close them, then the parent goes on."""
    gateway = Gateway(profile, home=home)
    task_id = gateway.create("before the fork")
    run = gateway.claim(task_id)
    board = Board.open(home=home)
    bells = waiting_bells(home)
    child = os.fork()
    if child == 0:
        for name, use in {
            "append": lambda: gateway.comment(task_id, "from the child"),
            "claim": lambda: gateway.claim(task_id),
            "sync": gateway.sync,
            "gateway.board": lambda: gateway.board.task(task_id),
            "board": lambda: board.task(task_id),
        }.items():
            say(use=name, error=outcome(use))
        gateway.close()
        board.close()
        with Gateway(profile, home=home) as own:
            say(use="own", error=outcome(lambda: own.comment(task_id, "by the child's own gateway")))
        os._exit(0)
    os.waitpid(child, 0)
    say(bells_left=bells == waiting_bells(home) != [])
    gateway.complete(run, summary="after the fork")
    say(status=board.task(task_id).status, comments=[comment.body for comment in board.comments(task_id)])
    gateway.close()
    board.close()


def patient_daemon(home: str, profile: str, *words: str) -> None:
    """A daemon whose sweep is an hour away, so that only a bell or a signal wakes it; ``words`` of its command."""
    from kanban_shards.coordinator.cli.main import main
    from kanban_shards.coordinator.daemon import daemon

    daemon.SWEEP_S = 3_600
    main(["--home", home, "daemon", *words], "kanban-merge")


def patient_kanban(home: str, profile: str, *words: str) -> None:
    """``kanban`` with these words, which looks at the board once an hour unless it is rung. Says when it begins to
    wait, and at SIGUSR1 how often it looked."""
    from kanban_shards import board
    from kanban_shards.bell import Bell
    from kanban_shards.cli.main import main

    board.LOST_BELL_S = 3_600
    looks = 0
    waits = False
    true_events, true_wait = board.Board.events, Bell.wait

    def events(*args: object, **how: object):
        nonlocal looks
        looks += 1
        return true_events(*args, **how)

    def wait(bell: Bell, longest_s: float) -> bool:
        nonlocal waits
        if not waits:
            waits = True
            say(waiting=True)
        return true_wait(bell, longest_s)

    board.Board.events, Bell.wait = events, wait
    signal.signal(signal.SIGUSR1, lambda *_: say(looks=looks))
    main(["--home", home, *words], "kanban")


def endless() -> Iterator[int]:
    """0, 1, 2, …"""
    number = 0
    while True:
        yield number
        number += 1


def outcome(use) -> str | None:
    """The name of the KanbanError that ``use`` raises, if any."""
    try:
        use()
    except KanbanError as error:
        return type(error).__name__
    return None


def waiting_bells(home: str) -> list[str]:
    """The bells that hang in the board's folder."""
    return sorted(name for name in os.listdir(home) if name.startswith(WAITING_PREFIX))


def say(**facts: object) -> None:
    """One line, in one write, so that threads and forks do not mix theirs."""
    os.write(sys.stdout.fileno(), (json.dumps(facts) + "\n").encode())


if __name__ == "__main__":
    verbs = {verb.__name__: verb for verb in (race, work, append, threads, fork, patient_daemon, patient_kanban)}
    verbs[sys.argv[1]](*sys.argv[2:])
