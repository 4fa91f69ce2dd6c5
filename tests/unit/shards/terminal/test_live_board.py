"""The live board, driven by keys as a person drives it, while others work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("textual", reason="the extra kanban-shards[terminal] is not installed")

from kanban_shards import Board, Gateway
from kanban_shards.cards import look
from kanban_shards.filters import SHOWN, Filters
from kanban_shards.paths import BoardPaths
from kanban_shards.terminal import board_screen
from kanban_shards.terminal.board_app import BoardApp
from kanban_shards.terminal.column_list import ColumnList
from tests.unit.shards.cli.test_printing import HOSTILE

PATIENCE_S = 30.0


class Seen:
    """What somebody sees and does who sits before it."""

    def __init__(self, app: BoardApp, pilot: Any) -> None:
        self.app = app
        self._pilot = pilot

    @property
    def lines(self) -> list[str]:
        """The screen as it is drawn."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        """The same, as one text."""
        return "\n".join(self.lines)

    @property
    def here(self) -> str | None:
        """The status of the column that is worked with."""
        return self.app.focused.status if isinstance(self.app.focused, ColumnList) else None

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self._pilot.press(*keys)
        await self._pilot.pause()

    async def mark(self, task_id: str) -> None:
        """Go down, and up again, to the card of the task."""
        await self.press("home")
        while self.app.focused.marked != task_id:
            await self.press("down")

    async def until(self, words: str | Callable[[], bool]) -> None:
        """Look until ``words`` stand on the screen, or until that is true."""
        true = (lambda: words in self.text) if isinstance(words, str) else words
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, f"{words}\n{self.text}"
            await self._pilot.pause(0.02)


@asynccontextmanager
async def sat(home: str, size: tuple[int, int] = (80, 24), filters: Filters | None = None) -> AsyncIterator[Seen]:
    """Somebody before the board of ``home``, in a terminal of ``size``."""
    with Board.open(home=home) as board:
        wanted = filters or Filters()
        app = BoardApp(board, wanted, look(board, wanted))
        async with app.run_test(size=size) as pilot:
            seen = Seen(app, pilot)
            await seen.until(lambda: seen.here is not None or "No tasks." in seen.text)
            yield seen


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """``work``, to its end."""
    anyio.run(work)


@pytest.fixture
def busy(home: str) -> dict[str, str]:
    """A board with something in each column; ids of its tasks by what they are called."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        ids = {
            "idea": amy.create("A new site", starts="triage"),
            "text": amy.create("Write the text", assignee="amy", body="Ten pages.", priority=5),
        }
        ids["drawing"] = bob.create("Draw the 画面", assignee="bob", parents=[ids["text"]], tenant="acme")
        ids["asked"] = bob.create("Ask the office", assignee="bob")
        ids["done"] = bob.create("Buy paper")
        ids["taken"] = bob.create("Clean up")
        bob.block(ids["asked"], "which colors?", kind="needs_input")
        bob.complete(bob.claim(ids["done"]), summary="500 sheets")
        bob.claim(ids["taken"])
    return ids


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_column_is_there_at_any_width(home: str, busy: dict[str, str], width: int) -> None:
    async def work() -> None:
        async with sat(home, (width, 24)) as seen:
            assert seen.here == "triage"
            for status in ("triage", "todo", "ready", "running", "blocked", "done"):
                await seen.until(lambda status=status: seen.here == status and f"{status} 1" in seen.text)
                assert max(map(len, seen.lines)) <= width
                assert seen.lines[1].count("╭") == min(6, width // 20), "whole columns, and no half ones"
                await seen.press("right")
            assert seen.here == "done", "there is no column on the right of the last"
            for _ in range(7):
                await seen.press("left")
            await seen.until(lambda: seen.here == "triage" and "A new site" in seen.text)

    run(work)


def test_a_card_says_what_one_has_to_know(home: str, busy: dict[str, str]) -> None:
    async def work() -> None:
        async with sat(home, (200, 24)) as seen:
            await seen.until("done 1")
            text = seen.text
            assert "6 tasks" in text and "1 need a person" in text
            assert "Write the text" in text and "p5" in text
            assert "bob, waits for 1" in text
            assert "! Ask the office" in text and "bob, needs_input" in text
            assert "bob, 14 min left" in text, "how long the lease still is"
            assert "Draw the 画面" in text

    run(work)


def test_it_changes_by_itself(home: str, busy: dict[str, str]) -> None:
    """A task of another process appears, moves, and is done, without a key; the mark stays on the task it is on."""

    async def work() -> None:
        async with sat(home, (200, 24)) as seen:
            with Gateway("cleo", home=home) as cleo:
                await seen.press("right", "right")
                assert seen.here == "ready" and seen.app.focused.marked == busy["text"]
                task = await anyio.to_thread.run_sync(lambda: cleo.make("Urgent", priority=9).task_id)
                await seen.until("ready 2")
                assert "* Urgent" in seen.text, "what changed is marked for a moment"
                assert seen.app.focused.marked == busy["text"]
                found = await anyio.to_thread.run_sync(cleo.claim, task)
                await seen.until("running 2")
                await anyio.to_thread.run_sync(cleo.complete, found)
                await seen.until("done 2")
                await seen.until(lambda: "* Urgent" not in seen.text and "Urgent" in seen.text)

    run(work)


def test_enter_shows_all_of_a_task(home: str, busy: dict[str, str]) -> None:
    with Gateway("amy", home=home) as amy:
        amy.comment(busy["text"], "not the ones of last year")
        amy.complete(amy.claim(busy["text"]), summary="ten pages", result="prd.md")
        amy.sync()

    async def work() -> None:
        async with sat(home, (100, 50)) as seen:
            await seen.press(*["right"] * 5)
            await seen.mark(busy["done"])
            await seen.press("enter")
            await seen.until("Events")
            for said in ("Buy paper", busy["done"], "bob", "500 sheets", "completed"):
                assert said in seen.text
            await seen.press("escape")
            await seen.until("triage 1")
            await seen.mark(busy["text"])
            await seen.press("enter")
            await seen.until("not the ones of last year")
            for said in ("Write the text", "Ten pages.", "prd.md", "ten pages", "Waited for by", "Runs"):
                assert said in seen.text
            await seen.press("1")
            await seen.until("Waits for")
            assert "Draw the 画面" in seen.text
            with Gateway("cleo", home=home) as cleo:
                await anyio.to_thread.run_sync(cleo.comment, busy["drawing"], "a comment while it is shown")
                await anyio.to_thread.run_sync(cleo.sync)
            await seen.until("a comment while it is shown")
            await seen.press("9", "escape", "backspace")
            await seen.until("triage 1")

    run(work)


def test_slash_looks_for_tasks(home: str, busy: dict[str, str]) -> None:
    async def work() -> None:
        async with sat(home) as seen:
            await seen.press("slash", *"draw")
            await seen.until("1 task ")
            assert "Draw the 画面" in seen.text and "A new site" not in seen.text
            await seen.press("enter")
            assert seen.here == "todo", "the keys move again"
            await seen.press("slash", "ctrl+u", *"assignee:bob status:blocked")
            await seen.until("Ask the office")
            assert "Draw" not in seen.text.replace("draw", "")
            await seen.press("ctrl+u", *"status:nowhere")
            await seen.until("there is no status 'nowhere'")
            await seen.press("ctrl+u", *"nothing like that")
            await seen.until("No tasks.")
            await seen.press("escape")
            await seen.until("6 tasks")
            await seen.press("slash", "q", "enter")
            await seen.until(lambda: "6 tasks" not in seen.text)
            assert seen.app.is_running, "a letter that is typed is no command"

    run(work)


def test_it_begins_with_the_filters_of_the_command(home: str, busy: dict[str, str]) -> None:
    async def work() -> None:
        async with sat(home, filters=Filters(assignee="amy")) as seen:
            await seen.until("assignee:amy")
            assert "Write the text" in seen.text and "Ask" not in seen.text

    run(work)


def test_what_is_shown_is_what_is_read(home: str) -> None:
    with Gateway("amy", home=home) as amy:
        for number in range(SHOWN + 7):
            amy.create(f"Task {number:03}", priority=-number)

    async def work() -> None:
        async with sat(home) as seen:
            column = seen.app.query_one("#ready", ColumnList)
            assert len(column.cards) == SHOWN and f"ready {SHOWN + 7}" in seen.text
            await seen.press("end")
            await seen.until("… 7 more")
            await seen.press("enter")
            await seen.until(lambda: len(column.cards) == SHOWN + 7)
            await seen.press("end")
            await seen.until(f"Task {SHOWN + 6:03}")

    run(work)


def test_what_others_wrote_draws_nothing(home: str) -> None:
    said = f"see {HOSTILE} [bold red]this[/] [@click=app.quit]that"
    with Gateway("amy", home=home) as amy:
        task = amy.create(said, body=said + "\n\ttabbed", tenant="x", assignee="amy")
        amy.comment(task, said)
        amy.block(amy.claim(task), said)

    async def work() -> None:
        async with sat(home) as seen:
            await seen.until("[bold red]")
            assert all(line.isprintable() for line in seen.lines), seen.text
            await seen.press("enter")
            await seen.until("Comments")
            assert "[@click=app.quit]that" in seen.text
            assert all(line.isprintable() for line in seen.lines), seen.text

    run(work)


def test_a_board_that_is_gone_is_a_sentence_and_one_that_is_back_is_shown(
    home: str, paths: BoardPaths, busy: dict[str, str], tmp_path: Path
) -> None:
    away = tmp_path / "away"

    async def work() -> None:
        async with sat(home, (120, 24)) as seen:
            os.rename(paths.board, away)
            await seen.until("There is no board at")
            assert "Write the text" in seen.text, "what was known stays"
            await seen.press("right", "enter")
            await seen.until("There is no board at")
            await seen.press("escape")
            os.rename(away, paths.board)
            with Gateway("cleo", home=home) as cleo:
                await anyio.to_thread.run_sync(lambda: cleo.make("Back again"))
                await seen.until(lambda: "There is no board" not in seen.text and "Back again" in seen.text)

    run(work)


def test_a_slow_disk_holds_up_no_key(home: str, busy: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    read_on = threading.Event()
    original = board_screen.look_now

    def slow(*given: Any) -> Any:
        read_on.wait(PATIENCE_S)
        return original(*given)

    async def work() -> None:
        async with sat(home) as seen:
            monkeypatch.setattr(board_screen, "look_now", slow)
            with Gateway("cleo", home=home) as cleo:
                await anyio.to_thread.run_sync(lambda: cleo.make("Seen late"))
            await seen.press("right")
            assert seen.here == "todo"
            assert "Seen late" not in seen.text
            read_on.set()
            await seen.until("ready 2")

    run(work)


def test_nothing_is_left_when_it_ends(home: str, paths: BoardPaths, busy: dict[str, str]) -> None:
    async def work() -> None:
        async with sat(home) as seen:
            assert list(paths.folder.glob("kanban-waiting.*"))
            await seen.press("q")

    run(work)
    assert not list(paths.folder.glob("kanban-waiting.*"))
    assert "follow" not in [thread.name for thread in threading.enumerate()]
