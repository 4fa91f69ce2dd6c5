"""What was heard of the other hosts is noted, and nonsense in its place counts for nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from kanban_shards.heard import NOTED_EVERY_S, Heard, HostHeard, forget_heard, note_heard, read_heard
from kanban_shards.paths import BoardPaths

LAPTOP = HostHeard("laptop", "1.0", 1, 40, 0)
SERVER = HostHeard("server", "1.0", 1, 38, 1500, differs=True)


def test_what_is_noted_is_read(paths: BoardPaths) -> None:
    assert read_heard(paths) is None
    note_heard(paths, 40, [LAPTOP, SERVER])
    heard = read_heard(paths)
    assert heard is not None and (heard.end, heard.hosts) == (40, [LAPTOP, SERVER])
    assert heard.silent_s(time.time()) < 5
    assert heard.silent_s(heard.at_ms / 1000 + 90) == 90
    assert heard.silent_s(0) == 0, "a clock that was set back"
    assert os.listdir(paths.folder) == [paths.heard.name]
    forget_heard(paths)
    forget_heard(paths)
    assert read_heard(paths) is None


def test_an_answer_without_news_keeps_the_hosts_and_is_noted_seldom(
    paths: BoardPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_heard(paths, 40, [LAPTOP, SERVER])
    note_heard(paths, 41)
    heard = read_heard(paths)
    assert heard is not None and heard.end == 40
    later_ns = time.time_ns() + int(NOTED_EVERY_S * 1e9) + 1
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    note_heard(paths, 41)
    heard = read_heard(paths)
    assert heard is not None and (heard.end, heard.hosts, heard.at_ms) == (41, [LAPTOP, SERVER], later_ns // 1_000_000)


def test_a_folder_that_cannot_be_written_stops_no_pass(home: str) -> None:
    note_heard(BoardPaths(Path(home, "gone")), 1, [])


SAID = msgspec.to_builtins(Heard(1, 2, [LAPTOP]))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"null", b"[" * 4000, b"\xff", b"x" * 2_000_000,
        *(msgspec.json.encode({**SAID, **wrong}) for wrong in (
            {"at_ms": -1}, {"at_ms": 10**18}, {"end": "7"}, {"hosts": [{}]}, {"hosts": [SAID["hosts"][0]] * 1_001},
            {"hosts": [{**SAID["hosts"][0], "ago_ms": -1}]},
        )),
    ],
)  # fmt: skip
def test_nonsense_counts_for_nothing(paths: BoardPaths, text: bytes) -> None:
    paths.heard.write_bytes(text)
    assert read_heard(paths) is None


def test_a_time_that_has_not_come_yet_counts_for_nothing(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock was set back: the host would seem to be in touch until then, and would note no answer."""
    note_heard(paths, 40, [LAPTOP])
    before_ns = time.time_ns() - 3_600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: before_ns)
    assert read_heard(paths) is None
    note_heard(paths, 41)
    heard = read_heard(paths)
    assert heard is not None and (heard.end, heard.at_ms) == (41, before_ns // 1_000_000)


def test_a_link_is_not_followed(paths: BoardPaths) -> None:
    note_heard(paths, 40, [LAPTOP])
    paths.heard.rename(paths.folder / "elsewhere")
    paths.heard.symlink_to("elsewhere")
    assert read_heard(paths) is None
    note_heard(paths, 41, [SERVER])
    assert not paths.heard.is_symlink(), "it was replaced, and what it led to left alone"
    assert b"laptop" in (paths.folder / "elsewhere").read_bytes()
