"""What has to hold when it is over: all hosts alike, nothing lost that was acknowledged, nothing decided twice,
and one winner of each task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kanban_shards.coordinator.recovery.verify import verify
from tests import invariants
from tests.evidence import Evidence, ledger_entries
from tests.hosts.machines import Machine, is_waiting


def faults(hosts: Sequence[Machine], diaries: Mapping[str, Path]) -> list[str]:
    """Everything that does not hold. ``diaries``: what each profile's gateways noted."""
    found = [*_unsettled(hosts), *_unlike(hosts)]
    for host in hosts:
        found += [f"verify on {host.name}: {each}" for each in verify(host.paths).findings]
        found += _broken(host.name, Evidence.read(host.paths))
    return [*found, *_lost(Evidence.read(hosts[0].paths), diaries)]


def noted(diaries: Mapping[str, Path]) -> Counter[str]:
    """How much of which kind was noted."""
    return Counter(str(line["kind"]) for profile in diaries for line in _lines(diaries[profile]))


def _unsettled(hosts: Sequence[Machine]) -> Iterator[str]:
    positions = {host.name: host.position() for host in hosts}
    if len({*positions.values()}) > 1:
        yield f"hosts are at different positions: {positions}"
    for host in hosts:
        if is_waiting(host):
            yield f"on {host.name} changes wait that nobody merges"


def _unlike(hosts: Sequence[Machine]) -> Iterator[str]:
    """Where two hosts differ, in their ledgers or in a table."""
    first = hosts[0]
    entries, tables = ledger_entries(first.paths), first.tables()
    for host in hosts[1:]:
        if ledger_entries(host.paths) != entries:
            yield f"the ledgers of {host.name} and {first.name} differ"
        yield from (
            f"{name} differs on {host.name} and {first.name}"
            for name, rows in host.tables().items()
            if rows != tables.get(name)
        )


def _broken(name: str, evidence: Evidence) -> Iterator[str]:
    """The invariants of one host's files: each change is decided once, and of each opening there is one winner."""
    for holds in (
        invariants.single_owner,
        invariants.one_winner,
        invariants.exactly_once,
        invariants.contiguous,
        invariants.owner_never_stale,
        invariants.nothing_overwritten,
    ):
        try:
            holds(evidence)
        except AssertionError as error:
            yield f"{holds.__name__} on {name}: {error}"


def _lost(evidence: Evidence, diaries: Mapping[str, Path]) -> Iterator[str]:
    """What was acknowledged, and is not there, or was decided otherwise."""
    applied = {(shown.profile, shown.kind, shown.task_id) for shown in evidence.shown() if shown.applied}
    dots = {(shown.profile, shown.entry.change.seq) for shown in evidence.shown() if shown.applied}
    runs = {row["id"]: row for row in evidence.rows("task_runs")}
    for profile, path in diaries.items():
        for line in _lines(path):
            kind = line["kind"]
            if kind == "create" and (profile, "create", line["task"]) not in applied:
                yield f"{profile} was told that it made {line['task']}, and nobody did"
            elif kind == "comment" and (profile, line["seq"]) not in dots:
                yield f"{profile} commented on {line['task']} in change {line['seq']}, and that is lost"
            elif kind in ("claim", "complete"):
                run = runs.get(line["run"])
                if run is None or (run["task_id"], run["profile"]) != (line["task"], profile):
                    yield f"{profile} was told that it won run {line['run']} of {line['task']}: {run}"
                elif kind == "complete" and run["outcome"] != "completed":
                    yield f"{profile} was told that it completed run {line['run']}: {run}"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
