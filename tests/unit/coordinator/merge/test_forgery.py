"""Forgeries: what a hostile or broken process can put into its own shard. It is quarantined at that change and named,
the others go on, and the command that the sentence names repairs it."""

from __future__ import annotations

import os
import random
import re
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from kanban_shards import Board, Gateway
from kanban_shards.changes.codec import chain, encode_body
from kanban_shards.changes.fields import LIMIT_BYTES
from kanban_shards.changes.kinds import AddComment, Complete
from kanban_shards.coordinator.cli import main
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.collector import QUARANTINED, look
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from tests.untyped import write_untyped

FUTURE_MS = 2**50
PATIENCE_S = 20


class Forger:
    """Edits amy's shard as no version of this program would. ``task_id`` is a task of hers."""

    def __init__(self, paths: BoardPaths, task_id: str) -> None:
        self.paths = paths
        self.path = paths.shard("amy")
        self.task_id = task_id

    def script(self, sql: str, *given: object) -> None:
        """Run one statement on the file."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as shard:
            shard.execute("PRAGMA writable_schema=ON")
            shard.execute(sql, given)

    def append(self, kind: str, body: str, seen: str = "{}", at_ms: int = 1, skip: int = 0) -> None:
        """One more change, with a digest that fits the chain."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as shard:
            seq, digest = shard.execute("SELECT seq, digest FROM changes ORDER BY seq DESC LIMIT 1").fetchone()
            seq += 1 + skip
            row = (seq, self.task_id, kind, body, seen, at_ms)
            shard.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, chain(digest, "amy", *row)))

    def comment(self, **how: object) -> None:
        """A comment with anything else wrong about it."""
        self.append("comment", '{"text":"x"}', **how)


def another_author(forge: Forger) -> None:
    forge.script("UPDATE meta SET profile = 'bob'")


def a_chain_of_another(forge: Forger) -> None:
    forge.script("UPDATE changes SET digest = ? WHERE seq = 3", chain("", "bob", 3, "", "comment", "", "{}", 1))


def a_vector_from_the_future(forge: Forger) -> None:
    forge.comment(seen='{"bob":9}')


def two_texts_of_one_vector(forge: Forger) -> None:
    forge.comment(seen='{"bob": 1}')


def a_gap(forge: Forger) -> None:
    forge.comment(skip=1)


def a_rewritten_row(forge: Forger) -> None:
    forge.script('UPDATE changes SET body = \'{"text":"never said"}\' WHERE seq = 3')


def a_giant_body(forge: Forger) -> None:
    forge.append("comment", '{"text":"%s"}' % ("x" * LIMIT_BYTES))


def a_giant_integer(forge: Forger) -> None:
    forge.append("complete", '{"metadata":{"n":%s}}' % ("9" * 1_000))


def an_impossible_time(forge: Forger) -> None:
    forge.comment(at_ms=2**60)


def a_kind_of_the_coordinators(forge: Forger) -> None:
    forge.append("expire", '{"run_id":1,"last_sign_ms":1}')


def an_unknown_kind(forge: Forger) -> None:
    forge.append("dance" * 1_000, "{}")


def a_beginning_that_is_no_number(forge: Forger) -> None:
    write_untyped(forge.path, "UPDATE meta SET base_seq = 'abc'")


def a_beginning_below_nothing(forge: Forger) -> None:
    forge.script("UPDATE meta SET base_seq = -1")


def a_blob(forge: Forger) -> None:
    forge.script("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'changes'")
    forge.script("UPDATE changes SET body = x'ff' WHERE seq = 3")


def a_trigger(forge: Forger) -> None:
    forge.script("CREATE TRIGGER t AFTER INSERT ON changes BEGIN DELETE FROM changes; END")


def a_view_in_place_of_the_changes(forge: Forger) -> None:
    forge.script("ALTER TABLE changes RENAME TO hidden")
    forge.script(
        "CREATE VIEW changes AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS seq, '' AS task_id, '' AS kind, '' AS body, '' AS seen, 1 AS at_ms, '' AS digest FROM n"
    )


def a_shadow_table(forge: Forger) -> None:
    forge.script("CREATE VIRTUAL TABLE words USING fts5(word)")


def an_edited_schema(forge: Forger) -> None:
    forge.script("UPDATE sqlite_schema SET sql = 'CREATE TABLE changes(x' WHERE name = 'changes'")


def no_table(forge: Forger) -> None:
    forge.script("DROP TABLE changes")


def random_bytes(forge: Forger) -> None:
    forge.path.write_bytes(random.Random(1).randbytes(40_000))


def a_truncated_file(forge: Forger) -> None:
    os.truncate(forge.path, 5_000)


IN_THE_FILE: list[tuple[Callable[[Forger], None], int | None, str]] = [
    (another_author, None, "it is the shard of 'bob'"),
    (a_chain_of_another, 3, "change 3 was rewritten"),
    (a_vector_from_the_future, 4, "claims to have seen bob's change 9"),
    (two_texts_of_one_vector, 4, "not spelled as a vector is"),
    (a_gap, 4, "change 4 is missing"),
    (a_rewritten_row, 3, "change 3 was rewritten"),
    (a_giant_body, 4, "larger than a change may be"),
    (a_giant_integer, 4, "cannot be read"),
    (an_impossible_time, 4, "an impossible time"),
    (a_kind_of_the_coordinators, 4, "which only the coordinator writes"),
    (an_unknown_kind, 4, "unknown kind 'dancedance"),
    (a_beginning_that_is_no_number, None, "it does not say where it begins"),
    (a_beginning_below_nothing, None, "it does not say where it begins"),
    (a_blob, None, "holds tables, triggers or views"),
    (a_trigger, None, "holds tables, triggers or views"),
    (a_view_in_place_of_the_changes, None, "holds tables, triggers or views"),
    (a_shadow_table, None, "holds tables, triggers or views"),
    (an_edited_schema, None, "is damaged"),
    (no_table, None, "holds tables, triggers or views"),
    (random_bytes, None, "is damaged"),
    (a_truncated_file, None, "is damaged"),
]


@pytest.fixture
def forge(paths: BoardPaths) -> Forger:
    """Amy's shard, with two merged changes and one that waits."""
    with Gateway("bob", home=paths.folder) as bob, Gateway("amy", home=paths.folder) as amy:
        bob.create("bob's")
        bob.sync()
        task_id = amy.create("amy's")
        amy.comment(task_id, "merged")
        amy.sync()
        for gateway in (amy, bob):
            gateway.settle()
        amy._writer._passing.make_or_ring = lambda waiting=None: False  # nobody merges what follows
        amy.comment(task_id, "not merged yet")
    return Forger(paths, task_id)


@pytest.mark.parametrize(("forgery", "seq", "why"), IN_THE_FILE, ids=[each[0].__name__ for each in IN_THE_FILE])
def test_a_forged_shard(forge: Forger, forgery: Callable[[Forger], None], seq: int | None, why: str) -> None:
    """Quarantined at that change, named, nobody is delayed, and the command that is named mends it."""
    forgery(forge)
    assert _work_of("bob", forge.paths) < 5, "the others go on at once"
    (left,) = look(forge.paths, _marks(forge.paths)).skipped
    assert (left.profile, left.state, left.seq) == ("amy", QUARANTINED, seq)
    assert why in left.why and len(left.why) < 600
    said = _merge(forge.paths, "status", code=6)
    (command,) = set(re.findall(r"`kanban-merge (repair amy)`", said))
    _merge(forge.paths, *command.split())
    assert look(forge.paths, _marks(forge.paths)).skipped == []
    _work_of("amy", forge.paths)
    assert verify(forge.paths).clean
    assert list(forge.paths.folder.glob("kanban.amy.db.damaged-*")), "what was there is kept"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to("kanban.bob.db")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def _device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("not in this container")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("beside", ["", "-journal", "-wal"])
@pytest.mark.parametrize(
    "make", [_pipe, _link, _dangling, _socket, _device, Path.mkdir], ids=lambda each: each.__name__
)
def test_what_is_no_file_is_not_opened(forge: Forger, make: Callable[[Path], None], beside: str) -> None:
    path = forge.path.with_name(forge.path.name + beside)
    path.unlink(missing_ok=True)
    make(path)
    assert _work_of("bob", forge.paths) < 5
    (left,) = look(forge.paths, _marks(forge.paths)).skipped
    assert (left.profile, left.state) == ("amy", QUARANTINED)
    assert "move it away, then `kanban-merge repair amy`" in left.why


def test_a_run_that_is_not_its_own(forge: Forger) -> None:
    """Refused, not quarantined: the shard is sound, and says what it may not have."""
    with Gateway("bob", home=forge.paths.folder) as bob:
        run = bob.claim(bob.create("bob's own"))
        forge.append("complete", encode_body(Complete(run_id=run.id, result="stolen")))
        forge.task_id = run.task_id
        forge.append("complete", encode_body(Complete(run_id=run.id, result="stolen")))
        bob.merge_now()
        bob.heartbeat(run)
        reasons = [each.reason for each in bob.board.refusals()]
        assert reasons == ["not_your_run", "late"]
        bob.complete(run, result="bob's own")
        assert bob.board.task(run.task_id).result == "bob's own"
    assert look(forge.paths, _marks(forge.paths)).skipped == []


def test_a_change_is_its_files_and_not_whom_it_names(forge: Forger) -> None:
    """``author`` is what is shown; the ledger says by the file's name who wrote it."""
    forge.append("comment", encode_body(AddComment(text="as bob", author="bob")))
    _work_of("bob", forge.paths)
    with closing(FileLedger(forge.paths.ledger)) as ledger:
        (entry,) = [entry for entry in ledger.after(0) if "as bob" in entry.change.body]
    assert (entry.change.profile, entry.change.seq) == ("amy", 4)


def test_a_time_from_the_future_costs_fairness_only(forge: Forger) -> None:
    forge.comment(at_ms=FUTURE_MS)
    _work_of("bob", forge.paths)
    with closing(FileLedger(forge.paths.ledger)) as ledger:
        assert all(entry.at_ms < FUTURE_MS // 100 for entry in ledger.after(0)), "the coordinator's time counts"
    assert verify(forge.paths).clean


def _work_of(profile: str, paths: BoardPaths) -> float:
    """Make, claim and complete a task; returns how many seconds that took."""
    began = time.monotonic()
    with Gateway(profile, home=paths.folder, patience_s=PATIENCE_S) as gateway:
        task_id = gateway.create("goes on")
        gateway.complete(gateway.claim(task_id))
    return time.monotonic() - began


def _marks(paths: BoardPaths) -> Callable[[], dict]:
    def watermarks() -> dict:
        with Board(paths) as board:
            return board.watermarks()

    return watermarks


def _merge(paths: BoardPaths, *words: str, code: int = 0) -> str:
    ended = CliRunner().invoke(main.main, ["--home", str(paths.folder), *words], prog_name="kanban-merge")
    assert ended.exit_code == code, ended.output
    return " ".join(ended.output.split())
