"""Report of a salvage: what was saved, how, and what is known to be lost; for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kanban_shards.coordinator.hermes.salvage.pages import Value

# The stages, from the one that changes least on.
SOUND = "sound"
SIDECAR = "sidecar"
HEADER = "header"
INDEXES = "indexes"
TABLES = "tables"
STAGES = {
    SOUND: "the file is sound",
    SIDECAR: "the file is sound without what lay beside it",
    HEADER: "its header was mended, the rest is sound",
    INDEXES: "its tables are sound, all the rest was made again",
    TABLES: "its tables were read page by page into a new file",
}


@dataclass
class TableReport:
    """What became of one table. ``saved``: rows in the copy; ``outside``: those of them that its tree did not lead to;
    ``stale``: older or deleted copies of rows on other pages, left out; ``collided``: rows that are left out, whole,
    because another row has their id; ``lost``: rows that an index names and no page holds, each with its rowid and
    what the index says of it; ``former``: rows of tasks on pages that the WAL replaced, or that were given back where
    the tree has a gap, deleted or lost since; ``gaps``: ranges of rowids, first and last, of pages that cannot be read;
    ``contradicted``: saved rows of which an index says otherwise."""

    saved: int = 0
    outside: int = 0
    stale: int = 0
    collided: list[dict[str, Any]] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)
    former: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    contradicted: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class LostTask:
    """A task that has no row. ``known`` are the values that indexes still have of it, or a page that was replaced since
    (then it may have been deleted); ``named_by`` is how many rows of each other table name it."""

    task_id: str
    known: dict[str, Any]
    named_by: dict[str, int]

    def __str__(self) -> str:
        title = [] if "title" in self.known else ["title unknown"]
        known = [f"{name} {value}" for name, value in self.known.items() if value is not None]
        named_by = [f"{count} {_one(rows) if count == 1 else rows}" for rows, count in self.named_by.items()]
        return f"{self.task_id}: {', '.join([*title, *known, *named_by])}"


@dataclass
class Replaced:
    """A value that the copy has otherwise than the file: a text that was none, or nothing where something must be."""

    table: str
    row: int
    column: str
    was: str
    now: Value


@dataclass
class Salvage:
    """What came of it. ``copy``: the sound copy; ``stage``: one of STAGES; ``digest``: the SHA-256 of the original;
    ``before`` and ``after``: what SQLite's integrity check said; ``loose``: task ids on index pages of no known index
    and on pages that the WAL replaced, and how often; ``notes``: what was found and done; ``warnings``: what a person
    should look at."""

    source: Path
    copy: Path
    stage: str = SOUND
    digest: str = ""
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    tables: dict[str, TableReport] = field(default_factory=dict)
    loose: dict[str, int] = field(default_factory=dict)
    lost_tasks: list[LostTask] = field(default_factory=list)
    replaced: list[Replaced] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be lost, doubtful or suspicious."""
        return not (
            self.warnings
            or self.lost_tasks
            or self.replaced
            or any(table.lost or table.collided or table.contradicted for table in self.tables.values())
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON, in which a stage is a ``rung``, as it was before it was called that here."""
        found = asdict(self)
        found["rung"] = found.pop("stage")
        return {**found, "source": str(self.source), "copy": str(self.copy), "complete": self.complete}


def _one(rows: str) -> str:
    return {"children": "child", "stray entries": "stray entry"}.get(rows, rows.removesuffix("s"))
