"""Sharing: the file that says of a board that other hosts share it, and where (docs/hosts.md).

A board is shared if ``shared.json`` lies in its folder, and only then: without that file nothing of what this takes is
imported, opened or changed. It holds no secret. Where the server is and who logs in says libpq's own service file, and
the password stands in libpq's own password file. Whoever may write in the folder may write this file, so what it says
is checked each time it is read.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Annotated

import msgspec

from kanban_shards.errors import InvalidName, NoServiceName, SharingStrange, StorageError, cannot_write
from kanban_shards.paths import NAME, BoardPaths
from kanban_shards.storage import owners
from kanban_shards.storage.filesystems import GROUP_READS
from kanban_shards.storage.folders import Check, make_below, open_below, read_small

# Far more than these names need.
LONGEST = 4096
_SERVICE = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
_NAME = rf"\A{NAME}\Z"
_LEDGER_ID = r"\A[0-9a-f]{32}\Z"
_LONGEST_NAME = 64


class Sharing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a board is shared, and as which host.

    ``service``: a section of libpq's service file. ``board``: its name in the server. ``ledger_id``: which ledger; a
    server that holds another one is not followed. ``host``: this home's name among those that share. ``trust_network``:
    whether somebody said that the way to the server needs no TLS with a checked name. ``ephemeral``: whether this
    home's files go when its host does, so that what is only in them is not safe yet.
    """

    service: Annotated[str, msgspec.Meta(pattern=_SERVICE)]
    board: Annotated[str, msgspec.Meta(pattern=_NAME)]
    ledger_id: Annotated[str, msgspec.Meta(pattern=_LEDGER_ID)]
    host: Annotated[str, msgspec.Meta(pattern=_NAME)]
    trust_network: bool = False
    ephemeral: bool = False


def read_sharing(paths: BoardPaths) -> Sharing | None:
    """Where the board is shared; None if it is not. Raises SharingStrange for a file that says anything else."""
    try:
        text = read_small(paths.folder, paths.shared, believed_in(paths))
        if text is None:
            return None
        if len(text) > LONGEST:
            raise SharingStrange(path=paths.shared, problem=f"it is longer than {LONGEST} letters")
        return msgspec.json.decode(text, type=Sharing)
    except SharingStrange:
        raise
    except StorageError as error:
        raise SharingStrange(path=paths.shared, problem=error.happened) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SharingStrange(path=paths.shared, problem=str(error)) from error


def believed_in(paths: BoardPaths) -> Check:
    """What raises SharingStrange for a file of the board at ``paths`` that another user could have written.
    ``shared.json`` says where this user's process logs in, and whether it takes a network's word for it."""

    def check(found: os.stat_result) -> None:
        believed = {owners.acting_user(), 0, os.stat(paths.folder).st_uid}
        if found.st_uid not in believed:
            whose = f"it belongs to {owners.name_of(found.st_uid)}, who is neither this user nor the folder's owner"
            raise SharingStrange(path=paths.shared, problem=whose)
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            problem = "others may write it; look at it, then take that away (chmod)"
            raise SharingStrange(path=paths.shared, problem=problem)

    return check


def write_sharing(paths: BoardPaths, sharing: Sharing) -> None:
    """Say that the board is shared: whole or not at all, and durably. The caller holds the coordinator's lock.

    Raises StorageError."""
    said = msgspec.json.format(msgspec.json.encode(sharing))
    try:
        with make_below(paths.folder, paths.folder) as folder:
            folder.write_whole(paths.shared.name, said + b"\n", folder.mode_for(GROUP_READS))
    except OSError as error:
        raise cannot_write(paths.shared, error, "it cannot be written") from error


def remove_sharing(paths: BoardPaths) -> None:
    """Say durably that the board is not shared any more. The caller holds the coordinator's lock. Raises
    StorageError."""
    try:
        with open_below(paths.folder, paths.folder) as folder:
            folder.remove(paths.shared.name)
            folder.sync()
    except OSError as error:
        raise cannot_write(paths.shared, error, "it cannot be removed") from error


def check_service(name: str) -> str:
    """``name``, if it can be a section of libpq's service file. Raises NoServiceName, which never repeats it: whoever
    says an address there may have said a password with it."""
    if not re.match(_SERVICE, name):
        raise NoServiceName
    return name


def host_meant(name: str | None) -> str:
    """The name of this host: the one that is said, else the system's, with a ``-`` for what no name may hold.

    Raises InvalidName for a said one that cannot be a name."""
    if name is None:
        return re.sub("[^a-z0-9_-]", "-", os.uname().nodename.lower())[:_LONGEST_NAME].lstrip("_-") or "host"
    if not re.match(_NAME, name):
        raise InvalidName(name=name, what="host")
    return name
