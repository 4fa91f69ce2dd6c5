"""The acceptance at a size for every day, and proof that it can fail. ``python -m tests.hermes.acceptance`` is the same
for as long as one likes, and with ``--unmodified`` on Hermes's own board."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from kanban_shards import Gateway
from tests.hermes.acceptance import chat as chats
from tests.hermes.acceptance import checks
from tests.hermes.acceptance.campaign import PROFILES, Plan, play
from tests.hermes.acceptance.chat import Chat, Message
from tests.hermes.acceptance.fleet import Fleet

SECONDS = 20.0


@pytest.mark.timeout(600)  # half of it is the start of four gateways, beside whatever else is tested
@pytest.mark.hermes
def test_four_gateways_under_kill_9(bridged_environment: Path, tmp_path: Path) -> None:
    """Everything asked for is done once and told once, nothing acknowledged is lost, and nothing is left running."""
    plan = Plan(SECONDS, tasks=6, kills=4, seed=random.randrange(10**6))
    with chats.serving() as chat:
        outcome = play(bridged_environment, tmp_path / "fleet", chat, plan, ours=True)
    assert outcome.faults == [], f"python -m tests.hermes.acceptance --seed {plan.seed}"
    assert len(outcome.asked) == plan.tasks
    assert outcome.acknowledged > plan.tasks
    assert outcome.killed


class Scene:
    """A board of ours where everything holds: one task was asked for, done and told; one of the load is done."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder, folder, list(PROFILES), Chat("http://127.0.0.1:9"), work_s=0)
        self.fleet.root.mkdir(parents=True)
        with Gateway("mafei", home=self.fleet.root) as gateway:
            self.task, self.load = gateway.create("asked for"), gateway.create("load")
            run = gateway.claim(self.task)
            gateway.spawned(run, pid=4711)
            gateway.complete(run)
            gateway.complete(self.load)
            gateway.sync()
        self.line = f"{self.task} {run.id} 4711 {time.time()}"
        self.begin(self.line)
        self.tell(self.task, 100.0)

    def begin(self, line: str) -> None:
        with self.fleet.journal.open("a") as journal:
            journal.write(line + "\n")

    def tell(self, task: str, at: float) -> None:
        self.fleet.chat.messages.append(Message("bingge", f"Kanban {task} done", at))

    def faults(self, *more_acknowledged: str) -> str:
        acknowledged = [self.load, *more_acknowledged]
        return "\n".join(checks.faults(self.fleet, {self.task: "bingge"}, acknowledged, ours=False))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_sound_scene_has_no_fault(scene: Scene) -> None:
    assert scene.faults() == ""


def test_what_was_acknowledged_and_is_lost_is_found(scene: Scene) -> None:
    assert "1 of 2 acknowledged tasks are lost" in scene.faults("t_0123456789")


def test_a_second_worker_is_found(scene: Scene) -> None:
    scene.begin(f"{scene.line} 4712")
    assert "had 2 workers" in scene.faults()
    assert "was started beside the living 4712" in scene.faults()


def test_a_worker_that_never_came_is_found(scene: Scene) -> None:
    scene.fleet.journal.write_text("")
    assert "were spawned, and no worker came" in scene.faults()


def test_what_is_told_twice_is_found(scene: Scene) -> None:
    """Unless the gateway was killed in between: it cannot know that it had said so."""
    scene.tell(scene.task, 102.0)
    assert "was told of" in scene.faults()
    scene.fleet.killed.gateways["mafei"] = [101.0]
    assert "was told of" in scene.faults()
    scene.fleet.killed.gateways["bingge"] = [101.0]
    assert scene.faults() == ""


def test_what_is_never_told_is_found(scene: Scene) -> None:
    scene.fleet.chat.messages.clear()
    assert "was never told" in scene.faults()
    scene.tell("t_0123456789", 100.0)
    assert "had not asked" in scene.faults()


def test_what_is_not_done_is_found(scene: Scene) -> None:
    with Gateway("mafei", home=scene.fleet.root) as gateway:
        other = gateway.create("another")
        gateway.sync()
    scene.task = other
    assert f"{other} is ready" in scene.faults()
    assert "0 completed runs" in scene.faults()


def test_damage_in_a_log_and_in_the_board_is_found(scene: Scene) -> None:
    scene.fleet.log("mafei").write_text("INFO fine\nERROR database disk image is malformed\n")
    assert "mafei's log: 1 lines" in scene.faults()
    (scene.fleet.root / "kanban.db").write_bytes(b"no board" * 1000)
    assert "the board cannot be read" in scene.faults()
