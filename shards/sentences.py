"""Events as sentences: what became of a task, in words, for a terminal or a page.

An event's payload is what a change said, or what an import brought from elsewhere. So nothing in it is believed to have
a shape: a value of another kind than expected is left out, and every text is cut to one printable line.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from kanban_shards import wording
from kanban_shards.records import Event

# In columns of a terminal: of a text that a sentence quotes.
QUOTED = 160
# So many ids are named, and the others counted.
NAMED = 5
# No number of ours is larger, and no larger one means anything.
LARGEST = 2**53


class Facts:
    """An event with its payload, read without trust."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self._payload = event.payload if isinstance(event.payload, dict) else {}

    def text(self, name: str) -> str:
        """One printable line of that text; empty if there is none."""
        value = self._payload.get(name)
        return wording.printable(wording.clip(value.strip(), QUOTED)) if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """That whole number, or None."""
        value = self._payload.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if abs(value) <= LARGEST else None

    def is_set(self, name: str) -> bool:
        """Whether that is there and says yes."""
        return bool(self._payload.get(name))

    def words(self, name: str, most: int = NAMED) -> str:
        """The texts of that list, with commas; those beyond ``most`` are counted."""
        value = self._payload.get(name)
        given = value if isinstance(value, list) else []
        found = [wording.printable(wording.clip(each, QUOTED)) for each in given if isinstance(each, str)]
        more = f" and {len(found) - most} more" if len(found) > most else ""
        return ", ".join(found[:most]) + more

    def count(self, name: str) -> int:
        """How many that list has."""
        value = self._payload.get(name)
        return len(value) if isinstance(value, list) else 0

    def by(self, name: str = "by") -> str:
        """Who did it, as the end of a phrase; empty where the event does not say."""
        who = self.text(name)
        return f" by {who}" if who else ""

    def because(self, *names: str) -> str:
        """The first of these texts that there is, as the end of a sentence."""
        return next((f": {said}" for name in names if (said := self.text(name))), "")

    def run(self) -> str:
        """The run that it is about."""
        run_id = self.number("run_id") if self.event.run_id is None else self.event.run_id
        return "its run" if run_id is None else f"run {run_id}"

    def rest(self) -> str:
        """The whole payload in a line, for a kind of event that nobody here knows."""
        told = [
            f"{wording.printable(wording.clip(str(name), QUOTED))} {_plain(value)}"
            for name, value in self._payload.items()
            if value not in (None, "", [], {})
        ]
        return wording.truncate(", ".join(told), QUOTED)


def sentence(event: Event) -> str:
    """What the event tells, in words, on one printable line without a full stop.

    Spans are told, and no moment but the one that a task waits for: when it happened is ``event.created_at``, which
    ``wording.ago`` says.
    """
    facts = Facts(event)
    tell = _SENTENCES.get(event.kind)
    if tell is not None:
        return tell(facts)
    kind, rest = wording.printable(event.kind).replace("_", " "), facts.rest()
    return f"{kind}: {rest}" if rest else kind


def _plain(value: object) -> str:
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return wording.printable(wording.clip(told, QUOTED))


def _created(facts: Facts) -> str:
    said = f"created{facts.by()}"
    if root := facts.text("from_decompose_of"):
        return f"{said} as a part of {root}"
    said = ", ".join(filter(None, (said, facts.text("status"), _for(facts))))
    return f"{said}; waits for {parents}" if (parents := facts.words("parents")) else said


def _for(facts: Facts) -> str:
    who = facts.text("assignee")
    return f"assigned to {who}" if who else ""


def _commented(facts: Facts) -> str:
    author, by = facts.text("author"), facts.text("by")
    written = f", written by {by}" if by and by != author else ""
    length = facts.number("len")
    return f"{author or 'somebody'} commented" + (
        f" ({wording.many(length, 'character')}{written})" if length is not None else written
    )


def _claimed(facts: Facts) -> str:
    by, profile = facts.text("by") or facts.text("lock"), facts.text("profile")
    whose = f" for {profile}" if profile and profile != by else ""
    review = " to review it" if facts.text("source_status") == "review" else ""
    expires = facts.number("expires")
    lease_s = 0 if expires is None else expires - facts.event.created_at
    lease = f", with a lease of {wording.age(lease_s)}" if lease_s > 0 else ""
    return f"claimed by {by or 'somebody'}{whose}{review} ({facts.run()}{lease})"


def _heartbeat(facts: Facts) -> str:
    note = facts.text("note")
    return f"the worker of {facts.run()} says: {note}" if note else f"the worker of {facts.run()} is alive"


def _completed(facts: Facts) -> str:
    made = facts.words("verified_cards")
    return f"completed{facts.by()}" + (f", having made {made}" if made else "") + facts.because("summary")


def _status(facts: Facts) -> str:
    status, reason = facts.text("status"), facts.text("reason")
    if reason == "parent_reopened":
        return f"waits again, because {facts.text('parent') or 'what it waited for'} was reopened"
    if reason == "parents_open":
        return "waits for tasks that are not done"
    if status == "review":
        return "handed in for review" + facts.because("summary", "reason")
    return f"its status is {status or 'another one'} now{_who(facts)}" + facts.because("reason")


def _who(facts: Facts) -> str:
    who = facts.text("by")
    return f", said {who}" if who else ""


def _blocked(facts: Facts) -> str:
    kind = facts.text("kind")
    return "blocked" + (f" ({kind})" if kind else "") + facts.because("reason")


def _block_loop(facts: Facts) -> str:
    times = facts.number("recurrences")
    often = f"{times} times" if times else "again"
    return f"blocked {often} for the same kind of reason, so it went to triage" + facts.because("reason")


def _scheduled(facts: Facts) -> str:
    due = facts.number("due")
    until = "until somebody unblocks it" if due is None else f"until {wording.when(due)}"
    return f"scheduled {until}" + facts.because("reason")


def _promoted_by_hand(facts: Facts) -> str:
    forced = ", although it waits for others" if facts.is_set("forced") else ""
    return f"made ready{facts.by('actor')}{forced}" + facts.because("reason")


def _unblocked(facts: Facts) -> str:
    waits = "; it waits for its parents" if facts.text("status") == "todo" else ""
    if facts.text("reason") == "due":
        return f"its time came{waits}"
    return f"unblocked{facts.by()}" + facts.because("reason") + waits


def _reclaimed(facts: Facts) -> str:
    if facts.is_set("manual"):
        return f"{facts.run()} was ended without a result{facts.by()}" + facts.because("reason")
    return f"{facts.run()} ended without a result, for its lease ran out" + facts.because("reason")


def _failed(how: str) -> Callable[[Facts], str]:
    def tell(facts: Facts) -> str:
        failures = facts.number("failures")
        in_a_row = f" ({wording.many(failures, 'failure')} in a row)" if failures else ""
        return f"{facts.run()} {how}{in_a_row}" + facts.because("error")

    return tell


def _gave_up(facts: Facts) -> str:
    failures = facts.number("failures")
    after = wording.many(failures, "failure") if failures else "too many failures"
    return f"blocked after {after} in a row" + facts.because("error")


def _attached(facts: Facts) -> str:
    size = facts.number("size")
    bytes_ = f" ({wording.many(size, 'byte')})" if size is not None else ""
    return f"{facts.text('by') or 'somebody'} attached {facts.text('filename') or 'a file'}{bytes_}"


def _removed(facts: Facts) -> str:
    return f"{facts.text('by') or 'somebody'} removed {facts.text('filename') or 'a file'}"


def _decomposed(facts: Facts) -> str:
    children = facts.count("child_ids")
    into = f" into {wording.many(children, 'task')} ({facts.words('child_ids')})" if children else ""
    return f"decomposed{facts.by()}{into}"


def _specified(facts: Facts) -> str:
    return f"specified{facts.by()}" + (f": {changed}" if (changed := facts.words("changed_fields")) else "")


def _phantoms(facts: Facts) -> str:
    cards = facts.words("phantom_cards") or "tasks that it did not make"
    return f"a completion was refused, because it names {cards}" + facts.because("summary", "summary_preview")


def _late(facts: Facts) -> str:
    kind = facts.text("kind").replace("_", " ") or "change"
    said = facts.because("summary", "result", "note", "reason", "error")
    return f"a late {kind}{facts.by()} was refused, and is kept{said}"


def _linked(facts: Facts, as_child: str, as_parent: str) -> str:
    parent, child = facts.text("parent"), facts.text("child")
    if parent and parent == facts.event.task_id:
        return as_parent.format(child or "another task")
    return as_child.format(parent or "another task")


def _number(facts: Facts, name: str) -> int | str:
    found = facts.number(name)
    return "unknown" if found is None else found


_SENTENCES: dict[str, Callable[[Facts], str]] = {
    "archived": lambda facts: f"archived{facts.by()}",
    "assigned": lambda facts: _for(facts) or "assigned to nobody",
    "attached": _attached,
    "attachment_removed": _removed,
    "block_loop_detected": _block_loop,
    "blocked": _blocked,
    "claim_extended": lambda facts: "its claim was extended, for its worker lives" + facts.because("reason"),
    "claimed": _claimed,
    "commented": _commented,
    "completed": _completed,
    "completion_blocked_hallucination": _phantoms,
    "crashed": _failed("crashed"),
    "created": _created,
    "decomposed": _decomposed,
    "dependency_wait": lambda facts: "waits for its parents" + facts.because("reason"),
    "edited": lambda facts: "edited" + (f": {fields}" if (fields := facts.words("fields")) else ""),
    "gave_up": _gave_up,
    "heartbeat": _heartbeat,
    "late_refused": _late,
    "linked": lambda facts: _linked(facts, "waits for {} now", "{} waits for it now"),
    "promoted": lambda facts: "ready, for it waits for nothing any more",
    "promoted_manual": _promoted_by_hand,
    "protocol_violation": _failed("ended without saying what came of it"),
    "rate_limited": _failed("ended at a rate limit"),
    "reclaimed": _reclaimed,
    "reprioritized": lambda facts: f"its priority is {_number(facts, 'priority')} now",
    "scheduled": _scheduled,
    "spawn_failed": _failed("could not be started"),
    "spawned": lambda facts: f"the worker of {facts.run()} was started (process {_number(facts, 'pid')})",
    "specified": _specified,
    "stale": _failed("was given up as stale"),
    "status": _status,
    "timed_out": _failed("took too long"),
    "unblocked": _unblocked,
    "unlinked": lambda facts: _linked(facts, "no longer waits for {}", "{} no longer waits for it"),
}
