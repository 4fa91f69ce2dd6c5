"""docs/gateways.md is true: its examples are one program that runs, and what it says of errors happens."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards import gateway as gateways
from kanban_shards.attempts import DELIVERY_LEASE_S
from kanban_shards.coordinator.merge import coordinator_lock
from kanban_shards.deliveries import PAUSES_S
from kanban_shards.paths import BoardPaths
from tests.docs.test_readme import outside, run  # noqa: F401

PAGE = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
METHODS = {name for name in dir(Gateway) if not name.startswith("_")}


def test_the_examples_are_one_program(outside: dict[str, str]) -> None:  # noqa: F811
    said = run([sys.executable, "-W", "error::ResourceWarning", "-c", "\n".join(EXAMPLES)], outside).splitlines()
    assert "stale" in said
    assert any(re.fullmatch(r"\[\('42', \['blocked'\], '[^']+'\)\]", line) for line in said)
    assert any(line.startswith("told 42 ['unblocked'] ") for line in said)
    assert "followed unblocked" in said
    assert said[-1] == "ready"
    with Board.open(home=Path(outside["HOME"]) / ".hermes") as board:
        (prd,) = (task for task in board.tasks() if task.title == "Sprint 3 PRD")
        assert prd.status == "done"
        assert [each.summary for each in board.runs(prd.id)] == [f"did {prd.id}"]
        assert [each.body for each in board.comments(prd.id)] == ["from the fork, with a gateway of its own"]


@pytest.fixture
def applied():
    """The function of that name in the examples."""
    (example,) = (text for text in EXAMPLES if text.startswith("def applied("))
    names: dict = {}
    exec(EXAMPLES[0].partition("\n\nbingge =")[0] + "\n" + example, names)
    return names["applied"]


def test_what_is_undecided_is_applied_later(applied, tmp_path: Path) -> None:
    with Gateway("bingge", home=tmp_path, patience_s=0.2) as bingge:
        run_of = bingge.claim(bingge.create("Sprint 3 PRD", assignee="bingge"))
        held = coordinator_lock.take(BoardPaths.of(tmp_path, "default"), coordinator_lock.DAEMON, 1.0)
        waiting = threading.Event()
        found: list[bool] = []

        def try_it() -> None:
            original = bingge.wait_for_verdict

            def wait_longer(seq: int):
                waiting.set()
                bingge.patience_s = 30
                return original(seq)

            bingge.wait_for_verdict = wait_longer
            found.append(applied(bingge, bingge.complete, run_of, summary="ten pages"))

        worker = threading.Thread(target=try_it)
        worker.start()
        assert waiting.wait(20)
        held.close()
        worker.join()
        assert found == [True]
        assert len(bingge.board.runs(run_of.task_id)) == 1


def test_what_is_refused_is_said(applied, tmp_path: Path, capsys) -> None:
    with Gateway("bingge", home=tmp_path) as bingge:
        run_of = bingge.claim(bingge.create("Sprint 3 PRD", assignee="bingge"))
        bingge.release(run_of)
        assert applied(bingge, bingge.complete, run_of, summary="too late") is False
    assert "refused: late" in capsys.readouterr().out


def test_the_methods_that_are_named_exist() -> None:
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    called = {name for name in re.findall(r"`(\w+)\([^`]*\)`", prose)}
    assert {"sync", "wait_for_verdict", "merge_now", "deliveries"} <= called
    assert called <= METHODS


def test_the_figures_are_those_of_the_code() -> None:
    said = " ".join(PAGE.split())
    assert f"({gateways.LEASE_S // 60} minutes, or `lease_s`)" in said
    assert DELIVERY_LEASE_S == 60 and "leased to this process for a minute" in said
    assert len(PAUSES_S) == 5 and "a dead letter after the sixth time" in said
