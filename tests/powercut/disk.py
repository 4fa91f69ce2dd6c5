"""A disk that keeps what was synced, and of the rest whatever a cut happens to leave.

The model is as unkind as POSIX allows. Syncing a file keeps its content and not its name; a folder's names are kept
when the folder is synced. Of what was not synced, a file keeps any of the writes, in any order, each torn in sectors;
a folder keeps any prefix of its changes. What is moved to another folder may be in both afterwards, and in neither only
if the one that it left is synced first. A sector is written whole or not at all, and a sync does what it says.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut.recording import Step

SECTOR_BYTES = 512
# What a cut leaves of the writes that were not synced.
NOTHING, EVERYTHING, SOME, TORN = "nothing", "everything", "some", "torn"
STYLES = (NOTHING, EVERYTHING, SOME, TORN)

Image = dict[Path, "bytes | None"]
"""Content by path; None is a folder."""


@dataclass(eq=False)
class File:
    """``pending``: ``(offset, data)`` for a write, ``(size, None)`` for a truncation, since the last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    size: int = 0


@dataclass(eq=False)
class Change:
    """``names``: what each names from now on; None is a name that is gone. ``arrival``: of a move to another folder,
    that one and its change, without which this one is not kept."""

    names: dict[str, File | Folder | None]
    arrival: tuple[Folder, Change] | None = None


@dataclass(eq=False)
class Folder:
    """``names`` as programs see them; ``pending``: the changes since the last sync, each atomic."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, names: dict[str, File | Folder | None], arrival: tuple[Folder, Change] | None = None) -> Change:
        """Name other things from now on."""
        _apply_names(self.names, names)
        self.pending.append(Change(names, arrival))
        return self.pending[-1]


class Disk:
    """The disk below ``root``, whose own folder is there from the beginning."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = Folder()

    def take(self, step: Step) -> None:
        """Do what was asked of it."""
        if step.kind != "mark":
            getattr(self, f"_{step.kind}")(step)

    def image(self, chance: random.Random, style: str) -> Image:
        """What a cut at this moment may leave."""
        image: Image = {}
        _keep_folder(self._top, Path(), image, _Kept(chance, style))
        return image

    def _write(self, step: Step) -> None:
        if (file := self._find(step.path)) is not None:
            offset = file.size if step.offset is None else step.offset
            file.pending.append((offset, step.data))
            file.size = max(file.size, offset + len(step.data))

    def _truncate(self, step: Step) -> None:
        if (file := self._find(step.path)) is not None and file.size != step.offset:
            file.pending.append((step.offset, None))
            file.size = step.offset

    def _sync(self, step: Step) -> None:
        found = self._find(step.path)
        if isinstance(found, File):
            for offset, data in found.pending:
                _apply(found.durable, offset, data)
        elif found is not None:
            for change in found.pending:
                _apply_names(found.durable, change.names)
        if found is not None:
            found.pending.clear()

    def _create(self, step: Step) -> None:
        folder = self._find(step.path.parent)
        if step.path.name not in folder.names:
            folder.change({step.path.name: File()})

    def _mkdir(self, step: Step) -> None:
        self._find(step.path.parent).change({step.path.name: Folder()})

    def _link(self, step: Step) -> None:
        self._find(step.target.parent).change({step.target.name: self._find(step.path)})

    def _unlink(self, step: Step) -> None:
        if self._find(step.path) is not None:
            self._find(step.path.parent).change({step.path.name: None})

    def _rename(self, step: Step) -> None:
        source, target = self._find(step.path.parent), self._find(step.target.parent)
        moved = self._find(step.path)
        if moved is None:
            return
        if source is target:
            source.change({step.path.name: None, step.target.name: moved})
        else:
            arrival = target.change({step.target.name: moved})
            source.change({step.path.name: None}, (target, arrival))

    def _find(self, path: Path) -> File | Folder | None:
        """What lies at ``path`` now; None for what is no file of the recording (a socket, say)."""
        found = self._top
        for part in path.relative_to(self._root).parts:
            found = found.names.get(part)
            if found is None:
                return None
        return found


class _Kept:
    """How many of its pending changes each folder keeps in one image."""

    def __init__(self, chance: random.Random, style: str) -> None:
        self.chance = chance
        self.style = style
        self._counts: dict[Folder, int] = {}

    def changes(self, folder: Folder) -> list[Change]:
        """Those that ``folder`` keeps: up to the first departure whose arrival is not kept."""
        kept = folder.pending[: self._count(folder)]
        lost = [at for at, change in enumerate(kept) if change.arrival and not self._holds(*change.arrival)]
        return kept[: lost[0]] if lost else kept

    def _holds(self, folder: Folder, change: Change) -> bool:
        return change not in folder.pending or change in folder.pending[: self._count(folder)]

    def _count(self, folder: Folder) -> int:
        if folder not in self._counts:
            most = len(folder.pending)
            self._counts[folder] = {NOTHING: 0, EVERYTHING: most}.get(self.style, self.chance.randint(0, most))
        return self._counts[folder]


def _keep_folder(folder: Folder, path: Path, image: Image, kept: _Kept) -> None:
    names = dict(folder.durable)
    for change in kept.changes(folder):
        _apply_names(names, change.names)
    for name, what in names.items():
        if isinstance(what, Folder):
            image[path / name] = None
            _keep_folder(what, path / name, image, kept)
        else:
            image[path / name] = _keep(what, kept.chance, kept.style)


def _keep(file: File, chance: random.Random, style: str) -> bytes:
    pending = {NOTHING: [], EVERYTHING: file.pending}.get(style)
    if pending is None:
        likelihood = chance.choice((0.1, 0.5, 0.9))
        torn = _torn(file.pending) if style == TORN else file.pending
        pending = [write for write in torn if chance.random() < likelihood]
    if style == TORN:
        chance.shuffle(pending)
    content = bytearray(file.durable)
    for offset, data in pending:
        _apply(content, offset, data)
    return bytes(content)


def _torn(pending: list[tuple[int, bytes | None]]) -> list[tuple[int, bytes | None]]:
    """The writes in sectors, as the disk knows them."""
    parts: list[tuple[int, bytes | None]] = []
    for offset, data in pending:
        if data is None:
            parts.append((offset, None))
            continue
        at = 0
        while at < len(data):
            until = at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES
            parts.append((offset + at, data[at:until]))
            at = until
    return parts


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    else:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


def _apply_names(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, what in change.items():
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what
