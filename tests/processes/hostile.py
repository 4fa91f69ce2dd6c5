"""Gateways in hostile surroundings: ``hostile.py VERB HOME``. Each says what happened in JSON lines."""

from __future__ import annotations

import json
import os
import resource
import sys

from kanban_shards import Gateway
from kanban_shards.errors import KanbanError


def fill(home: str) -> None:
    """Create until nothing more can be written; then, when a line comes in, go on. Say what was acknowledged."""
    made, sentence = [], None
    with Gateway("amy", home=home, patience_s=10) as amy:
        while sentence is None:
            try:
                made.append(amy.create("x", body="y" * 20_000))
            except KanbanError as error:
                sentence = str(error)
        try:
            amy.sync()
            synced = "synced"
        except KanbanError as error:
            synced = str(error)
        say(made=made, sentence=sentence, synced=synced)
        sys.stdin.readline()
        made.append(amy.create("after all"))
        amy.sync()
        say(made=made, shown=[task.id for task in amy.board.tasks()])


def run_out_of_descriptors(home: str) -> None:
    """Use up every descriptor, in steps, and try each thing; then go on without opening anything anew."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    outcomes = {}
    with Gateway("amy", home=home, patience_s=0.5) as amy:
        task_id = amy.create("before")
        for spare in range(12):
            held = []
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                for _ in range(min(spare, len(held))):
                    os.close(held.pop())
            for name, act in {
                "create": lambda: amy.create("meanwhile"),
                "sync": amy.sync,
                "claim": lambda: amy.release(amy.claim(task_id)),
                "list": lambda: amy.board.tasks(),
            }.items():
                try:
                    act()
                    outcomes[f"{name} {spare}"] = "done"
                except KanbanError as error:
                    outcomes[f"{name} {spare}"] = str(error)
            for descriptor in held:
                os.close(descriptor)
        amy.sync()
        last = amy.create("after")
        amy.sync()
        say(outcomes=outcomes, last=amy.board.task(last) is not None, tasks=len(amy.board.tasks()))


def say(**facts: object) -> None:
    """One line, in one write."""
    os.write(sys.stdout.fileno(), (json.dumps(facts) + "\n").encode())


if __name__ == "__main__":
    {verb.__name__: verb for verb in (fill, run_out_of_descriptors)}[sys.argv[1]](sys.argv[2])
