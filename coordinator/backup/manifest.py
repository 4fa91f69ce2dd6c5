"""Manifests: which folders are complete backups, and what each says of itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from kanban_shards.coordinator.errors import NoBackup
from kanban_shards.errors import NotAFile
from kanban_shards.paths import BoardPaths, expanded
from kanban_shards.storage.filesystems import open_plain

MANIFEST = "backup.json"


class ShardCopy(msgspec.Struct, frozen=True):
    """A shard in a backup: its newest change."""

    seq: int
    digest: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself, as JSON.

    ``number``: counted up with each backup of the board in its folder. ``position``, ``digest``: where its board stands
    in the ledger. ``schemas``: of each role of file. ``size_bytes``:
    of each database file. ``problems``: what was not sound when it was made; empty for a good backup.
    """

    made_ms: int
    board: str
    schemas: dict[str, int]
    position: int
    digest: str
    shards: dict[str, ShardCopy]
    size_bytes: dict[str, int]
    attachments: int
    problems: list[str]
    number: int = 0


class Backup(msgspec.Struct, frozen=True):
    """A complete backup: where it lies, and what it says of itself."""

    folder: Path
    manifest: Manifest

    @property
    def problems(self) -> list[str]:
        """What was not sound when it was made, and what became of its files since."""
        return self.manifest.problems + [f"{name} {how}" for name, how in self.lacks().items()]

    @property
    def is_good(self) -> bool:
        """Whether every file of the board was sound when it was made, and is still there."""
        return not self.problems

    def is_of(self, paths: BoardPaths) -> bool:
        """Whether it was made of the board that lies at ``paths``, however the way there is spelled."""
        return os.path.realpath(self.manifest.board) == os.path.realpath(paths.board)

    def lacks(self) -> dict[str, str]:
        """Those of its database files that are gone, or of another size than they were made with: how, by their names.
        None is opened."""
        lacks = {}
        for name, size_bytes in self.manifest.size_bytes.items():
            path = self.folder / name
            if not is_regular(path):
                lacks[name] = "is not there"
            elif path.stat().st_size != size_bytes:
                lacks[name] = f"has {path.stat().st_size} bytes, and was made with {size_bytes}"
        return lacks

    @property
    def size_bytes(self) -> int:
        """What it takes of the disk: a file that has several names counts for its part."""
        stats = [os.lstat(os.path.join(folder, name)) for folder, _, names in os.walk(self.folder) for name in names]
        return sum(each.st_size // each.st_nlink for each in stats)

    def paths(self, slug: str) -> BoardPaths:
        """Its files, as those of a board ``slug``."""
        return BoardPaths(self.folder, slug)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "path": str(self.folder),
            "good": self.is_good,
            "bytes": self.size_bytes,
            **msgspec.to_builtins(self.manifest),
            "problems": self.problems,
        }


def store_of(paths: BoardPaths, into: str | None) -> Path:
    """The folder of the board's backups: its own, or the board's part of ``into``."""
    return paths.backups if into is None else expanded(into).absolute() / paths.slug


def backups_in(store: Path) -> list[Backup]:
    """Every complete backup, the oldest first: those of one board by their numbers, whatever the clock said. A folder
    whose manifest cannot be read is none."""
    found = []
    for folder in store.iterdir() if store.is_dir() else []:
        if not folder.name.startswith("."):
            try:
                found.append(read_backup(folder))
            except NoBackup:
                continue
    return sorted(found, key=lambda each: (each.manifest.number, each.manifest.position, each.folder.name))


def read_backup(folder: Path) -> Backup:
    """The backup that ``folder`` is. Raises NoBackup."""
    try:
        with open(open_plain(folder / MANIFEST, os.O_RDONLY), "rb") as file:
            return Backup(folder, msgspec.json.decode(file.read(), type=Manifest))
    except (OSError, NotAFile, msgspec.MsgspecError) as error:
        raise NoBackup(path=folder) from error


def is_regular(path: Path) -> bool:
    """Whether a file lies at ``path`` itself, and not a link, a pipe or a folder."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):  # a name that no file can have
        return False
