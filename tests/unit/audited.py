"""``audited.py HOME [BREACH]``: every public call, with an audit hook that notes what is done to database files by
anything but SQLite, and with this process's locks before and after each. Says what it noticed as JSON.

An audit hook cannot be removed, so it lives in a process of its own. ``BREACH`` commits one crime on purpose.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from click.testing import CliRunner

from kanban_shards import Board, Gateway, Refused
from kanban_shards.changes.kinds import AddComment
from kanban_shards.cli.main import main as kanban
from kanban_shards.coordinator.cli.main import main as kanban_merge
from kanban_shards.coordinator.merge import staying
from kanban_shards.queries import TaskQuery

LOCKS = Path("/proc/locks")
DATABASE = re.compile(r"kanban[^/]*\.db(-wal|-shm|-journal)?$")
# What touches a file by its name or opens it. ``sqlite3.connect`` is SQLite's own door.
TOUCHING = ("open", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "shutil.", "sqlite3.connect")

noticed: list[str] = []


def watch(event: str, given: tuple) -> None:
    """The audit hook."""
    if not event.startswith(TOUCHING):
        return
    if event == "open" and given[2] & getattr(os, "O_PATH", 0):
        return  # the file is not opened, and closing that descriptor gives up no lock
    for word in given[:2]:
        if isinstance(word, (str, bytes, os.PathLike)) and DATABASE.search(_plain(word)):
            asked_by = _module_that_asks()
            if event == "open" and (_is_called("open_as_found") or given[2] & getattr(os, "O_PATH", 0)):
                continue  # the exceptions of law 1; a name only holds no locks
            if asked_by != "storage/sqlite.py" or event == "open":
                noticed.append(f"{event} of {_plain(word).rpartition('/')[2]} by {asked_by}")


def _plain(word: str | bytes | os.PathLike) -> str:
    return os.fsdecode(word).partition("?")[0]


def _is_called(function: str) -> bool:
    """Whether ``function`` is what asks."""
    frame = sys._getframe(2)
    return frame is not None and frame.f_code.co_name == function


def _module_that_asks() -> str:
    frame = sys._getframe(2)
    while frame and not re.search(r"/(shards|coordinator|migrations|tests)/", frame.f_code.co_filename):
        frame = frame.f_back
    return "/".join(frame.f_code.co_filename.split("/")[-2:]) if frame else "?"


def locks(folder: Path) -> Counter[tuple[str, str]]:
    """This process's locks on the files of ``folder``: how many by file and kind."""
    inodes = {entry.inode(): entry.name for entry in os.scandir(folder)}
    found: Counter[tuple[str, str]] = Counter()
    for line in LOCKS.read_text().splitlines() if LOCKS.exists() else ():
        fields = line.split()
        if fields[1] == "->":
            continue
        kind, pid, inode = fields[1], int(fields[4]), int(fields[5].rsplit(":", 1)[1])
        if pid == os.getpid() and inode in inodes:
            found[inodes[inode], kind] += 1
    return found


def locks_at_rest(folder: Path) -> Counter[tuple[str, str]]:
    """The same, once no thread of this program is the coordinator, as one is for a moment after passes in a row."""
    for thread in threading.enumerate():
        if thread.name == staying.THREAD:
            thread.join()
    return locks(folder)


def breach(which: str, board: Path) -> None:
    """A crime against the laws."""
    if which == "open":
        board.open("rb").close()
    elif which == "copy":
        shutil.copyfile(board, board.with_name("copy"))
    elif which == "connect":
        sqlite3.connect(board).close()
    elif which == "rename":
        os.link(board, board.with_name("linked"))


def calls(home: Path, gateway: Gateway, board: Board) -> dict[str, Callable[[], object]]:
    """Every public method of Gateway and Board by its name, and some verbs of both commands."""
    a = gateway.create("a")
    b = gateway.create("b")
    triage = [gateway.create("t", starts="triage") for _ in range(2)]
    gateway.subscribe(a, platform="telegram", chat_id="0", from_start=True)
    gateway.sync()
    run = None
    key = (a, "telegram", "0", "", 0)

    def claim() -> None:
        nonlocal run
        run = gateway.claim(a)

    def again(verb: Callable[[], object]) -> Callable[[], object]:
        def call() -> object:
            if gateway.board.task(a).status == "running":
                gateway.reclaim(a)
            if gateway.board.task(a).status != "ready":
                gateway.reopen(a)
            claim()
            return verb()

        return call

    def batch() -> None:
        with gateway.batch() as several:
            several.comment(several.create("in a batch"), "with it")

    file = home / "attached.txt"
    file.write_text("x")
    verbs = {
        "create": lambda: gateway.create("c", idempotency_key="k"),
        "make": lambda: gateway.make("d"),
        "claim": claim,
        "spawned": lambda: gateway.spawned(run, 1),
        "heartbeat": lambda: gateway.heartbeat(run, "half"),
        "open_run": lambda: gateway.open_run(a),
        "release": lambda: gateway.release(run),
        "fail": again(lambda: gateway.fail(run, "crashed")),
        "review": again(lambda: gateway.review(run)),
        "block": again(lambda: gateway.block(run, "why")),
        "unblock": lambda: gateway.unblock(a),
        "schedule": lambda: gateway.schedule(a),
        "complete": again(lambda: gateway.complete(run, result="r")),
        "reopen": lambda: gateway.reopen(a),
        "reclaim": again(lambda: gateway.reclaim(a)),
        "claim_next": lambda: (gateway.create("urgent", priority=9), gateway.claim_next()),
        "assign": lambda: gateway.assign(b, "amy"),
        "edit": lambda: gateway.edit(b, title="bb"),
        "specify": lambda: gateway.specify(triage[0], title="s"),
        "decompose": lambda: gateway.decompose(triage[1], [{"title": "x"}]),
        "link": lambda: gateway.link(gateway.create("parent"), triage[0]),
        "promote": lambda: gateway.promote(triage[0], force=True),
        "unlink": lambda: gateway.unlink(board.parents(triage[0])[0], triage[0]),
        "comment": lambda: gateway.comment(a, "x"),
        "draw": gateway.draw,
        "make_comment": lambda: gateway.make_comment(a, "x"),
        "note": lambda: gateway.note(a, "claim_extended"),
        "recover": lambda: refused(lambda: gateway.recover(a)),
        "ask": lambda: gateway._writer.ask(a, AddComment(text="y")),
        "write": lambda: gateway._writer.write(a, AddComment(text="z")),
        "wait_for_verdict": lambda: gateway.wait_for_verdict(gateway.comment(a, "x")),
        "subscribe": lambda: gateway.subscribe(a, platform="telegram", chat_id="1"),
        "unsubscribe": lambda: gateway.unsubscribe(a, platform="telegram", chat_id="1"),
        "deliveries": lambda: [delivery.acknowledge() for delivery in gateway.deliveries()],
        "resend": lambda: None,  # the same way as every other change; there is no dead letter here
        "delivery_to": lambda: gateway.delivery_to(a, platform="telegram", chat_id="0"),
        "supervise": again(lambda: refused(lambda: gateway.supervise(run))),
        "look_after": gateway.look_after,
        "living_workers": lambda: gateway.living_workers(a),
        "batch": batch,
        "own_changes": lambda: gateway.own_changes(3),
        "attempt": lambda: gateway._writer.attempt(key),
        "lease_attempt": lambda: gateway._writer.lease_attempt(key, 0, 1, 1, 1),
        "save_attempt": lambda: gateway._writer.save_attempt(key, gateway._writer.attempt(key)),
        "attach": lambda: gateway.attach(a, file),
        "attach_stored": lambda: gateway.attach_stored(a, board.attachments(a)[0].stored_path),
        "detach": lambda: gateway.detach(a, board.attachments(a)[0].id),
        "archive": lambda: gateway.archive(triage[1]),
        "delete": lambda: gateway.delete(triage[1]),
        "set_limits": lambda: gateway.set_limits(max_in_progress=None),
        "forget_events": lambda: gateway.forget_events(1),
        "merge_now": gateway.merge_now,
        "sync": gateway.sync,
        "settle": gateway.settle,
        "another gateway": lambda: Gateway("bob", home=home).close(),
        "another board": lambda: Board.open(home=home).close(),
    }
    given = {"task": (a,), "run": (1,), "event": (1,), "attachment": (1,), "view": (a, "amy"), "verdict": ("amy", 1)}
    given["own_verdict"] = ("amy", 1)
    given |= {
        "has_ready": ("amy",),
        "undelivered": ("amy",),
        "known_ids": ([a],),
        "known_task": (a,),
        "home_of": ("amy",),
        "removed_files": ("here",),
        "task_with_key": ("k",),
        "verdicts": ("amy", 1, 1),
        "ids_beginning_with": (a[:6], 3),
    }
    given |= dict.fromkeys(("parents", "children", "comments", "runs", "attachments"), (a,))
    asked = {"page", "each", "count_by_status", "completed_by", "events_of"}
    for name in public(Board) - {"open", "close", "reading", "bell", "follow"} - asked:
        verbs[f"Board.{name}"] = lambda name=name: getattr(board, name)(*given.get(name, ()))
    verbs["Board.events_of"] = lambda: list(board.events_of(a))
    verbs["Board.page"] = lambda: board.page(TaskQuery(), limit=1)
    verbs["Board.each"] = lambda: list(board.each(TaskQuery()))
    verbs["Board.count_by_status"] = lambda: board.count_by_status(TaskQuery())
    verbs["Board.completed_by"] = lambda: board.completed_by("amy", other_than=a, limit=1)
    for line in ("list", "list --at 3", "list --at '1s ago'", f"show {a} --at 3", f"show {a}", f"context {a}",
                 "stats", "diagnostics", "-p amy gc", "assignees", "boards list",
                 "-p amy create x", f"-p amy claim {b}", f"-p amy complete {b}", "-p amy notify-list"):  # fmt: skip
        verbs[f"kanban {line}"] = lambda line=line: _command(kanban, home, line)
    for line in ("--once", "status", "verify", "refusals", f"history {a}", "rebuild", "repair amy", "repair --ledger"):
        verbs[f"kanban-merge {line}"] = lambda line=line: _command(kanban_merge, home, line)
    return verbs


def refused(call: Callable[[], object]) -> None:
    """``call``, which is refused here, and is made all the same."""
    with suppress(Refused):
        call()


def public(what: type) -> set[str]:
    """The names of the public methods."""
    return {name for name in dir(what) if not name.startswith("_") and callable(getattr(what, name))}


def _command(group: object, home: Path, line: str) -> None:
    ended = CliRunner().invoke(group, ["--home", str(home), *shlex.split(line)])
    assert ended.exit_code in (0, 1, 3), ended.output


if __name__ == "__main__":
    home, crime = Path(sys.argv[1]), sys.argv[2:]
    staying.IDLE_S = 0.005
    gateway = Gateway("amy", home=home)
    gateway.merge_now()
    board = Board.open(home=home)
    lost, kept = {}, {}
    sys.addaudithook(watch)
    every = calls(home, gateway, board)
    gateway.settle()  # nothing is left for a thread to merge meanwhile
    before = locks_at_rest(home)
    for name, call in every.items():
        call()
        if crime and name == "comment":
            breach(crime[0], board.paths.board)
        after = locks_at_rest(home)
        lost |= {name: [str(lock) for lock in before - after]} if before - after else {}
        kept |= {name: [str(lock) for lock in after if lock[1] == "FLOCK"]} if "FLOCK" in str(after) else {}
    board.close()
    gateway.close()
    left = [str(lock) for lock in locks(home)]
    print(json.dumps({"noticed": noticed, "lost": lost, "kept": kept, "left": left, "calls": list(every)}))
