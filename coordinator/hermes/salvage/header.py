"""The header: the first 100 bytes of a private copy, made to agree with the file it heads."""

from __future__ import annotations

import struct
from pathlib import Path

from kanban_shards import wording
from kanban_shards.coordinator.hermes.salvage.pages import HEADER_BYTES, MAGIC, Form, Pages

# Offset, length and value of what is the same in every file, and of what a board always has.
_FIXED = ((18, 2, b"\1\1"), (21, 3, b"\x40\x20\x20"))


def mend(copy: Path, form: Form) -> list[str]:
    """Correct what the header of ``copy`` says of the file: its mark, page size, length, encoding and free pages.

    Returns what was mended, in words. A header that is right stays as it is, but for the journal mode: the copy has
    no WAL any more.
    """
    with Pages(copy, form) as pages:
        count, text = pages.count, pages.encoding
    size = copy.stat().st_size
    with copy.open("r+b") as file:
        header = bytearray(file.read(HEADER_BYTES).ljust(HEADER_BYTES, b"\0"))
        said = []
        if header[:16] != MAGIC:
            said.append("the mark of SQLite files was missing")
            header[:16] = MAGIC
        page_size = struct.pack(">H", 1 if form.page_size == 65536 else form.page_size)
        if bytes(header[16:18]) != page_size or header[20] != form.reserved:
            said.append(f"the header had another page size than its pages, {form.page_size} bytes")
        header[16:18], header[20] = page_size, form.reserved
        for offset, length, value in _FIXED:
            header[offset : offset + length] = value
        promised = int.from_bytes(header[28:32])
        if promised != count:
            said.append(f"the header promised {wording.many(promised, 'page')}, and the file has {count}")
        if size % form.page_size:
            said.append(f"the last page was cut: {size} bytes are no whole number of pages")
        header[28:32], header[92:96] = struct.pack(">I", count), header[24:28]
        if int.from_bytes(header[32:36]) > count:
            said.append("the list of free pages began beyond the end of the file")
            header[32:40] = bytes(8)
        if not 1 <= int.from_bytes(header[44:48]) <= 4:
            header[44:48] = struct.pack(">I", 4)
        if text == "utf-8":
            header[56:60] = struct.pack(">I", 1)
        if not 0 < int.from_bytes(header[52:56]) <= count:
            header[52:56] = header[64:68] = bytes(4)
        file.seek(0)
        file.write(header)
        file.truncate(count * form.page_size)
    return said
