"""Deliveries: telling the chats that subscribed what became of their tasks.

A subscription belongs to one profile, and only that profile's gateway delivers, so no two send the same message. Each
chat is told in order: lease in the own shard, send, acknowledge. A crash between sending and acknowledging sends
again, with the same key; a failure is tried again after growing pauses, and ends as a dead letter that can be listed
and sent again. Nothing is dropped silently.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kanban_shards.changes.kinds import Adopt, Delivered
from kanban_shards.errors import Refused, UnknownTask
from kanban_shards.records import Event, Subscription
from kanban_shards.shard import LONGEST_WAIT_MS, Attempt

if TYPE_CHECKING:
    from kanban_shards.gateway import Gateway

# The events that Hermes tells chats of.
DELIVERED_KINDS = ("completed", "blocked", "gave_up", "crashed", "timed_out", "status", "archived", "unblocked")
DELIVERY_LEASE_S = 60
# After so many seconds a failed delivery is tried again; after the last one it is a dead letter.
PAUSES_S = (5, 30, 120, 600, 3_600)
LONGEST_ERROR = 4_000
# A chat that missed more than this many events is told of all of them in one delivery.
DIGEST_ABOVE = 10


@dataclass(frozen=True)
class Delivery:
    """Something to tell a chat: one event, or, after a long outage, a digest of several.

    ``key`` is the same whenever the same thing is sent again, so that a chat can recognize it. ``attempt`` counts from
    1. End each delivery with ``acknowledge`` or ``fail``.
    """

    subscription: Subscription
    events: tuple[Event, ...]
    attempt: int
    letter_id: int
    _gateway: Gateway

    @property
    def key(self) -> str:
        """What is sent, to whom, as one word."""
        return ":".join((*self.subscription.chat, str(self.events[0].id), str(self.events[-1].id)))

    def acknowledge(self) -> None:
        """The chat was told. Durable on return."""
        self._end(None)

    def fail(self, error: str | Exception) -> bool:
        """The chat could not be told; returns whether it will be tried again. If not, it is a dead letter now, or was
        acknowledged before. Of a longer ``error``, LONGEST_ERROR characters are kept."""
        error = str(error)[:LONGEST_ERROR]
        if self.attempt > len(PAUSES_S):
            self._end(error)
            return False
        later = _now_ms() + PAUSES_S[self.attempt - 1] * 1_000
        before = self._gateway.attempt(self._key())
        if before.acknowledged >= self.events[-1].id:
            return False  # the chat was told after all, and said so
        tried = replace(before, leased_until_ms=0, attempts=self.attempt, next_try_ms=later)
        self._gateway.save_attempt(self._key(), tried)
        return True

    def _end(self, error: str | None) -> None:
        seq = self._say(error)
        if self.letter_id and error is not None:
            ended = Attempt()  # whoever asks for it once more finds it untried
        else:
            ended = Attempt(acknowledged=self.events[-1].id, acknowledged_seq=seq)
        self._gateway.save_attempt(self._key(), ended)

    def _say(self, error: str | None) -> int:
        """Write how it ended, and return the change's seq; 0 if the task was deleted meanwhile, and the chat's
        subscription with it. A dead letter is on the board until this is merged, so that is waited for."""
        task_id, platform, chat_id, thread_id = self.subscription.chat
        change = Delivered(
            platform=platform,
            chat_id=chat_id,
            thread_id=thread_id,
            upto=self.events[-1].id,
            events=tuple(event.id for event in self.events) if error is not None else (),
            error=error,
            attempts=self.attempt if error is not None else 0,
            letter_id=self.letter_id or None,
        )
        try:
            if self.letter_id:
                return self._gateway.ask(task_id, change).seq
            return self._gateway.write(task_id, change)
        except (Refused, UnknownTask):
            return 0

    def _key(self) -> tuple:
        return (*self.subscription.chat, self.letter_id)


def pending_deliveries(gateway: Gateway, kinds: Sequence[str], lease_s: int) -> Iterator[Delivery]:
    """Every delivery of ``gateway``'s profile that is due, each leased to the caller as it is given out.

    ``lease_s``: at most an hour. Raises ValueError.
    """
    if not 0 <= lease_s * 1_000 <= LONGEST_WAIT_MS:
        raise ValueError(f"a delivery is leased for 0 to {LONGEST_WAIT_MS // 1_000} seconds, not for {lease_s}")
    merged_seq, _ = gateway.board.watermarks().get(gateway.profile, (0, ""))
    for subscription in gateway.board.undelivered(gateway.profile):
        if not subscription.notifier_profile and not _adopted(gateway, subscription):
            continue
        while delivery := _next_of(gateway, subscription, merged_seq, kinds, lease_s):
            yield delivery
    for letter in gateway.board.dead_letters(profile=gateway.profile):
        events = tuple(filter(None, map(gateway.board.event, letter.event_ids)))
        subscription = _subscription_of(gateway, letter.task_id, letter.platform, letter.chat_id, letter.thread_id)
        if letter.resend and events and subscription and subscription.notifier_profile == gateway.profile:
            attempt = _leased(gateway, (*subscription.chat, letter.id), 0, events[-1].id, lease_s)
            if attempt:
                yield Delivery(subscription, events, attempt, letter.id, gateway)


def _next_of(
    gateway: Gateway, subscription: Subscription, merged_seq: int, kinds: Sequence[str], lease_s: int
) -> Delivery | None:
    wanted = (subscription.delivery_metadata or {}).get("kinds") or kinds
    events = gateway.board.events(after=subscription.last_event_id, task_id=subscription.task_id, kinds=wanted)
    if not events:
        return None
    known = gateway.attempt((*subscription.chat, 0))
    if known.acknowledged_seq > merged_seq:
        events = [event for event in events if event.id > known.acknowledged]
    told = _together(events, known)
    if not told:
        return None
    attempt = _leased(gateway, (*subscription.chat, 0), known.acknowledged, told[-1].id, lease_s)
    return Delivery(subscription, tuple(told), attempt, 0, gateway) if attempt else None


def _together(events: list[Event], known: Attempt) -> list[Event]:
    """What is told at once: what was tried before, so that its key stays the same, else one event or a digest."""
    tried = [event for event in events if event.id <= known.upto]
    if tried and known.attempts:
        return tried
    return events if len(events) > DIGEST_ABOVE else events[:1]


def _leased(gateway: Gateway, key: tuple, acknowledged: int, upto: int, lease_s: int) -> int:
    """Lease what is to be sent under ``key``; returns the number of this attempt, 0 if it is somebody else's turn."""
    now_ms = _now_ms()
    return gateway.lease_attempt(key, acknowledged, upto, now_ms, now_ms + lease_s * 1_000)


def _adopted(gateway: Gateway, subscription: Subscription) -> bool:
    """Become the one profile that delivers to a chat that has none; the first to ask is it."""
    change = Adopt(platform=subscription.platform, chat_id=subscription.chat_id, thread_id=subscription.thread_id)
    try:
        gateway.ask(subscription.task_id, change)
    except (Refused, UnknownTask):
        return False
    return True


def _subscription_of(gateway: Gateway, task_id: str, *chat: str) -> Subscription | None:
    return next((found for found in gateway.board.subscriptions(task_id) if found.chat == (task_id, *chat)), None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
