"""A power cut at any moment, and a kill -9 between any two system calls: nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.powercut.__main__ import recorded
from tests.powercut.cuts import cut_at_answers, cut_at_random, kill_at, kill_points
from tests.powercut.disk import EVERYTHING, NOTHING, SOME, TORN, Disk
from tests.powercut.recording import Step

IMAGES = 120
KILLS = 30
SEED = 20
# Where the first page of a new board is written under a journal, of which a kill once left a board that nobody opened.
KILL_LEFT_A_JOURNAL = "kanban.db-journal"


def _traces() -> bool:
    """Whether strace is here and may trace: in some containers it may not."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


needs_strace = pytest.mark.skipif(
    not _traces(), reason="strace is not here, or may not trace; it records what is asked"
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Step], Path]:
    """What the workload asked of the disk, and of which folder."""
    root = tmp_path_factory.mktemp("recorded") / "root"
    return recorded(root), root


@needs_strace
def test_no_cut_loses_or_damages_anything(recording: tuple[list[Step], Path], tmp_path: Path) -> None:
    steps, root = recording
    cuts = cut_at_random(steps, root, tmp_path / "image", IMAGES, random.Random(SEED))
    assert not cuts.problems, f"{cuts.problems}; again: python -m tests.powercut --images {IMAGES} --seed {SEED}"
    assert cuts.images.keys() == {NOTHING, EVERYTHING, SOME, TORN}


@needs_strace
def test_what_was_told_is_kept_at_once(recording: tuple[list[Step], Path], tmp_path: Path) -> None:
    """Each answer, and each folder's name that it promises: the first backup, a board put away, given back, adopted."""
    steps, root = recording
    cuts = cut_at_answers(steps, root, tmp_path / "image")
    assert not cuts.problems, cuts.problems
    assert cuts.images[NOTHING] > 40


@needs_strace
def test_no_kill_between_two_calls_does(recording: tuple[list[Step], Path], tmp_path: Path) -> None:
    """``python -m tests.powercut --kill`` kills at each; here at some, and at those where it once did."""
    steps, root = recording
    points = random.Random(SEED).sample(kill_points(steps), KILLS)
    points += [at for at in kill_points(steps) if at and steps[at - 1].path.name == KILL_LEFT_A_JOURNAL]
    points += [at + 1 for at in points if at < len(steps)]
    cuts = kill_at(sorted(points), steps, root, tmp_path / "image")
    assert not cuts.problems, cuts.problems


@needs_strace
def test_without_syncs_the_same_cuts_find_damage(tmp_path: Path) -> None:
    """Else the images would prove nothing."""
    root = tmp_path / "recorded" / "root"
    cuts = cut_at_random(recorded(root, "OFF"), root, tmp_path / "image", IMAGES // 3, random.Random(SEED))
    assert len(cuts.problems) > IMAGES // 10


@needs_strace
def test_the_command_says_what_it_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.powercut", "--images", "5", "--seed", "3"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "opened 5 images" in done.stdout
    assert "problems: 0" in done.stdout


ROOT = Path("/root")
FILE, OTHER = ROOT / "file", ROOT / "other"


def _image(style: str, *steps: Step, seed: int = 1) -> dict[str, bytes | None]:
    disk = Disk(ROOT)
    for step in steps:
        disk.take(step)
    return {str(path): content for path, content in disk.image(random.Random(seed), style).items()}


def test_a_name_is_kept_when_its_folder_is_synced() -> None:
    written = [Step("create", FILE), Step("write", FILE, data=b"abc", offset=0), Step("sync", FILE)]
    assert _image(NOTHING, *written) == {}
    assert _image(NOTHING, *written, Step("sync", ROOT)) == {"file": b"abc"}
    assert _image(EVERYTHING, *written) == {"file": b"abc"}


def test_a_rename_is_whole() -> None:
    steps = [Step("create", FILE), Step("create", OTHER), Step("write", OTHER, data=b"new", offset=0),
             Step("sync", OTHER), Step("sync", ROOT), Step("rename", OTHER, FILE)]  # fmt: skip
    seen = {tuple(sorted(_image(SOME, *steps, seed=seed).items())) for seed in range(20)}
    assert seen == {(("file", b""), ("other", b"new")), (("file", b"new"),)}


def test_what_is_moved_to_another_folder() -> None:
    """It is in one of the two or in both; and in neither only if the one that it left was synced first."""
    folder = ROOT / "folder"
    steps = [Step("mkdir", folder), Step("create", FILE), Step("sync", ROOT), Step("rename", FILE, folder / "file")]
    seen = {tuple(sorted(_image(SOME, *steps, seed=seed))) for seed in range(30)}
    assert seen == {("file", "folder"), ("file", "folder", "folder/file"), ("folder", "folder/file")}
    assert set(_image(NOTHING, *steps, Step("sync", folder), Step("sync", ROOT))) == {"folder", "folder/file"}
    assert set(_image(NOTHING, *steps, Step("sync", ROOT))) == {"folder"}


def test_what_is_synced_stays_and_the_rest_is_torn() -> None:
    steps = [Step("create", FILE), Step("sync", ROOT), Step("write", FILE, data=b"a" * 2048, offset=0),
             Step("sync", FILE), Step("write", FILE, data=b"b" * 1024, offset=256)]  # fmt: skip
    seen = {_image(TORN, *steps, seed=seed)["file"] for seed in range(50)}
    assert all(len(content) == 2048 and content[:256] == b"a" * 256 for content in seen)
    assert {content[256:1280].count(b"b") for content in seen} >= {0, 256, 512, 1024}
    assert _image(NOTHING, *steps) == {"file": b"a" * 2048}


def test_a_truncation_may_be_lost() -> None:
    steps = [Step("create", FILE), Step("sync", ROOT), Step("write", FILE, data=b"abcd", offset=None),
             Step("sync", FILE), Step("truncate", FILE, offset=2)]  # fmt: skip
    assert {_image(SOME, *steps, seed=seed)["file"] for seed in range(20)} == {b"abcd", b"ab"}
