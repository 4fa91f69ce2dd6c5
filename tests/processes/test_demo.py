"""The demo, as a user runs it: real processes, real kills, and nothing left of it afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import tenacity

Start = Callable[..., subprocess.Popen]

AT_MOST_S = 90


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The folder that the demo takes for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def demo(start: Start, scratch: Path) -> Start:
    """``demo(*options)``: a demo that was started."""
    return lambda *options: start(
        "-m", "kanban_shards.coordinator", "demo", *options, env={**os.environ, "TMPDIR": str(scratch)}
    )


def ended(process: subprocess.Popen) -> tuple[dict, int]:
    """What the demo found, and its exit code."""
    out, err = process.communicate(timeout=AT_MOST_S)
    assert err == ""
    return json.loads(out), process.returncode


def wait_until_they_work(process: subprocess.Popen) -> None:
    for line in process.stdout:
        if "they work" in line:
            return
    pytest.fail(process.stderr.read())


def processes_of(scratch: Path) -> list[str]:
    """Processes that were told of the demo's folder, which all of its own were."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if str(scratch) in command:
            found.append(command)
    return found


def assert_nothing_left(scratch: Path) -> None:
    assert processes_of(scratch) == []
    assert os.listdir(scratch) == []


def assert_they_worked(found: dict) -> None:
    for count in ("created", "claimed", "completed", "comments", "written", "merged"):
        assert sum(row[count] for row in found["profiles"]) > 0, count
    assert all(row["waiting"] == 0 for row in found["profiles"])
    assert found["checked"]["changes"] == sum(row["merged"] for row in found["profiles"])


def test_four_profiles_work_and_all_is_clean(demo: Start, scratch: Path) -> None:
    found, code = ended(demo("--json", "--seconds", 2))

    assert (found["clean"], found["checked"]["problems"], code) == (True, [], 0)
    assert_they_worked(found)
    assert found["checked"]["acknowledged"] == found["checked"]["changes"]
    assert [row["profile"] for row in found["profiles"]] == ["default", "bingge", "pixiel", "mafei"]
    assert found["killed"] == {}
    assert_nothing_left(scratch)


def test_kill_9_at_random_leaves_all_clean_and_the_board_where_asked(
    demo: Start, scratch: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    found, code = ended(demo("--json", "--seconds", 2, "--chaos", "--keep", kept))

    assert (found["clean"], found["checked"]["problems"], code) == (True, [], 0)
    assert_they_worked(found)
    assert sum(found["killed"].values()) > 0
    assert found["kept"] == str(kept)
    assert (kept / "kanban.db").exists()
    assert_nothing_left(scratch)


def test_ctrl_c_ends_it_early_and_it_is_checked_all_the_same(demo: Start, scratch: Path) -> None:
    process = demo("--seconds", 600, "--profiles", "solo")
    wait_until_they_work(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=AT_MOST_S)

    assert err == ""
    assert "Ended early" in out
    assert "clean" in out.splitlines()
    assert process.returncode == 0
    assert_nothing_left(scratch)


def test_nothing_outlives_a_demo_that_is_killed(demo: Start, scratch: Path) -> None:
    process = demo("--seconds", 600, "--profiles", "one,two")
    wait_until_they_work(process)
    process.kill()
    process.communicate(timeout=AT_MOST_S)

    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        stop=tenacity.stop_after_delay(AT_MOST_S),
        wait=tenacity.wait_fixed(0.05),
        reraise=True,
    ):
        with attempt:
            assert_nothing_left(scratch)


@pytest.mark.parametrize("profiles", ["", "bingge,../bingge"])
def test_a_name_that_no_profile_can_have_is_wrong_usage(demo: Start, scratch: Path, profiles: str) -> None:
    process = demo("--profiles", profiles)
    _, err = process.communicate(timeout=AT_MOST_S)

    assert process.returncode == 2
    assert "cannot name a profile" in err
    assert_nothing_left(scratch)


def test_a_folder_that_holds_something_is_not_played_in(demo: Start, scratch: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter").write_text("dear", encoding="utf-8")
    process = demo("--keep", mine)
    _, err = process.communicate(timeout=AT_MOST_S)

    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "not an empty folder" in err
    assert os.listdir(mine) == ["letter"]
    assert_nothing_left(scratch)
