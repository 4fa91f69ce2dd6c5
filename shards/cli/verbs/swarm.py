"""A swarm: several workers at once, then one that verifies what they made, then one that brings it together.

Nothing here schedules anything. It is a graph of ordinary tasks: a root that is done at once and serves as a
blackboard (comments that hold JSON), workers that wait for the root, a verifier that waits for the workers, and a
synthesizer that waits for the verifier. Whatever a worker of Hermes reads off the blackboard, it finds here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.params import ParamType, listed
from kanban_shards.cli.session import Session, json_option, once_more
from kanban_shards.errors import KanbanError, Refused
from kanban_shards.paths import profile_meant

if TYPE_CHECKING:
    from kanban_shards.gateway import Gateway

BLACKBOARD = "[swarm:blackboard] "
ROOT_TITLE_LENGTH = 80


@dataclass(frozen=True)
class SwarmWorker:
    """One of the workers: whose turn it is, what the task is called, and what it loads."""

    profile: str
    title: str
    skills: tuple[str, ...]


class _WorkerType(ParamType):
    name = "profile:title[:skill,skill]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> SwarmWorker:
        profile, title, skills = (*(part.strip() for part in value.split(":", 2)), "", "")[:3]
        if not profile or not title:
            self.fail(f"{value!r} is not a worker; write PROFILE:TITLE or PROFILE:TITLE:SKILL,SKILL.", param, ctx)
        return SwarmWorker(profile_meant(profile), title, listed(skills))


@click.command()
@click.argument("goal")
@click.option("--worker", "workers", multiple=True, required=True, type=_WorkerType(),
              metavar="PROFILE:TITLE[:SKILL,SKILL]", help="One of the workers; repeat it for more.")  # fmt: skip
@click.option("--verifier", required=True, metavar="PROFILE", help="Who judges what the workers made.")
@click.option("--synthesizer", required=True, metavar="PROFILE", help="Who makes one thing of it.")
@click.option("--tenant", metavar="NAME")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher is sooner.")
@click.option("--created-by", metavar="NAME", help="Shown as the creator; the profile is kept in any case.")
@click.option("--idempotency-key", metavar="KEY", help="Said again with the same key, it makes nothing new.")
@json_option
@click.pass_obj
def swarm(
    session: Session,
    /,
    goal: str,
    workers: tuple[SwarmWorker, ...],
    verifier: str,
    synthesizer: str,
    as_json: bool,
    **common: Any,
) -> None:
    """Make workers, a verifier and a synthesizer.

    The workers work side by side, the verifier waits for all of them, the synthesizer waits for the verifier.

    With an idempotency key a call that was cut short is finished by saying it again.
    """
    goal = goal.strip()
    if not goal:
        raise click.UsageError("The goal is empty.")
    verifier, synthesizer = profile_meant(verifier), profile_meant(synthesizer)
    gateway = session.gateway()
    key = common.pop("idempotency_key")
    root_id = _root(gateway, goal, key, common)
    topology = _topology(gateway, root_id) if key else None
    if topology is None:
        try:
            topology = _make(
                gateway, root_id, goal, key, common, workers=workers, verifier=verifier, synthesizer=synthesizer
            )
        except KanbanError:  # said again without a key, the call would make another root
            text.say(f"The swarm {root_id} is begun, and not whole:", fg="red", err=True)
            raise
    if as_json:
        text.print_json(topology)
        return
    text.say(f"Swarm root: {root_id}")
    text.say(f"Workers: {', '.join(topology['worker_ids'])}")
    text.say(f"Verifier: {topology['verifier_id']}")
    text.say(f"Synthesizer: {topology['synthesizer_id']}")


def _root(gateway: Gateway, goal: str, key: str | None, common: dict[str, Any]) -> str:
    return gateway.create(
        f"Swarm: {wording.clip(goal, ROOT_TITLE_LENGTH)}",
        body=f"The root of a swarm. It is done from the beginning, and stays its blackboard.\n\nGoal:\n{goal}",
        assignee=gateway.profile,
        idempotency_key=key,
        **common,
    )


def _make(
    gateway: Gateway,
    root_id: str,
    goal: str,
    key: str | None,
    common: dict[str, Any],
    *,
    workers: tuple[SwarmWorker, ...],
    verifier: str,
    synthesizer: str,
) -> dict[str, Any]:
    """The tasks below the root. Each has a key of its own, made of the swarm's, so that none is made twice."""
    protocol = _protocol(root_id, goal)

    def task(role: str, title: str, words: str, parents: list[str], **fields: Any) -> str:
        own_key = f"{key}/{role}" if key else None
        body = f"{words}\n\n{protocol}"
        return gateway.create(title, body=body, parents=parents, idempotency_key=own_key, **fields, **common)

    _finish_root(gateway, root_id, {"kind": "kanban_swarm_v1", "goal": goal, "worker_count": len(workers)})
    worker_ids = [
        task(f"worker-{number}", each.title, each.title, [root_id], assignee=each.profile, skills=each.skills or None)
        for number, each in enumerate(workers, 1)
    ]
    verifier_id = task(
        "verifier",
        "Verify swarm outputs",
        "Check what every worker handed over, and the blackboard. Complete this with the metadata "
        '{"gate": "pass"} if the evidence is enough; otherwise block it, and say exactly what is missing.',
        worker_ids,
        assignee=verifier,
        skills=("requesting-code-review",),
    )
    synthesizer_id = task(
        "synthesizer",
        "Synthesize swarm outputs",
        "Make one final result of what was verified. The verifier has passed it before this begins.",
        [verifier_id],
        assignee=synthesizer,
        skills=("humanizer",),
    )
    topology = {
        "root_id": root_id,
        "worker_ids": worker_ids,
        "verifier_id": verifier_id,
        "synthesizer_id": synthesizer_id,
    }
    note = json.dumps({"key": "topology", "value": {**topology, "goal": goal}}, ensure_ascii=False, sort_keys=True)
    gateway.make_comment(root_id, BLACKBOARD + note, author=common["created_by"])
    return topology


def _finish_root(gateway: Gateway, root_id: str, metadata: dict[str, Any]) -> None:
    said = "The swarm is laid out; this task stays its blackboard."
    try:
        once_more(gateway.complete)(root_id, summary=said, metadata=metadata)
    except Refused as refused:
        if refused.reason != "wrong_status":  # done already, by a call that was cut short
            raise


def _topology(gateway: Gateway, root_id: str) -> dict[str, Any] | None:
    """What the blackboard says of a swarm that was made before."""
    for comment in reversed(gateway.board.comments(root_id)):
        if not comment.body.startswith(BLACKBOARD):
            continue
        try:
            note = json.loads(comment.body.removeprefix(BLACKBOARD))
            found = note["value"] if note["key"] == "topology" else {}
            return {name: found[name] for name in ("root_id", "worker_ids", "verifier_id", "synthesizer_id")}
        except (ValueError, KeyError, TypeError):
            continue  # somebody else's note
    return None


def _protocol(root_id: str, goal: str) -> str:
    return (
        "## Swarm protocol\n"
        f"- The root and blackboard of this swarm is `{root_id}`.\n"
        "- Read what parents and siblings handed over before you begin.\n"
        "- Put facts for programs into the metadata when you complete.\n"
        "- Put notes for the others on the root, as comments.\n"
        f"- Goal: {goal}\n"
    )
