"""``kanban-merge hermes``: an unmodified Hermes works on our boards, and goes back; at any step it may be killed.

Its environment is real, and so is the bridge that it loads; its Hermes has no more than the signatures of a release.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator import processes
from kanban_shards.coordinator.hermes import installation, startfiles
from kanban_shards.coordinator.hermes.interpreters import hermes_of
from kanban_shards.coordinator.hermes.record import RECORD, recorded
from kanban_shards.coordinator.hermes.startfiles import CONTENT
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from tests import forks
from tests.legacy import legacy_rows, rows_of, write_legacy
from tests.unit.coordinator.hermes.environments import add_us, connects, make, site_of

HOLDING = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print(1, flush=True)
input()
"""


class Home:
    """A Hermes home with two boards that Hermes wrote, and the environment of its Hermes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.other = BoardPaths.of(self.home, "other")
        self.other.folder.mkdir(parents=True)
        self.python = make(folder / "venv")
        for seed, file in enumerate((self.home / "kanban.db", self.other.board)):
            tables = legacy_rows(random.Random(seed), ("ann", "bob"), wrong=False).tables
            write_legacy(file, {**tables, "task_attachments": []})  # whose files are nowhere

    def command(self, *words: str) -> subprocess.CompletedProcess:
        environ = {"PATH": f"{self.python.parent}:{os.environ['PATH']}", "HOME": str(self.folder)}
        return merge("--home", self.home, "hermes", *words, env=environ)

    def done(self, *words: str) -> dict:
        ended = self.command(*words, "--json")
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return json.loads(ended.stdout)

    def titles(self) -> dict[str, str]:
        """What whoever opens the boards finds there, by copies of them."""
        look = self.folder / "look"
        shutil.copytree(self.home, look)
        try:
            files = (look / "kanban.db", BoardPaths.of(look, "other").board)
            return {dict(row)["id"]: dict(row)["title"] for file in files for row in rows_of(file)["tasks"]}
        finally:
            shutil.rmtree(look)

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for folder in (self.home, site_of(self.folder / "venv"))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(("-shm", "-wal"))
        }

    @property
    def is_bridged(self) -> bool:
        return connects(self.python) == "ours"


def merge(*words: object, **how) -> subprocess.CompletedProcess:
    return forks.python("-m", "kanban_shards.coordinator", *words, **how)


@pytest.fixture
def hermes(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_there_and_back_with_everything_that_happened_since(hermes: Home) -> None:
    before = hermes.titles()
    said = hermes.done("install")
    assert [(board["slug"], board["was"], board["error"]) for board in said["boards"]] == [
        ("default", "hermes", None),
        ("other", "hermes", None),
    ]
    assert said["changed"] == [str(site_of(hermes.folder / "venv"))]
    assert said["service"].endswith("service install --all-boards")
    assert hermes.is_bridged
    assert hermes.titles() == before
    made = {}
    for slug in ("default", "other"):
        with Gateway("ann", home=hermes.home, board=slug) as gateway:
            made[gateway.create("since then")] = "since then"
    said = hermes.done("uninstall")
    assert all(board["set_aside"] for board in said["boards"])
    assert not hermes.is_bridged
    (found,) = hermes.done("status", "--python", str(hermes.python))["hermes"]
    assert (found["state"], found["problem"]) == ("on its own boards", None), "what was wanted is no problem"
    assert hermes.titles() == before | made
    assert not (hermes.home / RECORD).exists()


def test_again_changes_nothing(hermes: Home) -> None:
    for verb in ("install", "uninstall"):
        hermes.done(verb)
        before = hermes.files()
        said = hermes.done(verb)
        assert said["changed"] == []
        assert hermes.files() == before


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_dry_run_writes_nothing(hermes: Home, verb: str) -> None:
    if verb == "uninstall":
        hermes.done("install")
    before = hermes.files()
    said = hermes.done(verb, "--dry-run")
    assert said["dry_run"] and said["changed"] == []
    ended = hermes.command(verb, "--dry-run")
    assert "nothing was changed" in ended.stdout
    assert "would be" in ended.stdout
    assert hermes.files() == before


# What names or removes a file, by whom it is called.
STEPS = ((os, "rename"), (os, "link"), (os, "unlink"), (Path, "rename"))


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_killed_before_any_step_either_command_finishes(
    hermes: Home, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In forks of this process, which take a tenth of the time. That nobody has the boards open is not looked at."""
    monkeypatch.setattr(installation, "_prove", lambda environment, with_start_files: None)
    monkeypatch.setattr(processes, "holders_of", lambda paths, where: [])
    environment, before = hermes_of(hermes.python), hermes.titles()
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))

    def call(name: str) -> installation.Done:
        if name == "install":
            return installation.install(environment, hermes.home)
        return installation.uninstall([environment], hermes.home)

    if verb == "uninstall":
        call("install")
    kept, site = tmp_path / "kept", environment.site
    shutil.copytree(hermes.home, kept)
    bridged = startfiles.look(site) == startfiles.IN_PLACE
    for step in range(1, 80):
        shutil.rmtree(hermes.home)
        shutil.copytree(kept, hermes.home)
        startfiles.write(site) if bridged else startfiles.remove(site)
        code = killed_before(step, lambda: call(verb))
        assert hermes.titles() == before, f"killed before step {step}"
        if code == 0:
            break
        assert code == 9
        finishing = verb if step % 3 else {"install": "uninstall", "uninstall": "install"}[verb]
        done = call(finishing)
        assert [board.trouble for board in done.boards] == [None, None], f"killed before step {step}"
        assert hermes.titles() == before, f"killed before step {step}"
        in_place = startfiles.look(site) == startfiles.IN_PLACE
        assert in_place == (finishing == "install") and startfiles.any_in(site) == in_place
        for board in done.boards:
            if finishing == "install":
                assert verify(board.paths).clean
            else:
                beside = {path.name for path in board.paths.folder.glob("*.db")}
                assert beside == {"kanban.db"}, f"killed before step {step}"
                assert not (board.paths.folder / "kanban-adopting").exists()
    else:
        raise AssertionError("it has more steps than were tried")
    assert step > 10
    assert list(copies.iterdir()) == [], "no copy of the board lies where no later command removes it"


def killed_before(step: int, call: Callable[[], object]) -> int:
    """The exit code of a process that makes the call, and dies before the step with that number: 9, or 0 at its end."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        left = iter(range(step - 1, -1, -1))
        for owner, name in STEPS:
            setattr(owner, name, dying(getattr(owner, name), left))
        call()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def dying(step: Callable, left: Iterator[int]) -> Callable:
    def replaced(*given, **named):
        if next(left) == 0:
            os._exit(9)
        return step(*given, **named)

    return replaced


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE)
    try:
        for _ in range(500):
            if Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(os.fsencode(str(words[0]))):
                break
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list processes")


@linux
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_while_hermes_runs_nothing_is_changed(hermes: Home, verb: str) -> None:
    if verb == "uninstall":
        hermes.done("install")
    before = hermes.files()
    with running(hermes.python, hermes.python.with_name("hermes"), "gateway", "run") as process:
        ended = hermes.command(verb)
    assert ended.returncode == 1
    assert f"Hermes runs in {process.pid} (" in ended.stderr
    assert "Nothing was changed" in ended.stderr
    assert hermes.files() == before


@linux
def test_a_gateway_of_another_environment_is_found_by_its_lock(hermes: Home) -> None:
    """Hermes holds it for the gateway's lifetime, in the home of the profile."""
    folder = hermes.home / "profiles" / "bingge"
    folder.mkdir(parents=True)
    words = [sys.executable, "-c", HOLDING, folder / "gateway.lock"]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
        ended = hermes.command("install")
        assert ended.returncode == 1
        assert f"Hermes runs in {holder.pid} (" in ended.stderr
    finally:
        holder.kill()
        holder.communicate()


@linux
def test_a_daemon_and_other_programs_of_that_environment_are_no_hermes(hermes: Home) -> None:
    with running(hermes.python, "-m", "kanban_shards.coordinator", "--home", hermes.folder / "x", "daemon"):
        assert hermes.command("install").returncode == 0


@linux
def test_a_process_that_began_before_is_named(hermes: Home) -> None:
    """It has not loaded the bridge, and never will."""
    hermes.done("install")
    with running(hermes.python, hermes.python.with_name("hermes"), "chat") as process:
        for name in CONTENT:  # as if it had been overlooked
            os.utime(site_of(hermes.folder / "venv") / name, (time.time() + 10, time.time() + 10))
        ended = hermes.command("status")
        assert ended.returncode == 6
        assert f"was bridged after {process.pid} (" in ended.stdout


def test_without_this_program_there_the_command_that_brings_it_is_said(tmp_path: Path) -> None:
    hermes = Home(tmp_path)
    shutil.rmtree(tmp_path / "venv")
    make(tmp_path / "venv", with_us=False)
    before = hermes.files()
    ended = hermes.command("install")
    assert ended.returncode == 1
    assert "kanban-shards is not installed where Hermes is" in ended.stderr
    assert f"uv pip install --python {hermes.python} " in ended.stderr
    assert hermes.files() == before
    add_us(tmp_path / "venv")
    hermes.done("install")


@pytest.mark.parametrize("version", ["0.15.2", "0.20.0"])
def test_an_unknown_hermes_is_refused(tmp_path: Path, version: str) -> None:
    hermes = Home(tmp_path)
    shutil.rmtree(tmp_path / "venv")
    make(tmp_path / "venv", version)
    before = hermes.files()
    ended = hermes.command("install")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"Hermes {version} in {tmp_path / 'venv'} cannot work on boards of kanban-shards" in ended.stderr
    assert hermes.files() == before


def test_what_fails_there_leaves_all_as_it_was(hermes: Home) -> None:
    """A Hermes whose module cannot be loaded, and one whose Python does not read start files."""
    site = site_of(hermes.folder / "venv")
    source = (site / "hermes_cli" / "kanban_db.py").read_text()
    (site / "hermes_cli" / "kanban_db.py").write_text(f"{source}\nraise ImportError('no such toolset')\n")
    before = hermes.files()
    ended = hermes.command("install")
    assert ended.returncode == 1
    assert "ImportError: no such toolset" in ended.stderr
    assert "Nothing was changed" in ended.stderr
    assert hermes.files() == before
    (site / "hermes_cli" / "kanban_db.py").write_text(source)
    (site / "zz.pth").write_text(
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'Finder']\n"
    )
    before = hermes.files()
    ended = hermes.command("install")
    assert ended.returncode == 1
    assert "KANBAN_SHARDS" in ended.stderr
    assert hermes.files() == before


def test_one_board_hinders_no_other(hermes: Home) -> None:
    (hermes.home / "kanban.ann.db").write_bytes(b"")  # of another board, so that the default one is not adopted
    ended = hermes.command("install", "--json")
    assert ended.returncode == 6
    first, second = json.loads(ended.stdout)["boards"]
    assert (first["error"], second["error"]) == ("OthersThere", None)
    assert hermes.is_bridged
    assert BoardPaths.of(hermes.home, "other").ledger.exists()
    ended = hermes.command("install")
    assert ended.returncode == 6
    assert "then repeat this command" in ended.stdout
    (hermes.home / "kanban.ann.db").unlink()
    assert [board["was"] for board in hermes.done("install")["boards"]] == ["hermes", "ours"]


def test_what_cannot_go_back_keeps_hermes_bridged(hermes: Home) -> None:
    hermes.done("install")
    with Gateway("ann", home=hermes.home, board="other") as gateway:
        gateway.create("since then")
    shard = hermes.other.shard("ann")
    shard.rename(shard.with_name("elsewhere"))
    shutil.copy(hermes.other.ledger, shard)  # no shard of ann's
    ended = hermes.command("uninstall", "--json")
    assert ended.returncode == 6, ended.stdout
    assert [board["error"] for board in json.loads(ended.stdout)["boards"]] == [None, "NotMerged"]
    assert hermes.is_bridged, "a plain Hermes would open a board that is ours"
    shard.unlink()
    shard.with_name("elsewhere").rename(shard)
    hermes.done("uninstall")
    assert not hermes.is_bridged


def test_a_home_without_a_board_yet(hermes: Home) -> None:
    shutil.rmtree(hermes.home)
    hermes.home.mkdir()
    assert [board["was"] for board in hermes.done("install")["boards"]] == ["none yet"]
    assert hermes.is_bridged
    assert not (hermes.home / "kanban.db").exists()
    hermes.done("uninstall")


def test_two_environments_of_one_home_go_together(hermes: Home) -> None:
    second = make(hermes.folder / "second", "0.18.2")
    hermes.done("install")
    hermes.done("install", "--python", str(second))
    assert {each["version"]: each["state"] for each in hermes.done("status")["hermes"]} == {
        "0.19.0": "active",
        "0.18.2": "active",
    }
    hermes.done("uninstall")
    assert [connects(python) for python in (hermes.python, second)] == ["upstream", "upstream"]


@pytest.mark.parametrize(
    ("harm", "state", "advice"),
    [
        ("pth", "files missing", "hermes install --python"),
        ("other", "other version", "writes them anew"),
        ("package", "package missing", "run `uv pip install"),
        ("hermes", "unknown Hermes", "which knows 0.16 to 0.19"),
        ("function", "unknown Hermes", "functions that are not those of that release (add_comment)"),
        ("unreadable", "unknown Hermes", "cannot be read"),
    ],
)
def test_status_and_doctor_say_what_is_wrong_with_a_bridge(hermes: Home, harm: str, state: str, advice: str) -> None:
    hermes.done("install")
    assert hermes.done("status")["hermes"][0]["problem"] is None
    site = site_of(hermes.folder / "venv")
    package = site / "hermes_cli"
    if harm == "pth":
        (site / "kanban-shards-hermes.pth").unlink()
    elif harm == "other":
        (site / "kanban-shards-hermes.pth").write_text("import kanban_shards.hermes.elsewhere\n")
    elif harm == "package":
        shutil.rmtree(site / "kanban_shards-0.1.0.dist-info")
    elif harm == "hermes":
        (package / "__init__.py").write_text('__version__ = "0.20.0"\n')
    elif harm == "function":
        source = (package / "kanban_db.py").read_text()
        (package / "kanban_db.py").write_text(source.replace("def add_comment(conn, ", "def add_comment("))
    else:
        (package / "__init__.py").unlink()
        os.mkfifo(package / "__init__.py")
    ended = hermes.command("status", "--json")
    assert ended.returncode == 6
    (found,) = json.loads(ended.stdout)["hermes"]
    assert found["state"] == state
    assert advice in found["problem"]
    assert advice in hermes.command("status").stdout
    if harm == "function":
        return  # which takes reading the whole module
    for verb in ("status", "doctor"):
        told = merge("--home", hermes.home, verb, "--json")
        assert told.returncode == 6
        findings = json.loads(told.stdout)["findings" if verb == "doctor" else "problems"]
        assert [(each["level"], advice in each["sentence"]) for each in findings if each["check"] == "hermes"] == [
            ("fault", True)
        ]


def test_an_environment_that_went_away_is_said(hermes: Home) -> None:
    hermes.done("install")
    shutil.rmtree(hermes.folder / "venv")
    said = json.loads(hermes.command("status", "--json").stdout)
    assert (said["hermes"], said["gone"]) == ([], [str(hermes.python)])
    assert "not there any more" in hermes.command("status").stdout
    make(hermes.folder / "new")
    said = hermes.done("install", "--python", str(hermes.folder / "new"))
    assert recorded(hermes.home) == [hermes.folder / "new" / "bin" / "python"]
    hermes.done("uninstall")


def test_a_record_that_somebody_else_wrote_counts_for_nothing(hermes: Home) -> None:
    strange = (
        "",
        "[",
        "{}",
        "[1, null]",
        '["relative/python"]',
        '["/no/such"]',
        '["/\\n"]',
        "[" * 999,
        '["/dev/zero"]',
    )
    for said in strange:
        (hermes.home / RECORD).write_text(said)
        assert hermes.done("status")["hermes"] == [], said
        assert hermes.done("uninstall")["changed"] == [], said
        (hermes.home / RECORD).write_text(said)
    hermes.done("install")
    hermes.done("uninstall")


def test_an_interpreter_that_somebody_else_recorded_is_not_run(hermes: Home) -> None:
    trap = make(hermes.folder / "trap")
    trap.unlink()
    trap.write_text(f"#!/bin/sh\ntouch {hermes.folder}/run\n")
    trap.chmod(0o755)
    (hermes.home / RECORD).write_text(json.dumps([str(trap)]))
    hermes.done("install")
    hermes.command("status")
    for verb in ("status", "doctor"):
        merge("--home", hermes.home, verb)
    hermes.done("uninstall")
    assert not (hermes.folder / "run").exists()


def test_what_cannot_be_meant_is_a_sentence(hermes: Home) -> None:
    for words, sentence in (
        (["install", "--python", str(hermes.folder / "no")], "No hermes-agent is installed for"),
        (["uninstall", "--python", str(hermes.home)], "No hermes-agent is installed for"),
    ):
        ended = hermes.command(*words)
        assert ended.returncode == 1
        assert sentence in ended.stderr
        assert ended.stderr.count("\n") == 1
    ended = merge("--home", hermes.home / "no", "hermes", "install")
    assert ended.returncode == 3 and not (hermes.home / "no").exists()
    environ = {**os.environ, "HERMES_HOME": str(hermes.home)}
    ended = merge("--board", "other", "hermes", "install", env=environ)
    assert ended.returncode == 2
    assert "every board of its home" in ended.stderr


def test_a_bridged_hermes_meets_a_board_of_its_own(hermes: Home) -> None:
    """As when it starts while a home is adopted or given back: it is refused, with a sentence, and changes nothing."""
    for name, said in CONTENT.items():
        (site_of(hermes.folder / "venv") / name).write_text(said)
    before = hermes.titles()
    code = "import sys, pathlib; from hermes_cli import kanban_db as kb; kb.connect(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run([hermes.python, "-c", code, hermes.other.board], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "kanban-merge" in ended.stderr.splitlines()[-1]
    assert hermes.titles() == before


def test_the_board_can_be_read_afterwards(hermes: Home) -> None:
    hermes.done("install")
    with Board.open(home=hermes.home, board="other") as board:
        assert board.tasks(include_archived=True)
