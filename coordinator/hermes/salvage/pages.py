"""Pages: SQLite's file format (sqlite.org/fileformat2.html), read from the bytes of a private copy.

SQLite stops where a page contradicts itself. This reads each page and each cell by itself, so that damage costs what
it lies on and nothing else. It reads private copies that no connection has open (docs/design/hermes.md, "Salvage").
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
INDEX_NODE, TABLE_NODE, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
KINDS = (INDEX_NODE, TABLE_NODE, INDEX_LEAF, TABLE_LEAF)
_KIND_BYTES = {bytes([kind]) for kind in KINDS}
# Hermes's own size first: where two sizes explain a file equally well, it is this one.
PAGE_SIZES = (4096, 1024, 2048, 8192, 16384, 32768, 65536, 512)
ENCODINGS = {1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}
# A change is at most 1 MiB and Hermes's longest texts are a few; what claims more is damage.
LONGEST_PAYLOAD_BYTES = 64 * 1024 * 1024
SAMPLE_BYTES = 2 * 1024 * 1024
_WHOLE_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Value = int | float | str | bytes | None


class Mended(str):
    """Text whose bytes were no text of the file's encoding; what could not be read is U+FFFD."""


@dataclass(frozen=True)
class Cell:
    """One cell of a b-tree page. ``child``: the page below (nodes only); ``payload``: its record; ``key``: its rowid
    (tables only). ``overflow``: the pages on which the rest of the payload lies."""

    child: int = 0
    key: int = 0
    payload: bytes = b""
    overflow: tuple[int, ...] = ()


@dataclass(frozen=True)
class Page:
    """A b-tree page. ``cells`` are those that can be read, ``broken`` says whether others could not.

    ``kind`` is as the page says, or TABLE_LEAF where it says nonsense and its cells can be read as rows."""

    number: int
    kind: int
    cells: tuple[Cell, ...]
    right: int
    broken: bool


@dataclass(frozen=True)
class Form:
    """How a file is divided: the size of its pages, and how many bytes at the end of each are not SQLite's."""

    page_size: int
    reserved: int = 0


class Pages:
    """The pages of the private copy ``path``. Close it after use."""

    def __init__(self, path: Path, form: Form) -> None:
        self._file = path.open("rb")
        self.page_size = page_size = form.page_size
        self.size_bytes = path.stat().st_size
        self.count = -(-self.size_bytes // page_size)
        header = self._file.read(HEADER_BYTES)
        sound = header.startswith(MAGIC) and len(header) == HEADER_BYTES
        self._usable = page_size - form.reserved
        # A schema that can be read as UTF-8 is, whatever the header says.
        plain = b"CREATE " in self._file.read(page_size)
        self.encoding = ENCODINGS.get(header[59], "utf-8") if sound and not plain else "utf-8"
        self.header = header if sound else b""

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def bytes_of(self, number: int) -> bytes:
        """The bytes of a page; fewer than a page at the end of a cut file, none after it."""
        if not 1 <= number <= self.count:
            return b""
        self._file.seek((number - 1) * self.page_size)
        return self._file.read(self.page_size)[: self._usable]

    def page(self, number: int) -> Page | None:
        """The b-tree page ``number``; None if it is none."""
        raw = self.bytes_of(number)
        start = HEADER_BYTES if number == 1 else 0
        if len(raw) < start + 8:
            return None
        kind = raw[start]
        if kind in KINDS:
            return self._parsed(number, raw, start, kind)
        guessed = self._parsed(number, raw, start, TABLE_LEAF)
        return guessed if guessed.cells else None

    def free(self) -> tuple[set[int], bool]:
        """The pages that the file keeps for reuse, and whether that list is whole.

        Where the header is lost, its trunk pages are found by their form.
        """
        if not self.header:
            return self._free_by_form(), False
        trunk, promised = struct.unpack(">II", self.header[32:40])
        free: set[int] = set()
        while trunk and trunk not in free and 1 <= trunk <= self.count:
            leaves = self._trunk(trunk)
            if leaves is None:
                return free, False
            free.add(trunk)
            free.update(leaves[1:])
            trunk = leaves[0]
        return free, trunk == 0 and len(free) == promised

    def _free_by_form(self) -> set[int]:
        free: set[int] = set()
        for number in range(2, self.count + 1):
            leaves = self._trunk(number)
            if leaves is not None and len(leaves) > 1:
                free.update((number, *leaves[1:]))
        return free

    def _trunk(self, number: int) -> tuple[int, ...] | None:
        """The next trunk page and the free pages that the trunk page ``number`` names; None if it is none."""
        raw = self.bytes_of(number)
        if len(raw) < 8:
            return None
        after, count = struct.unpack(">II", raw[:8])
        if after > self.count or count > (len(raw) - 8) // 4:
            return None
        leaves = struct.unpack(f">{count}I", raw[8 : 8 + 4 * count])
        if len(set(leaves)) != count or not all(2 <= leaf <= self.count and leaf != number for leaf in leaves):
            return None
        return after, *leaves

    def _parsed(self, number: int, raw: bytes, start: int, kind: int) -> Page:
        node = kind in (INDEX_NODE, TABLE_NODE)
        first = start + (12 if node else 8)
        promised = int.from_bytes(raw[start + 3 : start + 5])
        count = min(promised, (len(raw) - first) // 2)
        cells = []
        for position in range(count):
            offset = int.from_bytes(raw[first + 2 * position : first + 2 * position + 2])
            cell = self._cell(raw, offset, kind) if first + 2 * count <= offset < len(raw) else None
            if cell is not None:
                cells.append(cell)
        right = int.from_bytes(raw[start + 8 : start + 12]) if node else 0
        return Page(number, kind, tuple(cells), right, len(cells) < promised)

    def _cell(self, raw: bytes, offset: int, kind: int) -> Cell | None:
        child = 0
        try:
            if kind in (INDEX_NODE, TABLE_NODE):
                child = struct.unpack_from(">I", raw, offset)[0]
                offset += 4
            if kind == TABLE_NODE:
                return Cell(child, signed(varint(raw, offset)[0]))
            size, offset = varint(raw, offset)
            key = 0
            if kind == TABLE_LEAF:
                unsigned, offset = varint(raw, offset)
                key = signed(unsigned)
        except (IndexError, struct.error):
            return None
        if not 1 < size <= LONGEST_PAYLOAD_BYTES:
            return None
        local = self._local(size, kind)
        payload = raw[offset : offset + local]
        if len(payload) < local:
            return None
        if local == size:
            return Cell(child, key, payload)
        return self._with_overflow(Cell(child, key, payload), size, raw[offset + local : offset + local + 4])

    def _local(self, size: int, kind: int) -> int:
        """How many bytes of a payload of ``size`` lie on the page itself."""
        usable = self._usable
        most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        return local if local <= most else least

    def _with_overflow(self, cell: Cell, size: int, pointer: bytes) -> Cell | None:
        parts, visited, left = [cell.payload], [], size - len(cell.payload)
        while left > 0:
            number = int.from_bytes(pointer)
            raw = self.bytes_of(number) if len(pointer) == 4 and number not in visited else b""
            part = raw[4 : 4 + left]
            if len(part) < min(left, self._usable - 4):
                return None
            visited.append(number)
            parts.append(part)
            left -= len(part)
            pointer = raw[:4]
        if any(pointer):  # the last page of a chain names no next one
            return None
        return Cell(cell.child, cell.key, b"".join(parts), tuple(visited))


def record(payload: bytes, encoding: str) -> list[Value] | None:
    """The values of a record; None unless header and body account for each of its bytes."""
    try:
        end, offset = varint(payload, 0)
        types = []
        while offset < end:
            kind, offset = varint(payload, offset)
            types.append(kind)
        if offset != end or not types or end + sum(map(_size, types)) != len(payload):
            return None
        values = []
        for kind in types:
            size = _size(kind)
            values.append(_value(kind, payload[offset : offset + size], encoding))
            offset += size
    except (IndexError, ValueError):
        return None
    return values


def as_text(raw: bytes, encoding: str = "utf-8") -> str:
    """The text that ``raw`` is, or the one nearest to it."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return Mended(raw.decode(encoding, "replace"))


def varint(raw: bytes, offset: int) -> tuple[int, int]:
    """The unsigned variable-length integer at ``offset``, and where it ends. Raises IndexError."""
    value = 0
    for position in range(offset, offset + 8):
        byte = raw[position]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + 1
    return value << 8 | raw[offset + 8], offset + 9


def signed(value: int) -> int:
    """The rowid that a varint of 64 bits stands for."""
    return value - (1 << 64) if value >> 63 else value


def form_said(path: Path) -> Form:
    """How the sound database ``path`` is divided, as its header says."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    page_size = int.from_bytes(header[16:18])
    return Form(65536 if page_size == 1 else page_size, header[20])


def form_of(path: Path) -> Form | None:
    """How the private copy ``path`` is divided: the way in which most pages have the form of b-tree pages; as its
    header says, if that is as good as any. None if there is no such page in any way."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES).ljust(HEADER_BYTES, b"\0")
    said = int.from_bytes(header[16:18]) if header.startswith(MAGIC) else 0
    said = 65536 if said == 1 else said
    reserved = header[20] if header.startswith(MAGIC) and header[20] <= 32 else 0
    sizes = sorted(PAGE_SIZES, key=lambda size: size != said)
    forms = list(dict.fromkeys(Form(size, kept) for kept in (reserved, 0) for size in sizes))
    likely = {form: _likeness(path, form) for form in forms}
    best = max(forms, key=lambda form: likely[form])
    return best if likely[best] else None


def _likeness(path: Path, form: Form) -> int:
    """How many pages at the beginning of the file have records in them. Too large pages miss some, too small ones end
    before their records."""
    with Pages(path, form) as pages:
        last = min(pages.count, SAMPLE_BYTES // form.page_size)
        return sum(_has_records(pages, number) for number in range(1, last + 1))


def _has_records(pages: Pages, number: int) -> bool:
    start = HEADER_BYTES if number == 1 else 0
    if pages.bytes_of(number)[start : start + 1] not in _KIND_BYTES:
        return False
    page = pages.page(number)
    if page is None or not page.cells or page.broken:
        return False
    if page.kind == TABLE_NODE:
        return all(1 < cell.child <= pages.count for cell in page.cells)
    return all(record(cell.payload, pages.encoding) is not None for cell in page.cells)


def leaves(pages: Pages, skip: Container[int], kind: int = TABLE_LEAF) -> Iterator[Page]:
    """Every leaf of ``kind``, in the file's order, but those in ``skip``."""
    for number in range(1, pages.count + 1):
        if number not in skip:
            page = pages.page(number)
            if page is not None and page.kind == kind:
                yield page


def _size(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    if kind in (10, 11):
        raise ValueError(kind)
    return 8 if kind == 7 else _WHOLE_BYTES.get(kind, 0)


def _value(kind: int, raw: bytes, encoding: str) -> Value:
    if kind == 0:
        return None
    if kind == 7:
        (number,) = struct.unpack(">d", raw)
        return float(number)
    if kind in (8, 9):
        return kind - 8
    if kind < 12:
        return int.from_bytes(raw, signed=True)
    if kind % 2 == 0:
        return raw
    return as_text(raw, encoding)
