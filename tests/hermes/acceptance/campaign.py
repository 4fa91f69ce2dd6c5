"""One campaign: the fleet works under load for so long, is killed at random, finishes, and is held to what it said."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hermes.acceptance import checks
from tests.hermes.acceptance.chat import Chat
from tests.hermes.acceptance.fleet import Fleet
from tests.hermes.side_by_side import side
from tests.hermes.side_by_side.tell import TASK

PROFILES = ("default", "bingge", "pixiel", "mafei")
START_S = 180.0
DOWN_S = (0.2, 3.0)
LOOK_S = 0.1


@dataclass(frozen=True)
class Plan:
    """How much, and how rough. ``seed`` decides what is killed when; the machine decides what that meets."""

    seconds: float
    tasks: int
    kills: int
    seed: int
    work_s: float = 1.0
    settle_s: float = 90.0


@dataclass(frozen=True)
class Outcome:
    """What happened."""

    asked: dict[str, str]
    acknowledged: int
    killed: dict[str, int]
    told: int
    workers: int
    seconds: float
    faults: list[str]


def play(environment: Path, folder: Path, chat: Chat, plan: Plan, *, ours: bool) -> Outcome:
    """Play a campaign in ``folder``, which is new. ``ours``: whether the environment's Hermes is bridged."""
    began = time.monotonic()
    fleet = Fleet(folder, environment, list(PROFILES), chat, plan.work_s)
    try:
        fleet.make()
        if ours:
            fleet.start_daemon()
        for profile in fleet.profiles:
            fleet.start_gateway(profile)
        _wait(START_S, lambda: chat.listening >= set(fleet.profiles), "not every gateway listens to its chat")
        asked, stuck = _work(fleet, plan, ours)
        fleet.stop()
        acknowledged, raised = _said(fleet)
        found = [*stuck, *raised, *checks.faults(fleet, asked, acknowledged, ours=ours)]
        return Outcome(
            asked,
            len(acknowledged),
            dict(fleet.killed.counts),
            len(chat.messages),
            len(fleet.lines()),
            time.monotonic() - began,
            found,
        )
    finally:
        fleet.clear()


def _work(fleet: Fleet, plan: Plan, ours: bool) -> tuple[dict[str, str], list[str]]:
    """The tasks that were asked for, and what went wrong with asking."""
    chance = random.Random(plan.seed)
    stop = fleet.folder / "stop"
    for profile in fleet.profiles:
        fleet.start_churn(profile, stop)
    began = time.time()
    strikes = deque(sorted(began + chance.uniform(0, plan.seconds) for _ in range(plan.kills)))
    asks = deque(began + plan.seconds * number / plan.tasks for number in range(plan.tasks))
    down: dict[str, float] = {}
    asked: dict[str, str] = {}
    wrong: list[str] = []
    with side.opened(fleet.environment, fleet.folder) as asking:
        while time.time() < began + plan.seconds:
            if asks and time.time() >= asks[0]:
                asks.popleft()
                _ask(fleet, asking, chance, asked, wrong, ours)
            if strikes and time.time() >= strikes[0]:
                strikes.popleft()
                _strike(fleet, chance, down)
            _revive(fleet, down)
            time.sleep(LOOK_S)
    stop.touch()
    for name in down:
        down[name] = 0
    _revive(fleet, down)
    fleet.wait_for_churn()
    try:
        _wait(plan.settle_s, lambda: _told(fleet) >= set(asked), "")
    except TimeoutError:
        pass  # the checks say what is missing
    return asked, wrong


def _ask(
    fleet: Fleet, asking: side.Side, chance: random.Random, asked: dict[str, str], wrong: list[str], ours: bool
) -> None:
    """A profile asks another for something, and wants to be told in its chat."""
    who, whom = chance.sample(fleet.profiles, 2)
    env = {"HERMES_HOME": str(fleet.home_of(who))}
    created = asking.call(fleet.home, ["create", f"{who} asks {whom}", "--assignee", whom, "--json"], env=env)
    found = TASK.search(created.out)
    if created.code or not found:
        wrong.append(f"create ended with {created.code}: {created.err.strip().splitlines()[-1:]}")
        return
    asked[found[0]] = who if ours else "default"
    # 0.19.0 delivers no subscription that is stamped with a profile other than the default one.
    words = ["notify-subscribe", found[0], "--platform", "ntfy", "--chat-id", asked[found[0]]]
    subscribed = asking.call(fleet.home, words if ours else [*words, "--notifier-profile", "default"], env=env)
    if subscribed.code:
        wrong.append(f"notify-subscribe ended with {subscribed.code}: {subscribed.err.strip().splitlines()[-1:]}")


def _strike(fleet: Fleet, chance: random.Random, down: dict[str, float]) -> None:
    """kill -9 of somebody who is alive: of a gateway, of a worker or of the daemon, each as likely."""
    alive = fleet.running()
    kinds = [
        [name for name in alive if name in fleet.profiles],
        [name for name in alive if name == "daemon"],
        fleet.workers(),
    ]
    if not any(kinds):
        return
    victim = chance.choice(chance.choice([some for some in kinds if some]))
    if isinstance(victim, int):
        fleet.kill_worker(victim)
    else:
        fleet.kill(victim)
        down[victim] = time.time() + chance.uniform(*DOWN_S)


def _revive(fleet: Fleet, down: dict[str, float]) -> None:
    for name in [name for name, until in down.items() if time.time() >= until]:
        del down[name]
        if name == "daemon":
            fleet.start_daemon()
        else:
            fleet.start_gateway(name)


def _told(fleet: Fleet) -> set[str]:
    return {found[0] for sent in fleet.chat.messages if " done " in sent.text and (found := TASK.search(sent.text))}


def _said(fleet: Fleet) -> tuple[list[str], list[str]]:
    """The ids that the load acknowledged, and what its calls raised."""
    acknowledged, raised = [], []
    for profile in fleet.profiles:
        for line in (fleet.folder / f"churn-{profile}.said").read_text().splitlines():
            if line.startswith("! "):
                raised.append(f"the load of {profile}: {line[2:]}")
            else:
                acknowledged.append(line)
    return acknowledged, raised


def _wait(seconds: float, held: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not held():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(LOOK_S)
