"""Actors of these tests: ``actor.py VERB HOME PROFILE …``. Each says what happened in JSON lines, and does the next
thing when a line comes in."""

from __future__ import annotations

import json
import os
import select
import sys

from kanban_shards import Gateway

PATIENCE_S = 120.0
BEAT_S = 0.1


def create(home: str, profile: str) -> None:
    """Make a task for each idempotency key of standard input; say its id."""
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        say(ready=True)
        for line in sys.stdin:
            key = line.strip()
            say(key=key, task=gateway.create(f"by {profile}", idempotency_key=key))


def beat(home: str, profile: str, task_id: str, lease_s: str) -> None:
    """Claim a task and be alive until standard input ends."""
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        run = gateway.claim(task_id, lease_s=int(lease_s))
        gateway.heartbeat(run)
        say(run=run.id)
        while not select.select([sys.stdin], [], [], BEAT_S)[0]:
            gateway.heartbeat(run)


def claim(home: str, profile: str, task_id: str, lease_s: str) -> None:
    """Claim a task and say nothing more."""
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        say(run=gateway.claim(task_id, lease_s=int(lease_s)).id)
        sys.stdin.read()


def send(home: str, profile: str, lease_s: str) -> None:
    """Send the first delivery; acknowledge it only if standard input says so."""
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        delivery = next(gateway.deliveries(lease_s=int(lease_s)))
        say(key=delivery.key, attempt=delivery.attempt)
        if sys.stdin.readline():
            delivery.acknowledge()
            say(acknowledged=True)
            sys.stdin.read()


def notify(home: str, profile: str, chat: str) -> None:
    """Tell chats everything there is until standard input ends; ``chat`` is a file that takes a line for each."""
    lines = os.open(chat, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        say(ready=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            for delivery in gateway.deliveries():
                told = {"by": profile, "chat": delivery.subscription.chat_id, "events": [e.id for e in delivery.events]}
                os.write(lines, (json.dumps(told) + "\n").encode())
                delivery.acknowledge()


def comment(home: str, profile: str, task_id: str) -> None:
    """Say each line of standard input about the task; say its seq once it is merged."""
    with Gateway(profile, home=home, patience_s=PATIENCE_S) as gateway:
        say(ready=True)
        for line in sys.stdin:
            seq = gateway.comment(task_id, line.strip())
            gateway.sync()
            say(seq=seq)


def say(**facts: object) -> None:
    """One line, in one write."""
    os.write(sys.stdout.fileno(), (json.dumps(facts) + "\n").encode())


if __name__ == "__main__":
    verbs = {verb.__name__: verb for verb in (create, beat, claim, send, notify, comment)}
    verbs[sys.argv[1]](*sys.argv[2:])
