"""``kanban``: exit codes, one sentence and no traceback, and JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.paths import BoardPaths
from tests.unit.verbs import Shell

MISSING = "t_0123456789abcdef"


@pytest.fixture
def task_id(home: str) -> str:
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("a task")
        gateway.sync()
    return task_id


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--profile", "Bad Name", "create", "x"), 2, "cannot name a profile"),
        (("--board", "../x", "list"), 2, "cannot name a board"),
        (("--board", "typo", "list"), 3, "no board named typo"),
        (("create", "x"), 2, "kanban --profile NAME create"),
        (("list",), 3, "There is no board"),
        (("--profile", "amy", "create", ""), 2, "cannot be written"),
        (("--profile", "amy", "complete", MISSING, "--metadata", "{nonsense"), 2, "not JSON"),
        (("--profile", "amy", "complete", MISSING, "--metadata", "[]"), 2, "a JSON object is needed"),
        (("--profile", "amy", "complete", MISSING, "--metadata", "[" * 100_000), 2, "not JSON"),
        (("--profile", "amy", "claim", "t_"), 2, "is not a task id"),
        (("--profile", "amy", "claim", MISSING), 1, "There is no task"),
    ],
)
def test_bad_input(kanban, failed, words: tuple[str, ...], code: int, said: str) -> None:
    """One sentence, the right exit code; with ``--json`` also one JSON object, on a board that is not there yet."""
    assert said in failed(kanban(*words), code)
    as_json = kanban(*words, "--json")
    assert said in failed(as_json, code)
    answer = json.loads(as_json.stdout)
    assert (answer["ok"], said in answer["message"]) == (False, True)


@pytest.mark.parametrize(
    "words",
    [
        ("no-such-verb",),
        ("list", "--status", "nonsense"),
        ("list", "--limit", "0"),
        ("--profile", "amy", "claim"),
        ("--profile", "amy", "claim", MISSING, "--next"),
        ("--profile", "amy", "edit", MISSING),
        ("--profile", "amy", "create", "x", "--max-runtime", "soon"),
        ("--profile", "amy", "create", "x", "--max-runtime", "²"),
        ("--profile", "amy", "create", "x", "--max-runtime", "9" * 5_000),
        ("--profile", "amy", "complete", MISSING, "--run", str(2**70)),
        ("list", "--limit", str(2**70)),
        ("watch", "--after", str(2**70)),
    ],
)
def test_wrong_usage(kanban, words: tuple[str, ...]) -> None:
    ended = kanban(*words)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "Usage:" in ended.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("crate", "x"), "No such command 'crate'. Did you mean 'create'?"),
        (("create", "x", "--profile", "amy"), "--profile stands before the verb: kanban --profile NAME create …"),
        (("create", "x", "-p", "amy"), "-p stands before the verb: kanban -p NAME create …"),
        (("list", "--home", "x"), "--home stands before the verb: kanban --home DIR list …"),
        (("boards", "list", "--board", "x"), "kanban --board SLUG boards list …"),
        (("list", "--nonsense"), "No such option '--nonsense'"),
    ],
)
def test_what_may_have_been_meant(shell: Shell, words: tuple[str, ...], hint: str) -> None:
    assert hint in shell.refuses(2, *words, profile=None)


def test_help_says_whole_sentences(shell: Shell) -> None:
    assert "..." not in shell.says("--help").partition("Commands:")[2]


def test_a_body_that_is_too_large(home: str, failed) -> None:
    """Handed in by a program: the shell itself takes no argument of this size."""
    script = (
        "import sys; from kanban_shards.cli.main import main; main(sys.argv[1:] + ['--body', 'x' * 2**21], 'kanban')"
    )
    words = ("--home", home, "--profile", "amy", "create", "x")
    ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert "body is longer than 1048576 characters" in failed(ended, 2)


def test_a_cycle(home: str, kanban, failed, task_id: str) -> None:
    with Gateway("amy", home=home) as gateway:
        child = gateway.create("child", parents=[task_id])
    refused = kanban("--profile", "bob", "link", child, task_id, "--json")
    assert "wait for each other" in failed(refused, 1)
    assert json.loads(refused.stdout)["error"] == "cycle"


def test_a_lost_race(kanban, failed, task_id: str) -> None:
    """Whoever claims second is told who won, also by a program's JSON."""
    assert json.loads(kanban("--profile", "amy", "claim", task_id, "--json").stdout)["run"]["profile"] == "amy"
    late = kanban("--profile", "bob", "claim", task_id, "--json")
    assert "by amy" in failed(late, 1)
    assert json.loads(late.stdout)["error"] == "wrong_status"


def test_a_task_from_its_making_to_its_end(kanban, task_id: str) -> None:
    """Each verb's ``--json`` is one JSON value, and its exit code is 0."""
    second = json.loads(kanban("-p", "amy", "create", "second", "--parent", task_id, "--json").stdout)["id"]
    verbs = (
        ("-p", "amy", "edit", task_id, "--title", "☂", "--json"),
        ("-p", "amy", "assign", task_id, "bob", "--json"),
        ("-p", "amy", "comment", task_id, "two", "words", "--json"),
        ("-p", "amy", "unlink", task_id, second, "--json"),
        ("-p", "amy", "link", task_id, second, "--json"),
        ("-p", "amy", "notify-subscribe", task_id, "--platform", "telegram", "--chat-id", "1", "--json"),
        ("-p", "bob", "claim", "--next", "--json"),
        ("-p", "bob", "heartbeat", task_id, "--note", "half", "--json"),
        ("-p", "bob", "block", task_id, "no", "key", "--kind", "needs_input", "--json"),
        ("-p", "bob", "unblock", task_id, "--json"),
        ("-p", "bob", "complete", task_id, "--result", "r", "--metadata", '{"a": 1}', "--json"),
        ("-p", "amy", "notify-unsubscribe", task_id, "--platform", "telegram", "--chat-id", "1", "--json"),
        ("notify-list", "--json"),
        ("runs", task_id, "--json"),
        ("stats", "--json"),
        ("list", "--json"),
        ("show", task_id, "--json"),
    )
    for words in verbs:
        ended = kanban(*words)
        assert (ended.returncode, ended.stderr) == (0, ""), (words, ended)
        value = json.loads(ended.stdout)
    assert (value["task"]["status"], value["task"]["title"], value["children"]) == ("done", "☂", [second])
    assert value["comments"][0]["body"] == "two words"


def test_several_tasks_at_once(kanban, task_id: str) -> None:
    """One refused among several: the others go on, and the exit code says that one was refused."""
    ended = kanban("-p", "amy", "complete", task_id, MISSING, "--json")
    assert ended.returncode == 1
    assert [each["ok"] for each in json.loads(ended.stdout)] == [True, False]


@pytest.mark.parametrize("name", ["kanban.amy.db", "kanban.db"])
def test_a_newer_file(home: str, kanban, failed, task_id: str, name: str) -> None:
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version=99')"
    subprocess.run([sys.executable, "-c", script, Path(home, name)], check=True)
    assert "made by a newer version" in failed(kanban("-p", "amy", "create", "x"), 3)


def test_a_home_that_is_a_file(tmp_path: Path, kanban, failed) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        ended = kanban("-p", "amy", "create", "x", home=home)
        assert ended.returncode in (2, 3)
        assert "Traceback" not in ended.stderr
        assert str(home) in ended.stderr


@pytest.mark.parametrize("writable", [True, False], ids=["made", "empty"])
def test_a_folder_that_cannot_be_written(failed, writable: bool) -> None:
    """Who may only read is told so, whether or not the board is there already."""
    with tempfile.TemporaryDirectory() as folder:
        if writable:
            with Gateway("amy", home=folder) as gateway:
                gateway.create("a task")
        os.chmod(folder, 0o500)
        words = [sys.executable, "-m", "kanban_shards", "--home", folder, "--profile", "amy", "create", "x", "--json"]
        ended = subprocess.run([*_without_privileges(), *words], capture_output=True, text=True)
        os.chmod(folder, 0o700)
        code, error = (4, "Undecided") if writable else (3, "CannotOpen")  # the shard that is there can be written
        assert "cannot be opened" in failed(ended, code)
        assert json.loads(ended.stdout)["error"] == error


@pytest.mark.parametrize("verb", [("list",), ("--profile", "amy", "create", "x"), ("show", MISSING)])
@pytest.mark.parametrize("board", ["default", "named"])
def test_a_folder_that_cannot_be_looked_into(failed, board: str, verb: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0)
        environ = {**os.environ, "HERMES_HOME": folder}
        ended = []
        for said in ((), ("--home", folder)):
            words = [*_without_privileges(), sys.executable, "-m", "kanban_shards", *said, "--board", board, *verb]
            ended.append(subprocess.run(words, capture_output=True, text=True, env=environ))
        os.chmod(folder, 0o700)
    assert ["(permission denied)" in failed(each, 3) for each in ended] == [True, True]


def test_a_full_disk(tmp_path: Path, kanban, kanban_merge, failed) -> None:
    """One sentence on each write; what is there stays readable and clean; with space again, the next write works."""
    with _small_disk(tmp_path / "disk") as disk:
        first = json.loads(kanban("-p", "amy", "create", "first", "--json", home=disk).stdout)["id"]
        filler = _fill(disk)
        for profile, code in (("amy", (3, 4)), ("bob", (3, 4))):
            for _ in range(2):
                ended = kanban("-p", profile, "create", "x", "--body", "y" * 100_000, "--json", home=disk)
                assert ended.returncode in code, ended
                assert len(ended.stderr.splitlines()) == 1, ended.stderr
                assert "is full" in json.loads(ended.stdout)["message"]
        assert [task["id"] for task in json.loads(kanban("list", "--json", home=disk).stdout)] == [first]
        filler.unlink()
        last = json.loads(kanban("-p", "amy", "create", "last", "--json", home=disk).stdout)["id"]
        assert {first, last} <= {task["id"] for task in json.loads(kanban("list", "--json", home=disk).stdout)}
        assert kanban_merge("verify", home=disk).returncode == 0


def test_a_new_board_on_a_full_disk(tmp_path: Path, kanban, kanban_merge, failed) -> None:
    """Nothing is half made: with space again, the same call makes the board."""
    with _small_disk(tmp_path / "disk") as disk:
        filler = _fill(disk)
        for ended in (
            kanban("-p", "amy", "create", "x", home=disk),
            kanban("init", home=disk),
            kanban_merge("--once", home=disk),
        ):
            assert "is full" in failed(ended, 3)
        filler.unlink()
        assert kanban("-p", "amy", "create", "x", home=disk).returncode == 0
        assert kanban_merge("verify", home=disk).returncode == 0


def test_what_dead_processes_left_hinders_nobody(paths: BoardPaths, kanban, task_id: str) -> None:
    """A note of a dead process in a lock file, a lock file without a holder, a socket that nobody listens to."""
    note = {"pid": 2**22 + 1, "host": "gone", "role": "daemon", "since_ms": 0}
    for lock in (paths.coordinator_lock, paths.shard_lock("amy"), paths.shard_lock("bob")):
        lock.write_text(json.dumps(note))
    script = (
        "import os, sys; from pathlib import Path; from kanban_shards.bell import Bell; "
        "bell = Bell(Path(sys.argv[1])); "
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, paths.coordinator_bell])
    for profile in ("amy", "bob"):
        ended = kanban("-p", profile, "create", "x")
        assert (ended.returncode, ended.stderr) == (0, "")


class _small_disk:
    """A disk of 2 MiB. Needs the right to mount one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Path:
        self._folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", self._folder]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user may not mount a disk to fill")
        return self._folder

    def __exit__(self, *exc_info: object) -> None:
        subprocess.run(["umount", self._folder], check=True)


def _fill(disk: Path) -> Path:
    """Write until nothing fits; returns the file that takes the space."""
    filler = disk / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space left"):
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)
    return filler


def _without_privileges() -> list[str]:
    """What to put before a command so that file permissions hold for it, although these tests may run as root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("permissions do not hold for root, and setpriv is not installed")
    return ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]


def test_what_others_wrote_does_not_draw_on_a_terminal(kanban) -> None:
    """Escape sequences in titles, bodies, comments and results reach nobody's terminal, and JSON has them whole."""
    evil = "\x1b]0;title\x07\x1b[2J\x1b[31m"
    task_id = json.loads(kanban("-p", "amy", "create", f"a{evil}b", "--body", f"c{evil}\nd", "--json").stdout)["id"]
    kanban("-p", "amy", "comment", task_id, f"e{evil}\nf")
    kanban("-p", "amy", "complete", task_id, "--result", f"g{evil}", "--summary", evil)
    for words in (("show", task_id), ("context", task_id), ("list",), ("runs", task_id), ("stats",)):
        said = kanban(*words).stdout
        assert "\x1b" not in said and "\x07" not in said, words
    assert "c" in kanban("show", task_id).stdout and "\nd" in kanban("show", task_id).stdout
    assert json.loads(kanban("show", task_id, "--json").stdout)["task"]["body"] == f"c{evil}\nd"


def test_a_home_that_is_no_name(kanban, failed) -> None:
    """A variable that is not set must not make a board of the present folder."""
    ended = kanban("-p", "amy", "create", "x", home="")
    assert ended.returncode == 2
    assert "it is empty" in ended.stderr


def test_a_reader_that_has_seen_enough(home: str) -> None:
    """Nothing is said, what was asked for is done, and that the pipe was closed is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "kanban_shards", "--home", home, "--profile", "amy", "create", "x"]
    ended = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")
    with Board.open(home=home) as board:
        assert [task.title for task in board.tasks()] == ["x"]


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_where_none_is_wanted(home: str, variable: dict[str, str]) -> None:
    script = (
        "import pty, sys; "
        "pty.spawn([sys.executable, '-m', 'kanban_shards', '--home', sys.argv[1], 'show', 't_0123456789abcdef'])"
    )
    environ = {**os.environ, **variable}
    ended = subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, env=environ)
    assert "kanban: " in ended.stdout
    assert "\x1b" not in ended.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("-p", "amy", "claim"), ("create",), ("list", "--nope"), ("frobnicate",), ("--nope", "list"),
        ("-p", "amy", "schedule", "t_0123456789abcdef", "--in", "soon"),
    ],
)  # fmt: skip
def test_wrong_usage_is_json_too(kanban, words: tuple[str, ...]) -> None:
    ended = kanban(*words, "--json")
    told = json.loads(ended.stdout)
    assert (ended.returncode, told["ok"]) == (2, False)
    assert told["error"] in ("UsageError", "NoProfile")
    assert told["message"] in ended.stderr
