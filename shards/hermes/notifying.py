"""Notifying: which events a chat is still to be told of, by Hermes's functions of these names.

Hermes moves a subscription's cursor before it sends, and back if that fails. Here the events are leased in the shard of
the profile that tells the chat, and the cursor moves when they are told, so a gateway that is killed in between tells
them again and never not at all.

In Hermes 0.19.0 a subscription that names a profile is delivered by that profile's gateway only where one process
serves several (``_authorization_adapter`` knows no other); its own, standalone gateway takes it up and lays it down for
ever. So the watcher of a gateway sees its own profile's subscriptions as nobody's, which it does deliver.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kanban_shards.attempts import DELIVERY_LEASE_S, Attempt, DeliveryKey
from kanban_shards.changes.kinds import Delivered, Subscribe, Unsubscribe
from kanban_shards.deliveries import Delivery, adopted, delivery_to
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import can_name_a_profile, profile_now, settle_later, write_soon, writer_of
from kanban_shards.hermes.upstream import Hermes, UpstreamEvent
from kanban_shards.hermes.verbs import shown

_SUBSCRIPTION = (
    "SELECT notifier_profile, last_event_id FROM kanban_notify_subs "
    "WHERE task_id = ? AND platform = ? AND chat_id = ? AND thread_id = ?"
)
GAVE_UP = "Hermes could not reach the chat; the log of its gateway says why"
# The profile that Hermes takes for none where it looks for an adapter.
DEFAULT_PROFILE = "default"
# What this process took up to tell, and did not end yet.
_held: dict[tuple[Path, DeliveryKey], Delivery] = {}
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
    """The cursor, where it will be, and the events in between, leased to this process; none if another has them. A dead
    letter that is to be sent once more is behind the cursor."""
    key = _key(task_id, platform, chat_id, thread_id)
    row = _subscription(conn, key)
    if row is None:
        return 0, 0, []
    writer = writer_of(conn.paths, row["notifier_profile"] or None)
    delivery = delivery_to(writer, key[:4], tuple(kinds or ()), DELIVERY_LEASE_S)
    told = max(int(row["last_event_id"]), writer.attempt(key).acknowledged)
    if delivery is None:
        return told, told, []
    _held[conn.paths.folder, key] = delivery
    ids = {event.id for event in delivery.events}
    events = [event for event in hermes.now.list_events(conn, task_id) if event.id in ids]
    return told, delivery.events[-1].id, sorted(events, key=lambda event: event.id)


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
    delivery = _held.pop((conn.paths.folder, key), None)
    if delivery is not None and delivery.events[-1].id == new_cursor:
        delivery.acknowledge()
        settle_later(conn.paths, writer_of(conn.paths, delivery.subscription.notifier_profile))
        return
    deliverer = _deliverer(conn, key)
    if deliverer is None or new_cursor < 1:
        return
    change = Delivered(platform=platform, chat_id=chat_id, thread_id=key.thread_id, upto=int(new_cursor))
    seq = write_soon(conn.paths, task_id, change, deliverer)
    writer_of(conn.paths, deliverer).save_attempt(key, Attempt(acknowledged=int(new_cursor), acknowledged_seq=seq))


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
    delivery = _held.pop((conn.paths.folder, _key(task_id, platform, chat_id, thread_id)), None)
    return delivery is not None and delivery.give_back(tried=True)


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
    if _subscription(conn, key) is None:
        return False
    undelivered = _held.pop((conn.paths.folder, key), None)
    if asked_by_gateway() and undelivered is not None:
        undelivered.give_up(GAVE_UP)
        settle_later(conn.paths, writer_of(conn.paths, undelivered.subscription.notifier_profile))
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


def _subscription(conn: BoardConnection, key: DeliveryKey) -> Any:
    """The row of the chat's subscription, if there is one."""
    return shown(conn.paths, lambda: conn.execute(_SUBSCRIPTION, key[:4]).fetchone())


def _deliverer(conn: BoardConnection, key: DeliveryKey) -> str | None:
    """The profile that tells the chat: this one, from now on, if it was nobody; None if it is not subscribed, or
    another was faster."""
    row = _subscription(conn, key)
    if row is None:
        return None
    if row["notifier_profile"]:
        return str(row["notifier_profile"])
    writer = writer_of(conn.paths)
    return writer.profile if adopted(writer, key[:4]) else None
