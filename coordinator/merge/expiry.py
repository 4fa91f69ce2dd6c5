"""Expiry: what the coordinator decides by itself because time passed, each in an entry of its own.

A run whose lease ran out without a heartbeat ends, and its task is ready again; never while a shard of the run's two
profiles may still hold a heartbeat that was not read. One that is supervised ends when for its grace neither its worker
nor a dispatcher that sees it gave a sign, and never in a pass that hears of such a dispatcher. A run that was claimed,
or last gave a heartbeat, at a time that has not come yet ends a lease after that was first seen. A scheduled task whose
time has come goes on, and one that is held.

On a board that several hosts share, a shard is read by one of them. It says for the others that a run gave a sign; and
a run of which this host does not read every shard ends here only when no host said so for two leases, while this one
heard them all. A heartbeat is as old as the clock of its own host says, whatever time the ledger has. Of a run whose
times have not come yet, a host says so as often, by the steady clock, and others count from when it last did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from kanban_shards.changes.codec import KIND_OF, Change, chain, decode_body, encode_body, genesis
from kanban_shards.changes.fields import Body, run_id_of
from kanban_shards.changes.homes import Alive
from kanban_shards.changes.kinds import Claim, Due, Expire, Supervise
from kanban_shards.coordinator.merge.clock import DRIFT_MS, Clock
from kanban_shards.coordinator.merge.collector import Collected, Collector
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.coordinator.state.runs import OpenRun
from kanban_shards.paths import COORDINATOR

if TYPE_CHECKING:
    from kanban_shards.coordinator.merge.residents import Residents

CLAIM = KIND_OF[Claim]
SUPERVISE = KIND_OF[Supervise]
# Of a thousand that are over or due in one second, so many are decided in one pass.
AT_ONCE = 500
# Of a run that this host does not read every shard of: so many leases without a word of any host end it.
UNHEARD_LEASES = 2


def own_changes(board: BoardState, bodies: Iterable[tuple[str, Body]], now_ms: int) -> Iterator[Change]:
    """Changes of the coordinator's own, ``(task_id, body)`` each, that continue those which the board shows."""
    seq, digest = board.watermark(COORDINATOR)
    digest = digest or genesis(COORDINATOR, "")
    for task_id, body in bodies:
        seq += 1
        kind, text = KIND_OF[type(body)], encode_body(body)
        digest = chain(digest, COORDINATOR, seq, task_id, kind, text, "{}", now_ms)
        yield Change(COORDINATOR, seq, task_id, kind, text, "{}", now_ms, digest)


def due(board: BoardState, now_ms: int) -> list[tuple[str, Body]]:
    """The scheduled tasks whose time has come, AT_ONCE of them at most. They come behind what was collected, so that
    whoever planned otherwise meanwhile is not refused."""
    return [(task_id, Due(due_s=due_s)) for task_id, due_s in board.due(now_ms // 1000, AT_ONCE)]


class _Sign(NamedTuple):
    """A sign of life: when, as whoever stamped it says, and how old it is by that same clock. Both in milliseconds."""

    stamped_ms: int
    age_ms: int


class Liveness(msgspec.Struct, frozen=True):
    """What a pass knows of open runs. ``collected``: what it read; ``clock``: this host's, which says which heartbeats,
    or which absence of any, say nothing. ``residents``: who lives on this host; None where everybody does.
    ``looks_ahead``: whether this pass looks for what costs a look at every open run."""

    board: BoardState
    collector: Collector
    collected: Collected
    clock: Clock
    residents: Residents | None
    looks_ahead: bool

    def says(self, now_ms: int) -> list[tuple[str, Body]]:
        """What the coordinator says of runs at ``now_ms`` (by the clock that stamps entries, whatever the newest is
        stamped with), before what it collected."""
        return [*self.renewed(now_ms), *self.expired(now_ms)]

    def expired(self, now_ms: int) -> list[tuple[str, Body]]:
        """The runs that are over at ``now_ms``, AT_ONCE of them at most. They come before all that was collected, so
        that a claim of the same pass finds the task free."""
        return list(islice(self._expired(now_ms), AT_ONCE))

    def renewed(self, now_ms: int) -> list[tuple[str, Body]]:
        """Of a shared board: the runs that gave a sign here while the board shows none for half a lease."""
        if self.residents is None or not self.looks_ahead:
            return []
        return list(self._renewed(now_ms))

    def _expired(self, now_ms: int) -> Iterator[tuple[str, Body]]:
        board, residents = self.board, self.residents
        unread = {skipped.profile for skipped in self.collected.skipped} | self.collected.unfinished
        named = self._named()
        seen_alive = self._seen_alive()
        for run in [*board.running_out(now_ms // 1000), *self._stamped_ahead(now_ms)]:
            task_id, run_id, run_profile, run_claimer, silent_s, stamped_s = run
            profiles = {run_profile, run_claimer}
            here = profiles if residents is None else {each for each in profiles if self._reads(each)}
            if here & unread or any((profile, task_id) in named for profile in profiles):
                continue
            if (task_id, run_id) in seen_alive and _is_supervised(board, task_id):
                continue
            if any(board.watermark(profile)[0] and not self.collector.is_there(profile) for profile in here):
                continue  # the shard is lost, and with it the heartbeats
            heartbeats = self._heartbeats(here, run_id)
            if len(heartbeats) < len(here):
                continue  # a shard was not read
            shown = _Sign(stamped_s * 1000, now_ms - stamped_s * 1000)
            silent_ms = silent_s * 1000
            if residents is not None and here < profiles:
                if residents.in_touch_ms() <= silent_ms:
                    continue  # what was not heard may have been said
                silent_ms *= UNHEARD_LEASES
            if self._is_over(run_id, [*heartbeats, shown], silent_ms):
                last_sign_ms = max((now_ms - each.age_ms for each in heartbeats if each.stamped_ms), default=0)
                unheard_s = silent_ms // 1000 if here < profiles else None
                yield task_id, Expire(run_id=run_id, last_sign_ms=max(0, last_sign_ms), unheard_s=unheard_s)

    def _renewed(self, now_ms: int) -> Iterator[tuple[str, Body]]:
        for task_id, run_id, run_profile, run_claimer, _, stamped_s in self.board.half_over(now_ms // 1000):
            here = {each for each in {run_profile, run_claimer} if self._reads(each)}
            age_ms = self._age_ms(here, run_id, now_ms)
            if (now_ms - age_ms) // 1000 > stamped_s:
                yield task_id, Alive(run_id=run_id, age_ms=age_ms)
        for task_id, run_id, run_profile, run_claimer, silent_s, stamped_s in self._stamped_ahead(now_ms):
            here = {each for each in {run_profile, run_claimer} if self._reads(each)}
            seen_ms = self.clock.seen_for_ms(run_id, stamped_s * 1000)
            age_ms = self._age_ms(here, run_id, now_ms)
            if seen_ms * 2 >= silent_s * 1000 and age_ms < seen_ms:
                yield task_id, Alive(run_id=run_id, age_ms=age_ms)

    def _stamped_ahead(self, now_ms: int) -> list[OpenRun]:
        """Open runs whose times have not come yet: what the board shows of them says nothing until then."""
        return list(self.board.stamped_ahead(now_ms // 1000)) if self.looks_ahead else []

    def _age_ms(self, here: set[str], run_id: int, none_ms: int) -> int:
        """How old the newest heartbeat of the run is that this host reads; ``none_ms`` if there is none."""
        past_ms = [each.age_ms for each in self._heartbeats(here, run_id) if each.age_ms >= -DRIFT_MS]
        return max(0, min(past_ms, default=none_ms))

    def _reads(self, profile: str) -> bool:
        """Whether this host reads the profile's signs of life: it lives here, or nobody has said so and it has a shard
        here."""
        residents = self.residents
        return (
            residents is None
            or residents.lives_here(profile)
            or (not residents.lives_elsewhere(profile) and self.collector.is_there(profile))
        )

    def _heartbeats(self, profiles: set[str], run_id: int) -> list[_Sign]:
        """The newest heartbeat of the run in the shard of each of ``profiles``; less of them where a shard cannot be
        read now."""
        found = [self.collector.last_heartbeat_ms(profile, run_id) for profile in profiles]
        return [_Sign(each, self.clock.looked_ms - each) for each in found if each is not None]

    def _named(self) -> set[tuple[str, str]]:
        """Of whom this pass read that they said something new of which task."""
        return {
            (profile, change.task_id)
            for profile, changes in self.collected.changes.items()
            for change in changes
            if change.kind != CLAIM  # the one thing that says nothing of the run that is open
        }

    def _seen_alive(self) -> set[tuple[str, int | None]]:
        """The tasks and runs of which this pass read that a dispatcher sees the worker."""
        return {
            (change.task_id, run_id_of(decode_body(change.kind, change.body)))
            for changes in self.collected.changes.values()
            for change in changes
            if change.kind == SUPERVISE
        }

    def _is_over(self, run_id: int, signs: list[_Sign], silent_ms: int) -> bool:
        """Whether the run gave no sign for longer than it may be silent. Of signs that are in the future, it counts how
        long they are known."""
        newest = min(signs, key=lambda sign: sign.age_ms)
        if newest.age_ms < -DRIFT_MS and self.clock.seen_for_ms(run_id, newest.stamped_ms) <= silent_ms:
            return False
        past_ms = [sign.age_ms for sign in signs if sign.age_ms >= -DRIFT_MS]
        return min([*past_ms, self.clock.looked_ms - self.clock.relied_on_since_ms]) > silent_ms


def _is_supervised(board: BoardState, task_id: str) -> bool:
    task = board.task(task_id)
    return task is not None and task["grace_s"] is not None
