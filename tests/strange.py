"""Journals that somebody made by hand, which end with the name of a file that SQLite would delete."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_MAGIC = bytes.fromhex("d9d505f920a163d7")
_SECTOR_BYTES, _PAGE_BYTES = 512, 4096


def name_in_journal(database: Path, victim: Path, hot: bool = True) -> Path:
    """Put a journal beside ``database`` that ends with the name ``victim``; returns where it lies.

    ``hot``: it asks to be rolled back, and takes nothing back. Else it looks as a committed transaction leaves it, and
    is longer than what the next one writes.
    """
    header = struct.pack(">8sIIIII", _MAGIC, 0, 1, database.stat().st_size // _PAGE_BYTES, _SECTOR_BYTES, _PAGE_BYTES)
    start = header.ljust(_SECTOR_BYTES, b"\0") if hot else b"\0" * 400_000
    name = os.fsencode(victim)
    checksum = sum(byte - 256 if byte > 127 else byte for byte in name) & 0xFFFFFFFF
    journal = database.with_name(f"{database.name}-journal")
    journal.write_bytes(start + struct.pack(">I", 1) + name + struct.pack(">II", len(name), checksum) + _MAGIC)
    return journal
