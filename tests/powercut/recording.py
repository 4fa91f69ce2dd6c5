"""Recording: the system calls by which a program changes a folder, in their order, as strace saw them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "write,pwrite64,fsync,fdatasync,ftruncate,open,openat,creat,mkdir,mkdirat,"
    "unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat"
)
# The program's own marks, written to a file of this name beside the folder: what it was told, and when.
MARKS = "marks"
LONGEST_WRITE_BYTES = 64 * 1024 * 1024

_LINE = re.compile(r"(\w+)\((.*)\) += (\d+)(?:<.*>)?$")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OPEN_FILE = re.compile(r"(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")


@dataclass(frozen=True)
class Step:
    """One thing asked of the disk, or one mark.

    ``kind``: write, truncate, sync, create, mkdir, link, rename, unlink, mark. ``path``: where; ``target``: the new
    name of a link or rename. ``data`` is written at ``offset``, or at the end if that is None; of a truncation,
    ``offset`` is the size that it leaves.
    """

    kind: str
    path: Path
    target: Path | None = None
    data: bytes = b""
    offset: int | None = None


def record(root: Path, arguments: list[str], log: Path) -> list[Step]:
    """Run Python with ``arguments`` and return what it did below ``root``. Raises CalledProcessError if it fails.

    Its calls are in the order in which they ended, whichever thread made them.
    """
    strace = ["strace", "-f", "-y", "-xx", "-s", str(LONGEST_WRITE_BYTES), "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run([*strace, sys.executable, *arguments], check=True, stdin=subprocess.DEVNULL)
    with log.open(encoding="ascii") as lines:
        return [step for line in _whole(lines) for step in _steps(line, root)]


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """The calls, a line each: one that was still going on when another thread made one stands in two pieces."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, call = line.rstrip("\n").split(maxsplit=1)
        if call.endswith(_UNFINISHED):
            begun[thread] = call.removesuffix(_UNFINISHED)
        elif resumed := _RESUMED.match(call):
            yield begun.pop(thread) + call[resumed.end() :].lstrip()
        else:
            yield call


def _steps(line: str, root: Path) -> Iterator[Step]:
    """What a line of the log says, if it succeeded and concerns ``root``."""
    found = _LINE.match(line)
    if not found:
        return
    call, given, returned = found[1], found[2], int(found[3])
    if call in ("write", "pwrite64", "fsync", "fdatasync", "ftruncate"):
        path = Path(os.fsdecode(_bytes(_OPEN_FILE.match(given)[1])))
    else:
        path, *others = _names(given)
    if path == root.parent / MARKS and call == "write":
        yield Step("mark", path, data=_bytes(_TEXT.search(given)[1]))
    if root not in (path, *path.parents):
        return
    numbers = [int(part) for part in _TEXT.sub("", given).split(", ") if part.isdigit()]
    if call in ("write", "pwrite64"):
        data = _bytes(_TEXT.search(given)[1])[:returned]
        yield Step("write", path, data=data, offset=numbers[-1] if call == "pwrite64" else None)
    elif call == "ftruncate":
        yield Step("truncate", path, offset=numbers[-1])
    elif call in ("fsync", "fdatasync"):
        yield Step("sync", path)
    elif call in ("open", "openat", "creat"):
        if call == "creat" or "O_CREAT" in given:
            yield Step("create", path)
        if call == "creat" or "O_TRUNC" in given:
            yield Step("truncate", path, offset=0)
    elif call in ("mkdir", "mkdirat"):
        yield Step("mkdir", path)
    elif call in ("unlink", "unlinkat", "rmdir"):
        yield Step("unlink", path)
    else:
        yield Step("link" if call.startswith("link") else "rename", path, others[0])


def _names(given: str) -> list[Path]:
    """The paths among the arguments, absolute: each name stands behind the folder that it is relative to, if any."""
    names, folder = [], ""
    for part in given.split(", "):
        if found := _OPEN_FILE.fullmatch(part):
            folder = os.fsdecode(_bytes(found[1]))
        elif found := _TEXT.fullmatch(part):
            names.append(Path(folder, os.fsdecode(_bytes(found[1]))))
    return names


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
