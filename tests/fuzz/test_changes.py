"""Changes that are nearly right: whatever a shard holds, the coordinator decides it or quarantines it there, and the
board stays a function of the ledger."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kanban_shards.changes import vectors
from kanban_shards.changes.codec import chain, decode_body, genesis
from kanban_shards.changes.kinds import COORDINATOR_KINDS, KINDS
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.collector import QUARANTINED, Collector
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import InvalidChange
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock

TASKS = ("t_0000000000000001", "t_0000000000000002", "t_0000000000000003")
TASK_IDS = st.sampled_from([*TASKS, *TASKS, *TASKS, "", "t_000000000000000G", "t_ffffffffffffffff"])
NUMBERS = st.one_of(st.integers(-2, 3), st.integers(), st.sampled_from([2**53, 2**63 - 1, 2**63, 2**64, 10**30]))
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from([*TASKS, "amy", "bob", "\x00", "\u202e", "x" * 1_001]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def nearly(body: type) -> st.SearchStrategy[dict]:
    """Objects with fields of ``body``: each of the right type, mostly, or of any."""
    fields = {}
    for field in msgspec.structs.fields(body):
        right = KNOWN[field.name] if field.name in KNOWN else _of_type(str(field.type))
        fields[field.name] = right if field.required else st.one_of(right, right, JSON)
    required = {field.name: fields.pop(field.name) for field in msgspec.structs.fields(body) if field.required}
    return st.fixed_dictionaries(required, optional=fields)


def _of_type(spelled: str) -> st.SearchStrategy:
    if spelled == "<class 'bool'>":
        return st.booleans()
    if "Literal" in spelled:
        return st.sampled_from([word for word in spelled.replace('"', "'").split("'")[1::2]])
    if "pattern='^t_" in spelled:
        return TASK_IDS
    if "pattern" in spelled:
        return st.sampled_from(["amy", "bob", "cleo"])
    return NUMBERS if "int" in spelled and "str" not in spelled else TEXTS


CHILDREN = st.fixed_dictionaries(
    {"id": TASK_IDS | st.from_regex(r"t_[0-9a-f]{8}", fullmatch=True), "title": TEXTS},
    optional={"parents": st.lists(st.integers(0, 3), max_size=3), "assignee": TEXTS, "skills": st.lists(TEXTS)},
)
KNOWN = {
    "metadata": st.dictionaries(TEXTS, JSON, max_size=2),
    "parents": st.lists(TASK_IDS, max_size=3),
    "created_cards": st.lists(TASK_IDS, max_size=3),
    "children": st.lists(CHILDREN, min_size=1, max_size=3),
}
BODIES = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), nearly(KINDS[kind])))
SEEN = st.one_of(st.just("{}"), st.sampled_from(['{"bob":1}', '{"bob": 1}', "[]", "", '{"amy":1}', '{"x":99}']))
ROWS = st.tuples(TASK_IDS, BODIES, SEEN, st.one_of(st.integers(0, 5), st.integers(-(2**63), 2**63 - 1)))


@settings(settings.get_profile("fuzz"))
@given(st.sampled_from(sorted(KINDS)), st.one_of(st.text(), JSON.map(json.dumps), st.binary().map(repr)))
def test_a_text_is_a_body_or_is_refused(kind: str, text: str) -> None:
    try:
        body = decode_body(kind, text)
    except InvalidChange:
        return
    assert decode_body(kind, msgspec.json.encode(body).decode()) == body


@settings(settings.get_profile("fuzz"))
@given(st.one_of(st.text(), JSON.map(json.dumps), st.dictionaries(TEXTS, NUMBERS).map(vectors.encode)))
def test_a_text_is_a_vector_or_is_refused(text: str) -> None:
    try:
        vector = vectors.decode(text)
    except ValueError:
        return
    assert vectors.encode(vector) == text


@settings(settings.get_profile("fuzz"))
@given(st.lists(ROWS, min_size=1, max_size=12), st.lists(ROWS, max_size=6))
def test_nearly_valid_changes(mine: list, others: list) -> None:
    """Amy's shard holds good tasks and then anything with a fitting digest; bob's is good and merged."""
    with tempfile.TemporaryDirectory() as folder:
        paths = BoardPaths(Path(folder))
        begin = [(task, ("create", {"title": task}), "{}", 1) for task in TASKS]
        _write(paths, "amy", [*begin, *mine])
        _write(paths, "bob", [("t_000000000000000b", ("create", {"title": "bob's"}), "{}", 1), *others])
        with closing(take(paths, COMMAND, wait_s=1)) as lock, Coordinator(paths, lock) as coordinator:
            report = coordinator.make_passes()
            assert all(coordinator.board.watermark(each)[0] for each in ("amy", "bob")), "what is before it is taken"
        with closing(FileLedger(paths.ledger)) as ledger:
            assert all(entry.change.kind not in COORDINATOR_KINDS for entry in ledger.after(0))
        for left in report.skipped:
            assert left.state == QUARANTINED and left.seq and left.why
        found = verify(paths)
        assert not [each for each in found.findings if "shard" not in str(each)], found.findings


@settings(settings.get_profile("fuzz"))
@given(st.binary(max_size=200), st.integers(0, 2**16), st.booleans())
def test_a_shard_with_flipped_bytes(noise: bytes, place: int, cut: bool) -> None:
    """Whatever bytes it has: its changes, fewer of them, or a reason. Never another change, and never an exception."""
    with tempfile.TemporaryDirectory() as folder:
        paths = BoardPaths(Path(folder))
        rows = [(TASKS[0], ("create", {"title": "x" * 500}), "{}", 1)]
        _write(paths, "amy", rows + [(TASKS[0], ("comment", {"text": str(n) * 200}), "{}", n) for n in range(30)])
        good = _collected(paths)
        content = bytearray(paths.shard("amy").read_bytes())
        place %= len(content)
        content[place : place + len(noise)] = noise
        paths.shard("amy").write_bytes(content[:place] if cut else content)
        assert good[: len(found := _collected(paths))] == found


def _collected(paths: BoardPaths) -> list:
    with closing(Collector(paths)) as collector:
        found = collector.collect(lambda profile: (0, ""))
    assert all(left.why for left in found.skipped)
    return found.changes.get("amy", [])


def _write(paths: BoardPaths, profile: str, rows: list) -> None:
    """A shard of these rows, chained as they should be."""
    with closing(FileLock(paths.shard_lock(profile))) as lock:
        lock.acquire(1)
        with closing(sqlite.open_writer(paths.shard(profile), sqlite.SHARD, lock)) as shard:
            shard.execute("INSERT INTO meta VALUES (1, ?, 'id', 0, ?)", (profile, genesis(profile, "id")))
            digest = genesis(profile, "id")
            for seq, (task_id, (kind, body), seen, at_ms) in enumerate(rows, 1):
                row = (seq, task_id, kind, json.dumps(body), seen, at_ms)
                digest = chain(digest, profile, *row)
                shard.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, digest))
