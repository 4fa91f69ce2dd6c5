"""The WAL, replayed on a private copy as SQLite would: each frame up to the last commit that its checksums prove.

SQLite itself replays no WAL beside a missing, empty or headless database (it removes it), and does not say what it
left out; this does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEADER_BYTES = 32
FRAME_BYTES = 24
_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}
_VERSION = 3_007_000
_ALL = 0xFFFFFFFF


@dataclass(frozen=True)
class Replayed:
    """What became of a WAL. ``frames`` were written into the copy, in ``commits`` transactions; ``unfinished`` belong
    to a transaction that was never committed; ``unreadable`` come after a damaged one. What the WAL held before it was
    begun anew is none of these. ``problem`` is why nothing could be replayed at all; None if the WAL is one."""

    frames: int = 0
    commits: int = 0
    unfinished: int = 0
    unreadable: int = 0
    problem: str | None = None


def replay(wal: Path, copy: Path, former: Path) -> Replayed:
    """Write the committed pages of ``wal`` into ``copy``, both private, and give it the size that the last commit
    says.

    ``former`` is made of the pages that were replaced by that, and of those in the WAL that nothing proves: where
    several wrote at once, they may hold what no other page does.
    """
    with wal.open("rb") as reading:
        header = reading.read(HEADER_BYTES)
        if not header:
            return Replayed()
        scan = _Scan.begin(header)
        if isinstance(scan, str):
            return Replayed(problem=scan)
        frames = scan.valid(reading)
        whole = (wal.stat().st_size - HEADER_BYTES) // (FRAME_BYTES + scan.page_size)
        ends = [position for position, (_, pages) in enumerate(frames) if pages]
        committed = ends[-1] + 1 if ends else 0
        with former.open("wb") as kept:
            if committed:
                with copy.open("r+b" if copy.exists() else "w+b") as writing:
                    _write(reading, writing, kept, frames[:committed], scan.page_size)
            for position in range(committed, whole):
                kept.write(_page(reading, position, scan.page_size))
    unreadable = whole - len(frames) if scan.damaged else 0
    return Replayed(committed, len(ends), len(frames) - committed, unreadable)


def _write(reading: BinaryIO, writing: BinaryIO, kept: BinaryIO, frames: list[tuple[int, int]], page_size: int) -> None:
    replaced: set[int] = set()
    for position, (number, _) in enumerate(frames):
        page = _page(reading, position, page_size)
        writing.seek((number - 1) * page_size)
        if number not in replaced:
            kept.write(writing.read(page_size).ljust(page_size, b"\0"))
            writing.seek((number - 1) * page_size)
        replaced.add(number)
        writing.write(page)
    writing.truncate(frames[-1][1] * page_size)


def _page(reading: BinaryIO, position: int, page_size: int) -> bytes:
    reading.seek(HEADER_BYTES + position * (FRAME_BYTES + page_size) + FRAME_BYTES)
    return reading.read(page_size)


@dataclass
class _Scan:
    """The running checksum over a WAL."""

    page_size: int
    order: str
    salts: bytes
    sums: tuple[int, int]
    damaged: bool = False

    @classmethod
    def begin(cls, header: bytes) -> _Scan | str:
        """Read the WAL's header; a sentence's end if it is none."""
        if len(header) < HEADER_BYTES:
            return "it is cut within its header"
        magic, version, page_size = struct.unpack(">III", header[:12])
        if magic not in _MAGICS or version != _VERSION or not 512 <= page_size <= 65536 or page_size & page_size - 1:
            return "its header is not that of a WAL"
        order = _MAGICS[magic]
        sums = _checksum(order, header[:24], (0, 0))
        if sums != struct.unpack(">II", header[24:32]):
            return "its header is damaged"
        return cls(page_size, order, header[16:24], sums)

    def valid(self, reading: BinaryIO) -> list[tuple[int, int]]:
        """``(page, size of the database in pages or 0)`` of each frame before the first that is not proved."""
        frames = []
        while len(frame := reading.read(FRAME_BYTES + self.page_size)) == FRAME_BYTES + self.page_size:
            number, pages = struct.unpack(">II", frame[:8])
            sums = _checksum(self.order, frame[:8], self.sums)
            sums = _checksum(self.order, frame[FRAME_BYTES:], sums)
            if number == 0 or frame[8:16] != self.salts or sums != struct.unpack(">II", frame[16:24]):
                self.damaged = frame[8:16] == self.salts  # other salts are those of the WAL's former use
                break
            self.sums = sums
            frames.append((number, pages))
        return frames


def _checksum(order: str, raw: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(raw) // 4}I", raw)
    for position in range(0, len(words), 2):
        first = first + words[position] + second & _ALL
        second = second + words[position + 1] + first & _ALL
    return first, second
