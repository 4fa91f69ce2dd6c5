"""Running: which processes of a Hermes there are, and whether they have loaded the bridge.

A process loads it when it starts, or never. Hermes opens a board for as long as one call takes, so who has it open now
says little; a gateway holds a lock for its lifetime, and whoever runs Hermes was started with words that say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from kanban_shards.coordinator import processes
from kanban_shards.coordinator.filelocks import flock_pids
from kanban_shards.coordinator.hermes import startfiles
from kanban_shards.coordinator.hermes.interpreters import HermesEnvironment

# What a gateway holds, in the home of its profile.
GATEWAY_LOCK = "gateway.lock"
# What ``python -m`` may be told to run of Hermes.
_MODULES = {
    "acp_adapter", "agent", "batch_runner", "cli", "cron", "gateway", "hermes_cli", "mcp_serve", "run_agent",
    "tui_gateway",
}  # fmt: skip
# Clocks of processes and of files agree within this.
_CLOCKS_S = 1.5


def hermes_processes(environments: Iterable[HermesEnvironment], homes: Iterable[Path]) -> dict[int, str]:
    """The processes of Hermes, by pid and in words: gateways of the profiles of ``homes``, whatever Hermes they are
    of, and everything that runs one of ``environments``. Where the system does not tell, nothing."""
    gateways = {pid for home in homes for lock in gateway_locks(home) for pid in flock_pids(lock)}
    found = {pid for each in environments for pid in of_environment(each)}
    return {pid: processes.described(pid) for pid in sorted(gateways | found)}


def gateway_locks(home: Path) -> Iterator[Path]:
    """Where the gateways of a Hermes home hold a lock: that of the profile ``default``, and the others'."""
    yield home / GATEWAY_LOCK
    yield from sorted(home.glob(f"profiles/*/{GATEWAY_LOCK}"))


def of_environment(environment: HermesEnvironment) -> Iterator[int]:
    """The pids of what runs this Hermes."""
    scripts = str(environment.prefix / "bin")
    for pid, words in processes.words_of_all():
        if _runs(words, scripts):
            yield pid


def unbridged(environment: HermesEnvironment) -> dict[int, str]:
    """Of the processes that run this Hermes, those that were started before it was bridged, by pid and in words."""
    try:
        since_s = startfiles.written_s(environment.site)
    except OSError:
        return {}
    began = {pid: processes.started_s(pid) for pid in of_environment(environment)}
    return {pid: processes.described(pid) for pid, at in began.items() if at is not None and at < since_s - _CLOCKS_S}


def _runs(words: list[str], scripts: str) -> bool:
    """Whether a process with these words runs a Hermes whose commands lie in ``scripts``: one of them, or ``-m`` with
    a module of Hermes, by the interpreter that lies there."""
    program, *rest = words
    for word in words[:3]:
        folder, _, name = word.rpartition("/")
        if folder == scripts and name.startswith("hermes"):
            return True
    if program.rpartition("/")[0] != scripts or "-m" not in rest[:4]:
        return False
    module = rest[rest.index("-m") + 1 :][:1]
    return bool(module) and module[0].partition(".")[0] in _MODULES
