"""Damage to a file that nobody has open: what disks, backups and people do."""

from __future__ import annotations

import os
import random
from pathlib import Path

from kanban_shards.paths import BoardPaths

PAGE = 4096
SECTOR = 512
DELETED, CUT, FLIPPED, TORN, OLDER = "deleted", "cut short", "flipped", "torn", "older"
# A board that is another one is seen by its position in the ledger; other damage to it may be silent until `verify`.
KNOWN_BY_ITS_CHAIN = (DELETED, OLDER)


def copies(paths: BoardPaths) -> dict[str, bytes]:
    """Every database of the board, by name."""
    return {path.name: path.read_bytes() for path in sorted(paths.folder.glob("kanban*.db"))}


def damage(file: Path, older: dict[str, bytes], chance: random.Random) -> str:
    """Damage ``file`` in one way or another; returns in which. ``older``: copies from some time ago, if any."""
    hows = (DELETED, CUT, FLIPPED, TORN, OLDER) if file.name in older else (DELETED, CUT, FLIPPED, TORN)
    how, size = chance.choice(hows), file.stat().st_size
    if how == DELETED:
        for suffix in ("", "-wal", "-shm", "-journal"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    elif how == CUT:
        os.truncate(file, chance.choice((0, 60, PAGE, size // 2, size - 1)))
    elif how == OLDER:
        file.write_bytes(older[file.name])
    else:
        content = bytearray(file.read_bytes())
        for _ in range(chance.choice((1, 8, 64))):
            at = chance.randrange(size)
            if how == FLIPPED:
                content[at] ^= 1 << chance.randrange(8)
            else:
                at -= at % SECTOR
                content[at : at + SECTOR] = bytes(SECTOR)
        file.write_bytes(content)
    return how
