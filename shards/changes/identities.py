"""Identities: ids of tasks that belong to whoever drew them.

A create can be read in its shard before it is decided. If its id were mere chance, another profile could write a create
with the same id in that moment and be decided first: the author's would be refused, and what the author says next would
land on a stranger's task. So an id is the digest of the profile that drew it and of a salt, which the create carries.
Nobody finds a salt of their own that leads to a given id: there are 2**80 ids.

An id is drawn before anything is read or written, so it may be part of what is written: of a path, or of a branch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import TASKLESS_KINDS, Create, Decompose
from kanban_shards.paths import is_task_id

SALT_BYTES = 16
ID_BYTES = 10
# Before ids were drawn so, they were 16 random digits; creates of that kind may wait in a shard, and are still taken.
# Hermes's own have 8, and come by an import alone.
OLD_LENGTH = len("t_") + 16


class NewTask(NamedTuple):
    """The id of a task that is to be made, and the salt that shows whose it is."""

    id: str
    salt: str


def names_as_its_kind(kind: str, task_id: str) -> bool:
    """Whether ``task_id`` is what a change of ``kind`` is about: an id, or ``""`` for one that names no task."""
    return task_id == "" if kind in TASKLESS_KINDS else is_task_id(task_id)


def new_task(profile: str) -> NewTask:
    """Draw an id for a task that ``profile`` makes."""
    salt = os.urandom(SALT_BYTES).hex()
    return NewTask(_id_of(profile, salt), salt)


def is_drawn_by(profile: str, new: NewTask) -> bool:
    """Whether ``profile`` drew this id: nobody else can have the salt for it."""
    return new.id == _id_of(profile, new.salt)


def makes_only_its_own(profile: str, task_id: str, body: Body) -> bool:
    """Whether each task that a change of ``profile`` brings into being, if any, has an id that this profile drew."""
    return all(_may_make(profile, *made) for made in _made(task_id, body))


def _may_make(profile: str, task_id: str, salt: str | None) -> bool:
    return len(task_id) == OLD_LENGTH if salt is None else task_id == _id_of(profile, salt)


def _made(task_id: str, body: Body) -> Iterator[tuple[str, str | None]]:
    """Id and salt of each task that the change makes."""
    if isinstance(body, Create):
        yield task_id, body.salt
    elif isinstance(body, Decompose):
        for child in body.children:
            yield child.id, child.salt


def _id_of(profile: str, salt: str) -> str:
    drawn = f"{profile} {salt}".encode()  # neither holds a blank
    return f"t_{hashlib.blake2b(drawn, digest_size=ID_BYTES, person=b'kanban task id').hexdigest()}"
