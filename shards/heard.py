"""Heard: what this host last heard of the ledger that it shares with others, in a small file beside the board.

Only the process that makes passes asks the service. Whoever shows a board wants to say when that was answered last,
and how far each host is; so it is noted here, every few seconds. It is not worth a sync, and whatever else lies there
counts as nothing heard. By one thing in it runs are ended, the service's clock; so that is believed only of who would
be believed with ``shared.json``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from kanban_shards import wording
from kanban_shards.clocks import steady_ms
from kanban_shards.errors import KanbanError, SharingStrange
from kanban_shards.moments import CALENDAR_ENDS_MS
from kanban_shards.paths import BoardPaths
from kanban_shards.processes import running_system
from kanban_shards.sharing import believed_in, read_sharing
from kanban_shards.storage.filesystems import GROUP_READS
from kanban_shards.storage.folders import Check, Folder, free_name, read_small

# How old the file gets at most while the service answers; whoever notes something sooner need not.
NOTED_EVERY_S = 10.0
# What is older was not answered lately: a daemon was stopped, or the service is silent.
SILENT_S = 30.0
_MOST_HOSTS = 1_000


class HostHeard(msgspec.Struct, frozen=True):
    """How far a host is, as it says itself. ``program``: the version of this program that it runs. ``position``: up to
    where its board shows the ledger. ``ago_ms``: how long before ``Heard.at_ms`` it said so, by the service's clock.
    ``differs``: whether it decided something otherwise than this host. ``seen_ms``: when it said so, by that clock."""

    host: str
    program: str
    rules: int
    position: int
    ago_ms: int
    differs: bool = False
    seen_ms: int = 0


class Heard(msgspec.Struct, frozen=True):
    """``at_ms``: when the service answered last, by this host's clock, milliseconds since 1970. ``end``: the ledger's
    last position then. ``hosts``: those that share the board, this one too, by name. ``clock_ms``: what the service's
    clock said then, 0 if it was not noted; ``steady_ms``: this machine's steady clock, since it began as ``system``
    (``running_system``)."""

    at_ms: int
    end: int
    hosts: list[HostHeard]
    clock_ms: int = 0
    steady_ms: int = 0
    system: str = ""

    def silent_s(self, now_s: float) -> float:
        """For how long the service has not answered, in seconds."""
        return max(0.0, now_s - self.at_ms / 1_000)

    def clock_s(self) -> float | None:
        """What the service's clock says by now, in seconds since 1970; None if it is not known since this machine
        began."""
        passed_ms = steady_ms() - self.steady_ms
        if not self.clock_ms or passed_ms < 0 or self.system != running_system():
            return None
        return (self.clock_ms + passed_ms) / 1_000


def read_heard(paths: BoardPaths, check: Check | None = None) -> Heard | None:
    """What was noted last; None if nothing was, or nothing that ``note_heard`` writes, or at a time that has not come
    yet: a clock was set back, and how long ago that was, nobody knows. ``check``: as in ``read_small``; what it raises
    says that nothing was noted."""
    with suppress(KanbanError, msgspec.MsgspecError, RecursionError):
        heard = msgspec.json.decode(read_small(paths.folder, paths.heard, check) or "", type=Heard)
        numbers = [
            heard.at_ms,
            heard.end,
            heard.clock_ms,
            heard.steady_ms,
            *(number for each in heard.hosts for number in _numbers(each)),
        ]
        is_likely = len(heard.hosts) <= _MOST_HOSTS and all(0 <= number <= CALENDAR_ENDS_MS for number in numbers)
        if is_likely and heard.at_ms <= time.time_ns() // 1_000_000:
            return heard
    return None


def ledger_now_s(paths: BoardPaths) -> float | None:
    """What time it is by the clock that stamps the board's entries, in seconds since 1970: this host's, or the
    service's, as it was last heard; None if that is not known. Raises nothing."""
    if not paths.is_shared:
        return time.time_ns() / 1e9
    heard = read_heard(paths, believed_in(paths))
    return None if heard is None else heard.clock_s()


def board_now_s(paths: BoardPaths) -> float:
    """The same for who only shows it: by this host's clock where the other is not known."""
    now_s = ledger_now_s(paths)
    return time.time_ns() / 1e9 if now_s is None else now_s


def silence(paths: BoardPaths, now_s: float) -> str:
    """Since when the service of a shared board has been silent, as a phrase for who looks at the board: what other
    hosts did since is not on it. Empty for a board that is not shared, or was heard lately. ``now_s``: seconds since
    1970. Raises nothing."""
    with suppress(SharingStrange):
        if (sharing := read_sharing(paths)) is not None:
            heard = read_heard(paths)
            if heard is None:
                return f"shared over {sharing.service}, which was not heard yet"
            if heard.silent_s(now_s) > SILENT_S:
                return f"shared over {sharing.service}, last heard {wording.ago(heard.at_ms // 1_000, now_s)}"
    return ""


def note_heard(
    paths: BoardPaths, end: int, hosts: Iterable[HostHeard] | None = None, clock_ms: int | None = None
) -> float:
    """Note that the service answered just now, that its ledger ends at ``end``, and what its clock says by now
    (milliseconds since 1970; None if that is not known). ``hosts``: None leaves those that were noted, and nothing is
    written then if something was noted less than NOTED_EVERY_S ago. Returns in how many seconds it is to be noted
    again. Raises nothing."""
    former = read_heard(paths)
    now_ms = time.time_ns() // 1_000_000
    if hosts is None:
        if former is not None and now_ms - former.at_ms < NOTED_EVERY_S * 1_000:
            return NOTED_EVERY_S - (now_ms - former.at_ms) / 1_000
        hosts = former.hosts if former else ()
    said = msgspec.json.encode(Heard(now_ms, end, list(hosts), clock_ms or 0, steady_ms(), running_system()))
    fresh = free_name(paths.heard.name)
    with suppress(OSError), Folder.given(paths.folder) as folder:
        try:
            with open(folder.new_file(fresh, folder.mode_for(GROUP_READS)), "wb") as file:
                file.write(said)
            os.rename(fresh, paths.heard.name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
        except BaseException:
            folder.remove(fresh)
            raise
    return NOTED_EVERY_S


def forget_heard(paths: BoardPaths) -> None:
    """Remove what was noted: the board is not shared any more. Raises nothing."""
    with suppress(OSError), Folder.given(paths.folder) as folder:
        folder.remove(paths.heard.name)


def _numbers(host: HostHeard) -> tuple[int, ...]:
    return host.rules, host.position, host.ago_ms, host.seen_ms
