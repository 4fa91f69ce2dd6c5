"""A disk that keeps what was synced, and of the rest whatever a cut happens to leave.

The model is as unkind as POSIX allows. Syncing a file keeps its content and not its name; a folder's names are kept
when the folder is synced. Of what was not synced, a file keeps any of the writes, in any order, each torn in sectors;
a folder keeps any prefix of its changes. A sector is written whole or not at all, and a sync does what it says.
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
class Folder:
    """``names`` as programs see them; ``pending``: ``(name, what it names then)`` since the last sync, each atomic."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def change(self, names: dict[str, File | Folder | None]) -> None:
        """Name other things from now on; None is a name that is gone."""
        _apply_names(self.names, names)
        self.pending.append(names)


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
        _keep_folder(self._top, Path(), image, chance, style)
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
            for names in found.pending:
                _apply_names(found.durable, names)
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
        assert step.path.parent == step.target.parent, "between two folders a rename is no single change of a folder"
        folder, moved = self._find(step.path.parent), self._find(step.path)
        if moved is not None:
            folder.change({step.path.name: None, step.target.name: moved})

    def _find(self, path: Path) -> File | Folder | None:
        """What lies at ``path`` now; None for what is no file of the recording (a socket, say)."""
        found = self._top
        for part in path.relative_to(self._root).parts:
            found = found.names.get(part)
            if found is None:
                return None
        return found


def _keep_folder(folder: Folder, path: Path, image: Image, chance: random.Random, style: str) -> None:
    kept = {NOTHING: 0, EVERYTHING: len(folder.pending)}.get(style, chance.randint(0, len(folder.pending)))
    names = dict(folder.durable)
    for change in folder.pending[:kept]:
        _apply_names(names, change)
    for name, what in names.items():
        if isinstance(what, Folder):
            image[path / name] = None
            _keep_folder(what, path / name, image, chance, style)
        else:
            image[path / name] = _keep(what, chance, style)


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
