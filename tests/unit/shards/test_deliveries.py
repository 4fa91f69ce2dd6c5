"""Deliveries: which chat is told what, by whom, in which order, and what happens when that fails.

Real shards and boards, and a clock of the test's own: only ``clock.now_ms`` decides which lease ran out and which
pause is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kanban_shards import Gateway, deliveries
from kanban_shards.attempts import LONGEST_WAIT_MS
from kanban_shards.coordinator.merge.collector import Collector
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.deliveries import DIGEST_ABOVE, PAUSES_S
from kanban_shards.records import DELIVERED_KINDS
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.locks import FileLock

CHAT = {"platform": "telegram", "chat_id": "42"}
LEASE_S = 60


class Clock:
    """The only time that deliveries know here."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000_000

    def later(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(deliveries, "_now_ms", lambda: made.now_ms)
    return made


@pytest.fixture
def open_as(home: str) -> Iterator[Callable[[str], Gateway]]:
    """``open_as(profile)``: a gateway of its own, closed at the end."""
    opened: list[Gateway] = []

    def begin(profile: str) -> Gateway:
        opened.append(Gateway(profile, home=home))
        return opened[-1]

    yield begin
    for gateway in opened:
        gateway.close()


@pytest.fixture
def amy(clock: Clock, open_as) -> Gateway:
    return open_as("amy")


def subscribed(gateway: Gateway, **fields) -> str:
    """A task that a chat hears of from its start."""
    task_id = gateway.create("something to tell")
    gateway.subscribe(task_id, **{**CHAT, "from_start": True, **fields})
    gateway.sync()
    return task_id


def happen(gateway: Gateway, task_id: str, times: int) -> list[int]:
    """Events of which chats are told, one each time; returns their ids."""
    before = gateway.board.last_event_id()
    for _ in range(times):
        gateway.schedule(task_id)
        gateway.unblock(task_id)
    told = gateway.board.events(after=before, task_id=task_id, kinds=DELIVERED_KINDS)
    assert len(told) == times
    return [event.id for event in told]


def sent(gateway: Gateway, **how) -> list[list[int]]:
    """The event ids of each delivery that is due, each acknowledged."""
    found = []
    for delivery in gateway.deliveries(**how):
        found.append([event.id for event in delivery.events])
        delivery.acknowledge()
    return found


def cursor(gateway: Gateway, task_id: str) -> int:
    gateway.sync()
    (chat,) = gateway.board.subscriptions(task_id)
    return chat.last_event_id


@contextmanager
def coordinating(paths) -> Iterator[Coordinator]:
    lock = FileLock(paths.coordinator_lock)
    lock.acquire(10)
    try:
        with Coordinator(paths, lock) as coordinator:
            yield coordinator
    finally:
        lock.close()


def test_in_order_and_once(amy: Gateway) -> None:
    """Each event of the kinds that chats are told of, in the ledger's order, once."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 3)
    assert sent(amy) == [[event] for event in ids]
    assert sent(amy) == []
    assert cursor(amy, task_id) == ids[-1]
    assert sent(amy) == []
    more = happen(amy, task_id, 1)
    assert sent(amy) == [[event] for event in more]


def test_the_next_event_waits_for_the_one_before(amy: Gateway, clock: Clock) -> None:
    """A chat is told in order: nothing later while something earlier is out, or waits for its next try."""
    task_id = subscribed(amy)
    other = subscribed(amy, chat_id="43")
    first, *_ = happen(amy, task_id, 2)
    (elsewhere,) = happen(amy, other, 1)
    out = {delivery.subscription.task_id: delivery for delivery in amy.deliveries()}
    assert {chat: [event.id for event in out[chat].events] for chat in out} == {task_id: [first], other: [elsewhere]}
    assert list(amy.deliveries()) == []
    out[task_id].fail("no")
    assert list(amy.deliveries()) == []
    out[other].acknowledge()
    clock.later(PAUSES_S[0])
    assert [delivery.events[0].id for delivery in amy.deliveries()] == [first]


def test_a_lease_excludes_other_processes(amy: Gateway, open_as, clock: Clock) -> None:
    """Two processes of one profile: what one has out, the other does not send, until the lease ran out."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 2)
    second = open_as("amy")
    (out,) = amy.deliveries(lease_s=LEASE_S)
    assert list(second.deliveries()) == []
    out.acknowledge()
    assert sent(second) == [[ids[1]]]


def test_what_another_process_told_meanwhile_is_not_told_again(amy: Gateway, open_as) -> None:
    """The other process told it between this one's look at the events and its lease."""
    task_id = subscribed(amy)
    (event,) = happen(amy, task_id, 1)
    second = open_as("amy")
    look = second._writer.attempt

    def look_and_be_overtaken(key: tuple):
        known = look(key)
        assert sent(amy) == [[event]]
        return known

    second._writer.attempt = look_and_be_overtaken
    assert list(second.deliveries()) == []
    second._writer.attempt = look
    assert list(second.deliveries()) == []


def test_a_crash_between_sending_and_acknowledging(amy: Gateway, open_as, clock: Clock) -> None:
    """It is sent again when the lease ran out, with the same key, and what follows comes after it."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 2)
    (lost,) = amy.deliveries(lease_s=LEASE_S)
    assert lost.attempt == 1
    second = open_as("amy")
    clock.later(LEASE_S - 1)
    assert list(second.deliveries()) == []
    clock.later(1)
    (again,) = second.deliveries(lease_s=LEASE_S)
    assert (again.key, again.attempt) == (lost.key, 2)
    again.acknowledge()
    assert sent(second) == [[ids[1]]]


def test_a_lease_of_a_clock_that_was_ahead(amy: Gateway, open_as, clock: Clock) -> None:
    """The process died, and the clock was put right: what it held is not kept back until that day comes."""
    (event,) = happen(amy, subscribed(amy), 1)
    clock.later(30 * 86_400)
    assert next(amy.deliveries(lease_s=LEASE_S))
    clock.later(-30 * 86_400)
    assert sent(open_as("amy")) == [[event]]


@pytest.mark.parametrize("is_letter", [False, True])
def test_a_pause_of_a_clock_that_was_ahead_hides_no_lease(amy: Gateway, open_as, clock: Clock, is_letter: bool) -> None:
    """It failed once, and the clock went back by more than the longest pause: one process sends it, not all at once."""
    if is_letter:
        letter = dead_letter(amy, clock)
        amy.resend(letter)
        (event,) = letter.event_ids
    else:
        (event,) = happen(amy, subscribed(amy), 1)
    clock.later(2 * 3_600)
    (failed,) = amy.deliveries(lease_s=LEASE_S)
    assert failed.fail("no route")
    clock.later(-2 * 3_600)
    (again,) = amy.deliveries(lease_s=LEASE_S)
    assert [each.id for each in again.events] == [event]
    second = open_as("amy")
    assert list(second.deliveries(lease_s=LEASE_S)) == []
    assert list(amy.deliveries(lease_s=LEASE_S)) == []
    clock.later(LEASE_S)
    assert len(list(second.deliveries(lease_s=LEASE_S))) == 1, "its lease ran out, and the former pause is over"


@pytest.mark.parametrize("lease_s", [-1, 3_601])
def test_a_lease_that_is_none(amy: Gateway, lease_s: int) -> None:
    with pytest.raises(ValueError, match="leased for 0 to 3600 seconds"):
        list(amy.deliveries(lease_s=lease_s))


def test_no_pause_is_longer_than_a_pause_may_be() -> None:
    assert PAUSES_S[-1] * 1_000 <= LONGEST_WAIT_MS


def test_the_key_stays_while_more_happens(amy: Gateway, clock: Clock) -> None:
    """A retry tells exactly what was tried, one event or a digest, however much happened meanwhile."""
    task_id = subscribed(amy)
    (first,) = happen(amy, task_id, 1)
    (lost,) = amy.deliveries()
    rest = happen(amy, task_id, DIGEST_ABOVE + 1)
    clock.later(LEASE_S)
    (again,) = amy.deliveries()
    assert (again.key, [event.id for event in again.events]) == (lost.key, [first])
    again.acknowledge()
    (digest,) = amy.deliveries()
    assert len(digest.events) > 1
    last = happen(amy, task_id, 1)
    clock.later(LEASE_S)
    (again,) = amy.deliveries()
    assert (again.key, [event.id for event in again.events]) == (digest.key, rest)
    again.acknowledge()
    assert sent(amy) == [[event] for event in last]


def test_whoever_was_told_is_not_told_again(amy: Gateway, clock: Clock) -> None:
    """A failure that is said behind an acknowledgement changes nothing, and holds up nothing."""
    task_id = subscribed(amy)
    happen(amy, task_id, 1)
    (delivery,) = amy.deliveries()
    delivery.acknowledge()
    assert delivery.fail("it timed out, or so it seemed") is False
    ids = happen(amy, task_id, 1)
    assert sent(amy) == [[event] for event in ids]


def test_a_late_acknowledgement_moves_nothing_back(amy: Gateway, open_as, clock: Clock) -> None:
    """A slow process acknowledges after another one took over and went on."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 2)
    (slow,) = amy.deliveries(lease_s=LEASE_S)
    clock.later(LEASE_S)
    quick = open_as("amy")
    assert sent(quick) == [[event] for event in ids]
    slow.acknowledge()
    assert sent(quick) == []
    assert cursor(quick, task_id) == ids[-1]
    assert sent(quick) == []


def test_growing_pauses_then_a_dead_letter(amy: Gateway, clock: Clock) -> None:
    """Each try comes after a longer pause; after the last one the chat is told what comes next."""
    task_id = subscribed(amy)
    first, second = happen(amy, task_id, 2)
    keys = set()
    for number, pause_s in enumerate(PAUSES_S, 1):
        (delivery,) = amy.deliveries()
        assert (delivery.attempt, delivery.events[0].id) == (number, first)
        keys.add(delivery.key)
        assert delivery.fail(f"error {number}")
        clock.later(pause_s - 1)
        assert list(amy.deliveries()) == []
        clock.later(1)
    assert list(PAUSES_S) == sorted(set(PAUSES_S))
    (last,) = amy.deliveries()
    assert keys == {last.key}
    assert not last.fail("for good")
    amy.sync()
    (letter,) = amy.board.dead_letters(profile="amy")
    assert (letter.event_ids, letter.error, letter.attempts) == ([first], "for good", len(PAUSES_S) + 1)
    (following,) = amy.deliveries()
    assert (following.events[0].id, following.attempt) == (second, 1)
    assert cursor(amy, task_id) == first


def dead_letter(gateway: Gateway, clock: Clock):
    """A letter of one event that could not be delivered."""
    happen(gateway, subscribed(gateway), 1)
    while True:
        (delivery,) = gateway.deliveries()
        if not delivery.fail("no"):
            break
        clock.later(PAUSES_S[-1])
    gateway.sync()
    return gateway.board.dead_letters()[-1]


def test_a_dead_letter_rests_until_it_is_asked_for(amy: Gateway, clock: Clock) -> None:
    letter = dead_letter(amy, clock)
    clock.later(10 * PAUSES_S[-1])
    assert list(amy.deliveries()) == []
    assert amy.board.dead_letters() == [letter]


def test_a_dead_letter_that_is_delivered_after_all(amy: Gateway, open_as, clock: Clock) -> None:
    """Anybody may ask for it; the profile of the chat sends it, once."""
    letter = dead_letter(amy, clock)
    other = open_as("bob")
    other.resend(letter)
    assert list(other.deliveries()) == []
    assert sent(amy) == [letter.event_ids]
    assert sent(amy) == []
    assert amy.board.dead_letters() == []


def test_a_dead_letter_waits_while_another_profile_has_its_chat(amy: Gateway, open_as, clock: Clock) -> None:
    """Asked for before the chat changed hands, it is sent by neither until it is back in hers."""
    letter = dead_letter(amy, clock)
    amy.resend(letter)
    bob = open_as("bob")
    amy.unsubscribe(letter.task_id, **CHAT)
    amy.sync()
    bob.subscribe(letter.task_id, **CHAT)
    bob.sync()
    assert (sent(amy), sent(bob)) == ([], [])
    bob.unsubscribe(letter.task_id, **CHAT)
    bob.sync()
    amy.subscribe(letter.task_id, **CHAT)
    amy.sync()
    assert sent(amy) == [letter.event_ids]


def test_a_dead_letter_that_fails_again(amy: Gateway, clock: Clock) -> None:
    """It is tried after the same pauses, rests again with all its attempts, and can be asked for once more."""
    letter = dead_letter(amy, clock)
    amy.resend(letter)
    for pause_s in PAUSES_S:
        (again,) = amy.deliveries()
        assert again.fail("still not")
        assert list(amy.deliveries()) == []
        clock.later(pause_s)
    (again,) = amy.deliveries()
    assert not again.fail("never")
    assert list(amy.deliveries()) == []
    (rested,) = amy.board.dead_letters()
    assert (rested.id, rested.error, rested.attempts) == (letter.id, "never", 2 * letter.attempts)
    amy.resend(rested)
    assert sent(amy) == [letter.event_ids]


@pytest.mark.parametrize(("count", "is_digest"), [(DIGEST_ABOVE, False), (DIGEST_ABOVE + 1, True)])
def test_a_digest_after_a_long_outage(amy: Gateway, count: int, is_digest: bool) -> None:
    """Up to ten events come one by one; more than that in one delivery, which is acknowledged as one."""
    task_id = subscribed(amy, kinds=("heartbeat",))
    run = amy.claim(task_id)
    for number in range(count):
        amy.heartbeat(run, note=f"{number}")
    amy.sync()
    out = sent(amy)
    assert len(out) == (1 if is_digest else count)
    assert [event for delivery in out for event in delivery] == [
        event.id for event in amy.board.events(task_id=task_id, kinds=("heartbeat",))
    ]
    assert sent(amy) == []


def test_kinds(amy: Gateway) -> None:
    """A subscription says of which events it wants to hear; where it does not, the gateway does."""
    choosy, usual = subscribed(amy, kinds=("claimed", "completed")), subscribed(amy, chat_id="43")
    for task_id in (choosy, usual):
        amy.complete(amy.claim(task_id))
    told = {}
    for delivery in amy.deliveries(kinds=("created",)):
        told.setdefault(delivery.subscription.task_id, []).append(delivery.events[0].kind)
        delivery.acknowledge()
    assert told == {choosy: ["claimed", "completed"], usual: ["created"]}


def test_from_the_start_and_from_now_on(amy: Gateway) -> None:
    task_id = amy.create("x")
    amy.schedule(task_id)
    amy.subscribe(task_id, **CHAT)
    amy.subscribe(task_id, platform="telegram", chat_id="43", from_start=True)
    amy.unblock(task_id)
    told = {}
    for delivery in amy.deliveries(kinds=("scheduled", "unblocked")):
        told.setdefault(delivery.subscription.chat_id, []).append(delivery.events[0].kind)
        delivery.acknowledge()
    assert told == {"42": ["unblocked"], "43": ["scheduled", "unblocked"]}


def test_subscribing_again_from_the_start_tells_it_again(amy: Gateway) -> None:
    """What was told to a subscription that ended is nothing to the new one."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 2)
    assert sent(amy) == [[event] for event in ids]
    amy.unsubscribe(task_id, **CHAT)
    amy.subscribe(task_id, **CHAT, from_start=True)
    amy.sync()
    assert sent(amy) == [[event] for event in ids]
    assert sent(amy) == []


def test_no_two_profiles_deliver_the_same(amy: Gateway, open_as) -> None:
    """Each chat is told by the gateway it belongs to, whoever subscribed it."""
    bob = open_as("bob")
    mine, theirs = subscribed(amy), subscribed(amy, notifier_profile="bob")
    (my_event,), (their_event,) = happen(amy, mine, 1), happen(amy, theirs, 1)
    assert sent(amy) == [[my_event]]
    assert sent(bob) == [[their_event]]
    assert sent(amy) == sent(bob) == []


def test_an_ownerless_chat_gets_one_owner(amy: Gateway, open_as, paths) -> None:
    """Whoever asks first; the others find nothing to send, however the two interleave."""
    task_id = subscribed(amy)
    with coordinating(paths) as coordinator:
        state = coordinator._board
        position = state.position()
        state.open()
        state._execute("UPDATE kanban_notify_subs SET notifier_profile = NULL WHERE task_id = ?", (task_id,))
        state.commit(*position)
    (event,) = happen(amy, task_id, 1)
    bob, carl = open_as("bob"), open_as("carl")
    overtaken = carl.deliveries()
    carl_looks = carl._writer.ask

    def ask_second(*given):
        assert sent(bob) == [[event]]
        return carl_looks(*given)

    carl._writer.ask = ask_second
    assert list(overtaken) == []
    assert sent(amy) == sent(carl) == sent(bob) == []
    (chat,) = amy.board.subscriptions(task_id)
    assert chat.notifier_profile == "bob"


def test_a_task_deleted_while_its_chat_is_told(amy: Gateway) -> None:
    """There is nothing left to acknowledge, and that is no error."""
    task_id, other = subscribed(amy), subscribed(amy, chat_id="43")
    happen(amy, task_id, 2)
    (event,) = happen(amy, other, 1)
    told = []
    for delivery in amy.deliveries():
        told.append(delivery.subscription.task_id)
        if told[-1] == task_id:
            amy.delete(task_id)
        delivery.acknowledge()
    assert sorted(told) == sorted([task_id, other])
    assert cursor(amy, other) == event


def test_ids_and_cursors_survive_a_rebuild(amy: Gateway, paths) -> None:
    """The board made again from its ledger has the same events, cursors and letters, so nothing is told twice."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 3)
    out = amy.deliveries()
    first = next(out)
    first.acknowledge()
    out.close()
    before = cursor(amy, task_id)
    lock = FileLock(paths.coordinator_lock)
    lock.acquire(10)
    try:
        rebuild(paths, lock)
    finally:
        lock.close()
    assert verify(paths).clean
    assert cursor(amy, task_id) == before == ids[0]
    assert sent(amy) == [[event] for event in ids[1:]]


def test_a_lost_shard_tells_again_rather_than_never(amy: Gateway, open_as, paths) -> None:
    """What a shard knows of deliveries is not history: without it, the board's cursor counts."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 2)
    out = amy.deliveries()
    next(out).acknowledge()
    out.close()
    amy.sync()
    lock = FileLock(paths.shard_lock("amy"))
    lock.acquire(10)
    try:
        connection = sqlite.open_writer(paths.shard("amy"), sqlite.SHARD, lock)
        with connections.transaction(connection):
            connection.execute("DELETE FROM deliveries")
        connection.close()
    finally:
        lock.close()
    assert sent(open_as("amy")) == [[ids[1]]]


def test_deliveries_are_not_changes(amy: Gateway, paths) -> None:
    """Leases and failed attempts are not collected; only that a chat was told is."""
    happen(amy, subscribed(amy), 1)
    amy.sync()
    before = amy.board.watermarks()["amy"]
    (delivery,) = amy.deliveries()
    delivery.fail("no")
    collector = Collector(paths)
    try:
        assert collector.collect(lambda profile: before).changes == {}
    finally:
        collector.close()


def test_one_chat_at_a_time(amy: Gateway) -> None:
    """All that it was not told, whatever the number; what is acknowledged in part is due from there on."""
    task_id = subscribed(amy)
    ids = happen(amy, task_id, 3)
    first = amy.delivery_to(task_id, **CHAT)
    assert [event.id for event in first.events] == ids
    assert amy.delivery_to(task_id, **CHAT) is None  # leased
    first.acknowledge(upto=ids[0])
    with pytest.raises(ValueError, match="none of this delivery"):
        first.acknowledge(upto=ids[-1] + 1)
    rest = amy.delivery_to(task_id, **CHAT)
    assert [event.id for event in rest.events] == ids[1:]
    rest.acknowledge()
    amy.sync()
    assert amy.delivery_to(task_id, **CHAT) is None
    assert amy.board.subscriptions(task_id)[0].last_event_id == ids[-1]
    assert verify(amy.paths).clean


def test_given_back_is_no_try(amy: Gateway, clock: Clock) -> None:
    """It is due at once, under the same number; and one that another process has by then is left to it."""
    task_id = subscribed(amy)
    happen(amy, task_id, 2)
    for _ in range(len(PAUSES_S) + 2):
        given = amy.delivery_to(task_id, **CHAT)
        assert given.attempt == 1
        given.give_back()
    slow = amy.delivery_to(task_id, **CHAT)
    clock.later(LEASE_S + 1)
    assert amy.delivery_to(task_id, **CHAT).attempt == 2
    slow.give_back()
    assert amy.delivery_to(task_id, **CHAT) is None


def test_a_chat_is_one_profiles(amy: Gateway, open_as) -> None:
    """That of whoever subscribed it, or, where it was left open, of the first that asks."""
    ben = open_as("ben")
    mine, anybodys = subscribed(amy), subscribed(amy, unadopted=True)
    for task_id in (mine, anybodys):
        happen(amy, task_id, 1)
    assert ben.delivery_to(mine, **CHAT) is None
    assert ben.delivery_to(anybodys, **{**CHAT, "chat_id": "43"}) is None
    taken = ben.delivery_to(anybodys, **CHAT)
    assert amy.delivery_to(anybodys, **CHAT) is None
    taken.acknowledge()
    ben.sync()
    assert ben.board.subscriptions(anybodys)[0].notifier_profile == "ben"
    with pytest.raises(ValueError, match="leased for"):
        amy.delivery_to(mine, **CHAT, lease_s=99_999)


def test_given_up_and_asked_for_once_more(amy: Gateway, open_as) -> None:
    """By whoever goes through the chats one by one, too: what is new comes first."""
    task_id = subscribed(amy)
    missed = happen(amy, task_id, 2)
    given = amy.delivery_to(task_id, **CHAT)
    assert given.give_back(tried=True)
    assert not given.give_back(), "it is given back already"
    again = amy.delivery_to(task_id, **CHAT)
    assert again.attempt == 2
    again.give_up("no")
    amy.sync()
    (letter,) = amy.board.dead_letters()
    assert (letter.event_ids, letter.error, letter.attempts) == (missed, "no", 2)
    assert amy.delivery_to(task_id, **CHAT) is None
    open_as("bob").resend(letter)
    new = happen(amy, task_id, 1)
    for ids in (new, missed):
        told = amy.delivery_to(task_id, **CHAT)
        assert [event.id for event in told.events] == ids
        told.acknowledge()
        amy.sync()
    assert amy.delivery_to(task_id, **CHAT) is None
    assert amy.board.dead_letters() == []
