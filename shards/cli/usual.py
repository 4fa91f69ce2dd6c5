"""The profile that a person usually is at a terminal, chosen once with ``kanban profile use``.

It stands in the user's own configuration, and is found by the system's record of who the user is: no variable of the
environment leads to it or stands for it, since those leak into programs that work for other profiles. It counts only
where a person sits, at a terminal, and each call that goes by it says so.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

from kanban_shards.errors import InvalidName, cannot_write
from kanban_shards.paths import check_profile

_FOLDER = (".config", "kanban-shards")
# Far more than a name.
LONGEST = 200


def place() -> Path | None:
    """Where the choice is kept; None for a user whom the system does not know."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir).joinpath(*_FOLDER, "profile")
    except KeyError:
        return None


def is_asked_by_a_person() -> bool:
    """Whether somebody sits at a terminal, who reads what is said of it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def usual_profile() -> str | None:
    """The profile that was chosen, if one was; what can name none counts as none."""
    path = place()
    if path is None:
        return None
    with suppress(OSError, UnicodeDecodeError, InvalidName), path.open(encoding="utf-8") as file:
        return check_profile(file.read(LONGEST).strip())
    return None


def choose(profile: str) -> Path | None:
    """Remember ``profile``; returns where, None if there is no place for it. Raises StorageError."""
    path = place()
    if path is None:
        return None
    making = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{profile}\n")
        making.replace(path)
    except OSError as error:
        raise cannot_write(path, error, "it cannot be written") from error
    return path


def forget() -> bool:
    """Choose none; returns whether one was chosen. Raises StorageError."""
    path = place()
    if path is None:
        return False
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot_write(path, error, "it cannot be removed") from error
    return True
