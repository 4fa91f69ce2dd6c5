"""Hosts that share a ledger decide it by rules of one version, so whatever is decided otherwise raises that number.

``ledger_of_version_1.json`` is a history of the simulator: change and time of each entry. It is never made anew.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from kanban_shards.changes.codec import Change
from kanban_shards.changes.kinds import KINDS
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.ledger import GENESIS, Entry, Point, continued
from kanban_shards.coordinator.merge.replay import replay
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.storage import sqlite
from tests.evidence import dump

# Of each version: what became of that history, and what may be said in a change.
KNOWN = {1: ("361f2e52661520ef", "78351837c0f289b8")}
REMINDER = (
    "this program decides entries otherwise than one of version {version} does, or reads more of them. Raise VERSION "
    "in coordinator/rules/__init__.py, if version {version} was ever released, and add to KNOWN: {found}. If nothing "
    "but a name was changed, mend KNOWN"
)


def test_other_rules_have_another_number() -> None:
    found = _digest(_board_of_the_history()), _digest(_kinds())
    assert KNOWN[rules.VERSION] == found, REMINDER.format(version=rules.VERSION, found=found)


def test_the_history_has_much_in_it() -> None:
    decided = {row.get("reason", "applied") for row in _board_of_the_history()["merge_verdicts"]}
    assert len(entries_of_the_history()) > 150 and len(decided) > 12


def _board_of_the_history() -> dict[str, list[dict[str, Any]]]:
    """The rows of each table that has any, without what is NULL: a new table or column alone decides nothing."""
    with closing(sqlite.open_scratch(sqlite.BOARD)) as scratch:
        replay(BoardState(scratch), entries_of_the_history())
        return {
            table: [{name: value for name, value in row.items() if value is not None} for row in rows]
            for table, rows in dump(scratch).items()
            if rows
        }


def entries_of_the_history() -> list[Entry]:
    entries, end = [], Point(0, GENESIS)
    for *change, at_ms in json.loads(Path(__file__).with_name("ledger_of_version_1.json").read_text()):
        entries += continued([Change(*change)], at_ms, end)
        end = entries[-1].point
    return entries


def _kinds() -> dict[str, list[tuple[str, str, bool]]]:
    return {
        kind: [(field.encode_name, str(field.default), field.required) for field in msgspec.structs.fields(body)]
        for kind, body in sorted(KINDS.items())
    }


def _digest(what: object) -> str:
    return hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=8).hexdigest()
