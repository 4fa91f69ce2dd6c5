"""Processes: which ones have a file open, and whether they may write it. Nothing is opened to find out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from kanban_shards.paths import printable_name
from kanban_shards.processes import BEGAN, stat_words
from kanban_shards.storage import files

_FLAGS = re.compile(r"^flags:\s*([0-7]+)$", re.MULTILINE)
_BOOTED = re.compile(r"^btime (\d+)$", re.MULTILINE)
_NUMBERS = re.compile(r"^NSpid:.*\s(\d+)$", re.MULTILINE)


class FileHolder(msgspec.Struct, frozen=True):
    """A process that has a file open. ``writing``: through a descriptor that may write; ``deleted``: the file has
    lost its name since."""

    pid: int
    command: str
    path: Path
    writing: bool
    deleted: bool

    def __str__(self) -> str:
        return f"{self.pid} ({self.command})"


def can_tell(processes: Path = Path("/proc")) -> bool:
    """Whether this system says who has a file open (Linux does)."""
    return (processes / "self" / "fd").is_dir()


def file_holders(path: Path, processes: Path = Path("/proc")) -> list[FileHolder]:
    """The processes that have the database ``path``, or a file that SQLite keeps beside it, open now.

    This process is left out. Those of other users are seen only by root; ``processes`` is where the system lists them.
    """
    return holders_of([path], processes)


def holders_of(paths: Iterable[Path], processes: Path = Path("/proc")) -> list[FileHolder]:
    """The same for several databases, in one look at the processes."""
    names = {os.path.realpath(path) + suffix for path in paths for suffix in ("", *files.SIDECARS)}
    found: dict[tuple[int, str], FileHolder] = {}
    for pid in _pids(processes):
        for name, deleted, writing in _open_files(processes / str(pid)):
            if name in names:
                known = found.get((pid, name))
                found[pid, name] = FileHolder(
                    pid,
                    _command(processes / str(pid)),
                    Path(name),
                    writing or (known is not None and known.writing),
                    deleted or (known is not None and known.deleted),
                )
    return list(found.values())


def processes_of(holders: Iterable[FileHolder]) -> list[str]:
    """The processes among ``holders`` in words, each once, however many of the files it has open."""
    return list({each.pid: str(each) for each in holders}.values())


def words_of_all(processes: Path = Path("/proc")) -> Iterator[tuple[int, list[str]]]:
    """Each process but this one, with the words it was started with; none where the system does not list them so."""
    for pid in _pids(processes):
        if words := _words(processes / str(pid)):
            yield pid, words


def started_s(pid: int, processes: Path = Path("/proc")) -> float | None:
    """When the process began, to a second of the epoch; None if it ended, or the system does not tell."""
    try:
        ticks = int(stat_words(pid, processes)[BEGAN])
        (booted,) = _BOOTED.findall((processes / "stat").read_text())
    except (OSError, IndexError, ValueError):
        return None
    return int(booted) + ticks / os.sysconf("SC_CLK_TCK")


def described(pid: int, processes: Path = Path("/proc")) -> str:
    """The process in words: its number and what it runs."""
    return f"{pid} ({_command(processes / str(pid))})"


def number_in_its_space(pid: int, processes: Path = Path("/proc")) -> int:
    """Which number the process ``pid`` has for itself, if it is in a container with numbers of its own."""
    try:
        status = (processes / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return pid
    found = _NUMBERS.search(status)
    return int(found[1]) if found else pid


def _pids(processes: Path) -> Iterator[int]:
    try:
        names = os.listdir(processes)
    except OSError:
        return
    for name in sorted(names):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)


def _open_files(process: Path) -> Iterator[tuple[str, bool, bool]]:
    """``(path, deleted, writing)`` of each file that the process has open; nothing if it ended or is not ours."""
    try:
        numbers = os.listdir(process / "fd")
    except OSError:
        return
    for number in numbers:
        try:
            name = os.readlink(process / "fd" / number)
            flags = _FLAGS.search((process / "fdinfo" / number).read_text())
        except OSError:
            continue
        writing = flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY
        yield name.removesuffix(" (deleted)"), name.endswith(" (deleted)"), writing


def _command(process: Path) -> str:
    return printable_name(" ".join(_words(process)))[:80] or "?"


def _words(process: Path) -> list[str]:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [word.decode(errors="replace") for word in words if word]
