"""``kanban board`` in a real terminal: a pseudo-terminal with a process of its own behind it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from kanban_shards import Gateway
from kanban_shards.paths import BoardPaths
from tests.unit.shards.cli.test_printing import HOSTILE

pytest.importorskip("textual", reason="the extra kanban-shards[terminal] is not installed")

PATIENCE_S = 60.0
IDLE_S = 3.0
BOARD = ("-m", "kanban_shards")


class Terminal:
    """A terminal of 24 lines in which one program runs, and all that it has drawn so far."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self.drawn = b""
        self._screen = screen

    def until(self, words: bytes) -> None:
        """Read until ``words`` were drawn since the last call."""
        begun, deadline = len(self.drawn), time.monotonic() + PATIENCE_S
        while words not in self.drawn[begun:]:
            assert time.monotonic() < deadline, self.drawn[begun:][-2_000:]
            self.read(0.1)

    def read(self, longest_s: float) -> None:
        """Read what is drawn, at most for so long."""
        if select.select([self._screen], [], [], longest_s)[0]:
            try:
                self.drawn += os.read(self._screen, 65_536)
            except OSError:  # nobody has it open any more
                time.sleep(longest_s)

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._screen, keys)

    def end(self) -> int:
        """Wait for the end of the program, and return how it ended."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read(0.1)
        self.read(0.1)
        return self.process.returncode


@contextmanager
def terminal(*words: str, columns: int = 80) -> Iterator[Terminal]:
    """A terminal with ``python WORDS`` in it."""
    screen, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24"}
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, *words], env=environment, start_new_session=True, cwd=root, stdin=program, stdout=program,
        stderr=program,
    ) as process:  # fmt: skip
        os.close(program)
        try:
            yield Terminal(process, screen)
        finally:
            process.kill()
            os.close(screen)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_it_follows_what_others_do_until_q(home: str, columns: int) -> None:
    with Gateway("amy", home=home) as amy:
        task = amy.make("Write the text").task_id
        with terminal(*BOARD, "--home", home, "board", columns=columns) as seen:
            seen.until(b"Write the text")
            amy.make("Another one", priority=9)
            seen.until(b"Another one")
            amy.claim(task)
            seen.until(b"running 1")
            seen.press(b"q")
            assert seen.end() == 0
    assert b"Traceback" not in seen.drawn
    assert b"\x1b[?1049h" in seen.drawn and b"\x1b[?1049l" in seen.drawn, "the terminal is given back as it was"


def test_it_costs_nothing_while_nothing_happens(home: str) -> None:
    with Gateway("amy", home=home) as amy:
        amy.make("Write the text")
    with terminal(*BOARD, "--home", home, "board") as seen:
        seen.until(b"Write the text")
        seen.read(1.0)
        process = psutil.Process(seen.process.pid)
        before = sum(process.cpu_times()[:2])
        time.sleep(IDLE_S)
        assert sum(process.cpu_times()[:2]) - before < IDLE_S / 10


def test_what_others_wrote_does_not_reach_the_terminal(home: str) -> None:
    with Gateway("amy", home=home) as amy:
        task = amy.make(f"see {HOSTILE}this", body=HOSTILE).task_id
        amy.comment(task, f"and {HOSTILE}that")
        amy.sync()
    with terminal(*BOARD, "--home", home, "board") as seen:
        seen.until(b"this")
        seen.press(b"\r")
        seen.until(b"that")
        seen.press(b"q")
        assert seen.end() == 0
    for harm in (b"\x1b]0;owned", b"\x1b[2J\x1b]0", "\x9b31m".encode(), "\u202e".encode(), "\u200b".encode()):
        assert harm not in seen.drawn


def test_an_interrupt_ends_it(home: str) -> None:
    with Gateway("amy", home=home) as amy:
        amy.make("Write the text")
    with terminal(*BOARD, "--home", home, "board") as seen:
        seen.until(b"Write the text")
        seen.press(b"\x11")  # ctrl+q, as everywhere in such programs
        assert seen.end() == 0


def test_a_board_that_cannot_be_read_is_a_sentence(home: str, paths: BoardPaths) -> None:
    def said() -> tuple[int, str]:
        with terminal(*BOARD, "--home", home, "board", columns=400) as seen:
            code = seen.end()
        return code, seen.drawn.decode()

    code, sentence = said()
    assert code == 3 and "There is no board at" in sentence
    with Gateway("amy", home=home) as amy:
        amy.make("x")
    sound = paths.board.read_bytes()
    paths.board.write_bytes(sound[:100] + b"\xff" * (len(sound) - 100))
    code, sentence = said()
    assert code == 3 and "is damaged" in sentence
    paths.board.write_bytes(sound[:60] + (9_999).to_bytes(4) + sound[64:])  # user_version
    code, sentence = said()
    assert code == 3 and "update this program" in sentence
    assert "\x1b[?1049h" not in sentence, "said before the screen is taken"


def test_a_missing_extra_is_one_sentence(home: str) -> None:
    with Gateway("amy", home=home) as amy:
        amy.make("x")
    without = "import sys; sys.modules['textual'] = None; from kanban_shards.cli.main import main; main()"
    with terminal("-c", without, "--home", home, "board", columns=400) as seen:
        assert seen.end() == 1
    assert re.search(rb"needs textual.*pip install 'kanban-shards\[terminal\]'", seen.drawn)
    assert b"Traceback" not in seen.drawn


def test_law_1_holds_in_the_process_that_shows(home: str, tmp_path: Path, assert_clean: Callable[[], None]) -> None:
    """Nothing but SQLite touches a database file there, and it writes nothing."""
    said = tmp_path / "said"
    with Gateway("amy", home=home) as amy:
        task = amy.make("Write the text").task_id
        with terminal("-m", "tests.processes.served", home, "amy", "audited", "board", str(said)) as seen:
            seen.until(b"Write the text")
            for number in range(5):
                amy.comment(task, f"comment {number}")
                amy.make(f"Task {number}")
            seen.until(b"Task 4")
            seen.press(b"\r")
            seen.until(b"Events")
            seen.press(b"q")
            assert seen.end() == 0
    assert json.loads(said.read_text()) == []
    assert_clean()
