"""Processes: which one a number means, on which machine, and whether it is still there."""

from __future__ import annotations

import os
import platform
from pathlib import Path

# What of ``stat_words`` is what: the state, the process that started it, and when it began, in ticks since the machine
# did.
_STATE, _PARENT, BEGAN = 0, 1, 19
_DEAD = ("Z", "X")
PS_WITHIN_S = 5.0


def stat_words(pid: int, processes: Path = Path("/proc")) -> list[str]:
    """What the system says of the process in its ``stat``, behind the command's name, which may be any text. Raises
    OSError if there is none, or the system does not say it so."""
    return (processes / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def process_state(pid: int, processes: Path = Path("/proc")) -> str | None:
    """The letter of the process's state (``T`` and ``t``: stopped, ``Z``: dead, not yet buried); None if there is none,
    or where the system does not tell."""
    try:
        return stat_words(pid, processes)[_STATE]
    except (OSError, IndexError):
        return None


def running_system(kernel: Path = Path("/proc/sys/kernel")) -> str:
    """Which run of which machine's kernel this is: one for all its containers, whatever each is called; empty where the
    system does not tell."""
    try:
        return (kernel / "random" / "boot_id").read_text().strip()
    except OSError:
        return ""


def pid_space(processes: Path = Path("/proc")) -> str:
    """Which numbers of processes are meant, if one is named here: a container may have numbers of its own. Empty where
    the system does not tell."""
    try:
        return os.readlink(processes / "self" / "ns" / "pid")
    except OSError:
        return ""


def this_host() -> str:
    """Whose numbers of processes are meant here: of one run of one machine's kernel, and of one container of it."""
    return f"{running_system() or platform.node()} {pid_space()}".strip()


def began(pid: int, processes: Path = Path("/proc")) -> str | None:
    """When the process ``pid`` of this host began, as the system says it; None if there is none, or it is dead and not
    yet buried. Two processes that had one number after the other differ in it."""
    if not (processes / "self").exists():
        return _began_by_ps(pid)
    try:
        said = stat_words(pid, processes)
        return None if said[_STATE] in _DEAD else said[BEGAN]
    except (OSError, IndexError):
        return None


def is_above(pid: int, processes: Path = Path("/proc")) -> bool:
    """Whether ``pid`` is this process, or one of those that it was started by, as far as the system tells."""
    above = os.getpid()
    while above > 1 and above != pid:
        try:
            above = int(stat_words(above, processes)[_PARENT])
        except (OSError, IndexError, ValueError):
            return pid == os.getppid()
    return above == pid


def began_with(pid: int, name: str, processes: Path = Path("/proc")) -> str | None:
    """The variable ``name`` of the environment with which the process began; None if it has none, or if this user may
    not see that, as of a process that keeps secrets, or is another user's."""
    try:
        environment = (processes / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    beginning = os.fsencode(f"{name}=")
    found = (each.removeprefix(beginning) for each in environment.split(b"\0") if each.startswith(beginning))
    value = next(found, None)
    return None if value is None else os.fsdecode(value)


def shows_environments(processes: Path = Path("/proc")) -> bool:
    """Whether the system tells with which environment a process began, as Linux does."""
    return (processes / "self" / "environ").exists()


def can_be_signaled(pid: int) -> bool:
    """Whether this user may send signals to the process, or there is none of that number."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def _began_by_ps(pid: int) -> str | None:
    """Where there is no /proc, as on macOS."""
    import subprocess  # which the other systems can do without

    try:
        said = subprocess.run(
            ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=PS_WITHIN_S
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return " ".join(said[1:]) if said and said[0][0] not in _DEAD else None
