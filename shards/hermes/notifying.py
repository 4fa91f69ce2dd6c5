"""Notifying: which events a chat is still to be told of, by Hermes's functions of these names.

Hermes moves a subscription's cursor before it sends, and back if that fails. Here the events are leased in the shard of
the profile that tells the chat, and the cursor moves when they are told, so a gateway that is killed in between tells
them again and never not at all.

In Hermes 0.19.0 a subscription that names a profile is delivered by that profile's gateway only where one process
serves several (``_authorization_adapter`` knows no other); its own, standalone gateway takes it up and lays it down for
ever. So the watcher of a gateway sees its own profile's subscriptions as nobody's, which it does deliver.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kanban_shards.changes.kinds import Adopt, Delivered, Subscribe, Unsubscribe
from kanban_shards.deliveries import DELIVERY_LEASE_S
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import can_name_a_profile, profile_now, settle, write_soon, writer_of
from kanban_shards.hermes.upstream import Hermes, UpstreamEvent
from kanban_shards.hermes.verbs import applies
from kanban_shards.records import DELIVERED_KINDS
from kanban_shards.shard import Attempt, DeliveryKey

_SUBSCRIPTION = (
    "SELECT notifier_profile, last_event_id FROM kanban_notify_subs "
    "WHERE task_id = ? AND platform = ? AND chat_id = ? AND thread_id = ?"
)
GAVE_UP = "Hermes could not reach the chat; the log of its gateway says why"
# The profile that Hermes takes for none where it looks for an adapter.
DEFAULT_PROFILE = "default"
_OURS = "kanban_shards."
_GATEWAY = "gateway."


def add_notify_sub(
    hermes: Hermes,
    conn: BoardConnection,
    *,
    task_id: str,
    platform: str,
    chat_id: str,
    thread_id: str | None = None,
    user_id: str | None = None,
    notifier_profile: str | None = None,
) -> None:
    """The chat hears of the task, from its beginning, as with Hermes. Where no profile is named, it is told by the
    first whose gateway asks."""
    deliverer = notifier_profile if can_name_a_profile(notifier_profile) else None
    change = Subscribe(
        platform=platform,
        chat_id=chat_id,
        thread_id=thread_id or "",
        user_id=user_id or None,
        notifier_profile=deliverer,
        unadopted=deliverer is None,
        from_start=True,
    )
    key = _key(task_id, platform, chat_id, thread_id)
    row = conn.glance(_SUBSCRIPTION, key[:4])
    if row is None:
        write_soon(conn.paths, task_id, change)
    elif not row["notifier_profile"] and deliverer == profile_now():
        _deliverer(conn, key)


def list_notify_subs(hermes: Hermes, conn: BoardConnection, task_id: str | None = None) -> list[dict[str, Any]]:
    """Hermes's own; to a gateway's watcher, its own profile's are shown as nobody's."""
    found = hermes.released.list_notify_subs(conn, task_id)
    own = profile_now()
    if own == DEFAULT_PROFILE or not asked_by_gateway():
        return found
    return [{**each, "notifier_profile": ""} if each["notifier_profile"] == own else each for each in found]


def claim_unseen_events_for_sub(
    hermes: Hermes,
    conn: BoardConnection,
    *,
    task_id: str,
    platform: str,
    chat_id: str,
    thread_id: str | None = None,
    kinds: Iterable[str] | None = None,
) -> tuple[int, int, list[UpstreamEvent]]:
    """The cursor, where it will be, and the events in between, leased to this process; none if another has them."""
    key = _key(task_id, platform, chat_id, thread_id)
    deliverer = _deliverer(conn, key)
    if deliverer is None:
        return 0, 0, []
    writer = writer_of(conn.paths, deliverer)
    known = writer.attempt(key)
    cursor, new, events = _unseen(hermes, conn, key, kinds)
    told = max(cursor, known.acknowledged)
    events = [event for event in events if event.id > told]
    if not events:
        return told, told, []
    now_ms = time.time_ns() // 1_000_000
    if not writer.lease_attempt(key, known.acknowledged, new, now_ms, now_ms + DELIVERY_LEASE_S * 1_000):
        return told, told, []
    return told, new, events


def advance_notify_cursor(
    hermes: Hermes,
    conn: BoardConnection,
    *,
    task_id: str,
    platform: str,
    chat_id: str,
    thread_id: str | None = None,
    new_cursor: int,
) -> None:
    """The chat was told up to ``new_cursor``."""
    key = _key(task_id, platform, chat_id, thread_id)
    deliverer = _deliverer(conn, key)
    if deliverer is None or new_cursor < 1:
        return
    writer = writer_of(conn.paths, deliverer)
    change = Delivered(platform=platform, chat_id=chat_id, thread_id=key.thread_id, upto=int(new_cursor))
    seq = write_soon(conn.paths, task_id, change, deliverer)
    told = replace(writer.attempt(key), acknowledged=int(new_cursor), acknowledged_seq=seq, leased_until_ms=0)
    writer.save_attempt(key, replace(told, attempts=0, next_try_ms=0))


def rewind_notify_cursor(
    hermes: Hermes,
    conn: BoardConnection,
    *,
    task_id: str,
    platform: str,
    chat_id: str,
    thread_id: str | None = None,
    claimed_cursor: int,
    old_cursor: int,
) -> bool:
    """The chat could not be told; the next tick may try. Whether it was this process's to tell."""
    key = _key(task_id, platform, chat_id, thread_id)
    deliverer = _deliverer(conn, key)
    if deliverer is None:
        return False
    writer = writer_of(conn.paths, deliverer)
    known = writer.attempt(key)
    if known.acknowledged >= claimed_cursor or not known.leased_until_ms:
        return False
    writer.save_attempt(key, replace(known, leased_until_ms=0))
    return True


def remove_notify_sub(
    hermes: Hermes,
    conn: BoardConnection,
    *,
    task_id: str,
    platform: str,
    chat_id: str,
    thread_id: str | None = None,
) -> bool:
    """Whether the chat was subscribed. A watcher removes one, too, that it could not reach three times: then what the
    chat missed is kept as a dead letter, and the subscription stays."""
    key = _key(task_id, platform, chat_id, thread_id)
    row = conn.execute(_SUBSCRIPTION, key[:4]).fetchone()
    if row is None:
        return False
    if asked_by_gateway() and row["notifier_profile"] and _gave_up(conn, key, row):
        return True
    write_soon(conn.paths, task_id, Unsubscribe(platform=platform, chat_id=chat_id, thread_id=key.thread_id))
    return True


def asked_by_gateway() -> bool:
    """Whether the code that called Hermes's function is a gateway's own, and no command that is run in it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).startswith(_GATEWAY)


def _key(task_id: str, platform: str, chat_id: str, thread_id: str | None) -> DeliveryKey:
    """What is delivered to the chat, which Hermes names without a thread by None or by an empty text."""
    return DeliveryKey(task_id, platform, chat_id, thread_id or "", letter_id=0)


def _deliverer(conn: BoardConnection, key: DeliveryKey) -> str | None:
    """The profile that tells the chat: this one, from now on, if it was nobody; None if it is not subscribed, or
    another was faster."""
    row = conn.execute(_SUBSCRIPTION, key[:4]).fetchone()
    if row is None:
        return None
    if row["notifier_profile"]:
        return str(row["notifier_profile"])
    change = Adopt(platform=key.platform, chat_id=key.chat_id, thread_id=key.thread_id)
    writer = writer_of(conn.paths)
    return writer.profile if applies(writer, key.task_id, change) else None


def _unseen(
    hermes: Hermes, conn: BoardConnection, key: DeliveryKey, kinds: Iterable[str] | None
) -> tuple[int, int, list[UpstreamEvent]]:
    """The cursor on the board, the newest event that the chat is to be told of, and all of those."""
    settle(conn.paths)
    chat = {"platform": key.platform, "chat_id": key.chat_id, "thread_id": key.thread_id}
    new, events = hermes.now.unseen_events_for_sub(conn, task_id=key.task_id, **chat, kinds=kinds)
    row = conn.execute(_SUBSCRIPTION, key[:4]).fetchone()
    return (0 if row is None else int(row["last_event_id"])), new, events


def _gave_up(conn: BoardConnection, key: DeliveryKey, row: sqlite3.Row) -> bool:
    """Keep what the chat was being told, and was not, as a dead letter; False if it was told all there was."""
    deliverer = str(row["notifier_profile"])
    writer = writer_of(conn.paths, deliverer)
    known = writer.attempt(key)
    told = max(int(row["last_event_id"]), known.acknowledged)
    if known.upto <= told or not known.leased_until_ms:
        return False
    missed = writer.board.events(after=told, task_id=key.task_id, kinds=DELIVERED_KINDS)
    change = Delivered(
        platform=key.platform,
        chat_id=key.chat_id,
        thread_id=key.thread_id,
        upto=known.upto,
        events=tuple(event.id for event in missed if event.id <= known.upto),
        error=GAVE_UP,
        attempts=known.attempts,
    )
    seq = write_soon(conn.paths, key.task_id, change, deliverer)
    writer.save_attempt(key, Attempt(acknowledged=known.upto, acknowledged_seq=seq))
    return True
