"""Deliveries: telling the chats that subscribed what became of their tasks.

A subscription belongs to one profile, and only that profile's gateway delivers, so no two send the same message. Each
chat is told in order: lease in the own shard, send, acknowledge. A crash between sending and acknowledging sends
again, with the same key; a failure is tried again after growing pauses, and ends as a dead letter that can be listed
and sent again. Nothing is dropped silently.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from kanban_shards.attempts import LONGEST_WAIT_MS, Attempt, DeliveryKey
from kanban_shards.changes.kinds import Adopt, Delivered
from kanban_shards.errors import Refused, UnknownTask
from kanban_shards.records import DeadLetter, Event, Subscription

if TYPE_CHECKING:
    from kanban_shards.writer import Writer

# After so many seconds a failed delivery is tried again; after the last one it is a dead letter.
PAUSES_S = (5, 30, 120, 600, 3_600)
LONGEST_ERROR = 4_000
# A chat that missed more than this many events is told of all of them in one delivery.
DIGEST_ABOVE = 10


class Delivery(msgspec.Struct, frozen=True):
    """Something to tell a chat: one event, or, after a long outage, a digest of several.

    ``subscription``: which chat, and of which task. ``events``: what is told, oldest first. ``attempt``: which try it
    is, counted from 1. ``letter_id``: the dead letter that is sent once more; 0 for none. ``key`` is the same whenever
    the same thing is sent again, so that a chat can recognize it. End each delivery with ``acknowledge``, ``fail``,
    ``give_back`` or ``give_up``; the lease of one that is not ended runs out, and it is due again.
    """

    subscription: Subscription
    events: tuple[Event, ...]
    attempt: int
    letter_id: int
    _writer: Writer

    @property
    def key(self) -> str:
        """What is sent, to whom, as one word."""
        return ":".join((*self.subscription.chat, str(self.events[0].id), str(self.events[-1].id)))

    def acknowledge(self, upto: int | None = None) -> None:
        """The chat was told; of the events up to the id ``upto`` if that is said, and the others are due at once.
        Durable on return. Raises ValueError for an id that is none of its events, StorageError, and, for a dead letter,
        Undecided."""
        if upto is not None and upto not in (event.id for event in self.events):
            raise ValueError(f"event {upto} is none of this delivery")
        told = tuple(event for event in self.events if upto is None or event.id <= upto)
        replace(self, events=told)._end(None)

    def give_back(self, *, tried: bool = False) -> bool:
        """The chat was not told, and the delivery is due at once; returns whether it was still this process's. Without
        ``tried`` it was for no fault of the chat's, and this was no try. Raises StorageError."""
        before = self._writer.attempt(self._key())
        if (before.upto, before.attempts) != (self.events[-1].id, self.attempt) or not before.leased_until_ms:
            return False
        attempts = self.attempt if tried else self.attempt - 1
        given_back = replace(before, leased_until_ms=0, attempts=attempts, next_try_ms=0)
        self._writer.save_attempt(self._key(), given_back)
        return True

    def give_up(self, error: str | Exception) -> None:
        """The chat cannot be told: the delivery is a dead letter, however often it was tried. ``error``: as in
        ``fail``. Raises as ``acknowledge`` does."""
        self._end(str(error)[:LONGEST_ERROR])

    def fail(self, error: str | Exception) -> bool:
        """The chat could not be told; returns whether it will be tried again. If not, it is a dead letter now, or was
        acknowledged before. ``error``: why; LONGEST_ERROR characters of it are kept. Raises as ``acknowledge`` does."""
        if self.attempt > len(PAUSES_S):
            self.give_up(error)
            return False
        later = _now_ms() + PAUSES_S[self.attempt - 1] * 1_000
        before = self._writer.attempt(self._key())
        if before.acknowledged >= self.events[-1].id:
            return False  # the chat was told after all, and said so
        tried = replace(before, leased_until_ms=0, attempts=self.attempt, next_try_ms=later)
        self._writer.save_attempt(self._key(), tried)
        return True

    def _end(self, error: str | None) -> None:
        seq = self._say(error)
        if self.letter_id and error is not None:
            ended = Attempt()  # whoever asks for it once more finds it untried
        else:
            ended = Attempt(acknowledged=self.events[-1].id, acknowledged_seq=seq)
        self._writer.save_attempt(self._key(), ended)

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
                return self._writer.ask(task_id, change).seq
            return self._writer.write(task_id, change)
        except (Refused, UnknownTask):
            return 0

    def _key(self) -> DeliveryKey:
        return DeliveryKey(*self.subscription.chat, self.letter_id)


def pending_deliveries(writer: Writer, kinds: Sequence[str], lease_s: int) -> Iterator[Delivery]:
    """Every delivery of ``writer``'s profile that is due, each leased to the caller as it is given out.

    ``lease_s``: at most an hour. Raises ValueError.
    """
    _check_lease(lease_s)
    merged_seq, _ = writer.board.watermarks().get(writer.profile, (0, ""))
    for subscription in writer.board.undelivered(writer.profile):
        if not subscription.notifier_profile and not adopted(writer, subscription.chat):
            continue
        while delivery := _next_of(writer, subscription, merged_seq, kinds, lease_s):
            yield delivery
    for letter in writer.board.dead_letters(profile=writer.profile):
        if delivery := _once_more(writer, letter, lease_s):
            yield delivery


def delivery_to(writer: Writer, chat: tuple[str, str, str, str], kinds: Sequence[str], lease_s: int) -> Delivery | None:
    """All that one subscription was not told, leased to the caller, or else a dead letter that is to be sent to it once
    more; None if that is nothing, not this profile's to tell, or another process's at the moment. ``chat``: task,
    platform, chat, thread. ``lease_s``: at most an hour. Raises ValueError."""
    _check_lease(lease_s)
    subscription = _subscription_of(writer, *chat)
    if subscription is None or subscription.notifier_profile not in (writer.profile, "", None):
        return None
    if not subscription.notifier_profile and not adopted(writer, subscription.chat):
        return None
    merged_seq, _ = writer.board.watermarks().get(writer.profile, (0, ""))
    if delivery := _next_of(writer, subscription, merged_seq, kinds, lease_s, at_once=True):
        return delivery
    letters = writer.board.dead_letters(task_id=subscription.task_id, profile=writer.profile)
    sent_again = (_once_more(writer, letter, lease_s) for letter in letters if letter.chat == subscription.chat)
    return next(filter(None, sent_again), None)


def _check_lease(lease_s: int) -> None:
    if not 0 <= lease_s * 1_000 <= LONGEST_WAIT_MS:
        raise ValueError(f"a delivery is leased for 0 to {LONGEST_WAIT_MS // 1_000} seconds, not for {lease_s}")


def _next_of(
    writer: Writer,
    subscription: Subscription,
    merged_seq: int,
    kinds: Sequence[str],
    lease_s: int,
    *,
    at_once: bool = False,
) -> Delivery | None:
    wanted = (subscription.delivery_metadata or {}).get("kinds") or kinds
    events = writer.board.events(after=subscription.last_event_id, task_id=subscription.task_id, kinds=wanted)
    if not events:
        return None
    key = DeliveryKey(*subscription.chat, letter_id=0)
    known = writer.attempt(key)
    if known.acknowledged_seq > merged_seq:
        events = [event for event in events if event.id > known.acknowledged]
    told = events if at_once else _together(events, known)
    if not told:
        return None
    attempt = _leased(writer, key, known.acknowledged, told[-1].id, lease_s)
    return Delivery(subscription, tuple(told), attempt, 0, writer) if attempt else None


def _once_more(writer: Writer, letter: DeadLetter, lease_s: int) -> Delivery | None:
    """The dead letter, leased, if somebody asked for it and its chat is this profile's still."""
    if not letter.resend:
        return None
    events = tuple(filter(None, map(writer.board.event, letter.event_ids)))
    subscribed = _subscription_of(writer, *letter.chat)
    if not events or subscribed is None or subscribed.notifier_profile != writer.profile:
        return None
    attempt = _leased(writer, DeliveryKey(*subscribed.chat, letter.id), 0, events[-1].id, lease_s)
    return Delivery(subscribed, events, attempt, letter.id, writer) if attempt else None


def _together(events: list[Event], known: Attempt) -> list[Event]:
    """What is told at once: what was tried before, so that its key stays the same, else one event or a digest."""
    tried = [event for event in events if event.id <= known.upto]
    if tried and known.attempts:
        return tried
    return events if len(events) > DIGEST_ABOVE else events[:1]


def _leased(writer: Writer, key: DeliveryKey, acknowledged: int, upto: int, lease_s: int) -> int:
    """Lease what is to be sent under ``key``; returns the number of this attempt, 0 if it is somebody else's turn."""
    now_ms = _now_ms()
    return writer.lease_attempt(key, acknowledged, upto, now_ms, now_ms + lease_s * 1_000)


def adopted(writer: Writer, chat: tuple[str, str, str, str]) -> bool:
    """Become the one profile that delivers to a chat that has none; the first to ask is it. ``chat``: task, platform,
    chat, thread. Raises Undecided, StorageError."""
    task_id, platform, chat_id, thread_id = chat
    try:
        writer.ask(task_id, Adopt(platform=platform, chat_id=chat_id, thread_id=thread_id))
    except (Refused, UnknownTask):
        return False
    return True


def _subscription_of(writer: Writer, task_id: str, *chat: str) -> Subscription | None:
    return next((found for found in writer.board.subscriptions(task_id) if found.chat == (task_id, *chat)), None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
