"""``kanban-merge service``: what is written, where, and that nothing of others is touched."""

from __future__ import annotations

import json
import os
import plistlib
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kanban_shards.boards import create_board, switch_board
from kanban_shards.coordinator.cli import main
from kanban_shards.coordinator.daemon.units import SIGNATURE, Service, quoted
from kanban_shards.coordinator.errors import NotOurService

STRANGE = 'a b%c $x "q" \\ ü'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where units of this user go; no systemctl is reached."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "config" / "systemd" / "user"


@pytest.fixture
def systemctl(folder: Path, tmp_path: Path) -> Path:
    """A systemctl that writes down how it was called."""
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    return calls


@pytest.mark.parametrize("user", [None, "daemon"])
@pytest.mark.parametrize("board", [None, "infra"])
@pytest.mark.parametrize("name", ["plain", STRANGE])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_it(tmp_path: Path, name: str, board: str | None, user: str | None) -> None:
    """No warning, and the command is the one that was meant, as systemd itself reads it."""
    service = Service(tmp_path / name, board, user, "linux")
    (tmp_path / name).mkdir()
    unit = tmp_path / f"{service.name}.service"
    unit.write_text(service.text)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if service.name in line]
    assert (done.returncode, ours) == (0, [])


def test_backups_are_the_daemons(tmp_path: Path) -> None:
    told = plistlib.loads(Service(tmp_path, None, None, "darwin", "6h").text.encode())
    assert told["ProgramArguments"][-2:] == ["--backup-every", "6h"]
    ended = CliRunner().invoke(main.main, ["--home", str(tmp_path), "service", "install", "--backup-every", "often"])
    assert (ended.exit_code, "is not a span of time" in ended.output) == (2, True)


def test_launchd_understands_it(tmp_path: Path) -> None:
    service = Service(tmp_path / STRANGE, None, None, "darwin")
    assert SIGNATURE in service.text
    told = plistlib.loads(service.text.encode())
    assert told["ProgramArguments"][-4:] == [str(tmp_path / STRANGE), "daemon", "--standby", "--all-boards"]
    assert (told["Label"], "UserName" in told) == (service.name, False)
    system = Service(tmp_path, "infra", "amy", "darwin")
    assert plistlib.loads(system.text.encode())["UserName"] == "amy"
    assert system.path.parent == Path("/Library/LaunchDaemons")
    assert system.starting[-1] == ["launchctl", "bootstrap", "system", str(system.path)]


@pytest.mark.parametrize(
    ("word", "spelled"),
    [("/a/b", "/a/b"), ("/a b", '"/a b"'), ("100%", "100%%"), ("", '""'), ('"\\', '"\\"\\\\"'), ("a\nb", '"a\\x0ab"')],
)
def test_quoting(word: str, spelled: str) -> None:
    assert quoted(word) == spelled


def test_each_board_has_its_own(tmp_path: Path) -> None:
    homes = [tmp_path / "one", tmp_path / "two", Path("~/.hermes").expanduser()]
    names = {Service(home, board, None).name for home in homes for board in (None, "default", "infra")}
    assert len(names) == 9
    assert {"kanban-merge", "kanban-merge-infra"} <= names


def test_install_and_uninstall(home: str, folder: Path, systemctl: Path) -> None:
    """Written, enabled and started; twice is once; and nothing is left behind."""
    for _ in range(2):
        told = json.loads(_merge(home, "install", "--all-boards", "--json").stdout)
        assert (told["installed"], told["problem"]) == (True, None)
    path = Path(told["path"])
    assert os.listdir(folder) == [path.name]
    assert path.read_text().startswith(f"# {SIGNATURE}\n")
    assert systemctl.read_text().splitlines()[:3] == [
        "--user daemon-reload",
        f"--user enable {path.name}",
        f"--user restart {path.name}",
    ]
    assert json.loads(_merge(home, "show", "--all-boards", "--json").stdout)["installed"] is True
    assert "removed" in _merge(home, "uninstall", "--all-boards").stdout
    assert f"--user disable --now {path.name}" in systemctl.read_text()
    assert os.listdir(folder) == []
    gone = _merge(home, "uninstall", "--all-boards")
    assert (gone.exit_code, "There is no service" in gone.output) == (1, True)


def test_without_a_systemctl(home: str, folder: Path) -> None:
    """It is written all the same, and the commands are there to be run by hand."""
    told = _merge(home, "install")
    assert told.exit_code == 0
    assert "there is no systemctl on this system" in told.stdout
    assert "  systemctl --user daemon-reload" in told.stdout


@pytest.mark.parametrize("verb", ["install", "uninstall", "show"])
def test_what_others_wrote_stays(home: str, folder: Path, systemctl: Path, verb: str) -> None:
    name = json.loads(_merge(home, "show", "--json").stdout)["name"]
    folder.mkdir(parents=True)
    (folder / f"{name}.service").write_text("[Service]\nExecStart=/bin/true\n")
    ended = _merge(home, verb)
    assert (ended.exit_code, "was not written by this program" in ended.output) == (3, True)
    assert "/bin/true" in (folder / f"{name}.service").read_text()
    assert not systemctl.exists()
    with pytest.raises(NotOurService):
        Service(Path(home), "default", None, "linux").remove()


def test_a_dry_run_writes_nothing(home: str, folder: Path, systemctl: Path) -> None:
    told = _merge(home, "install", "--dry-run")
    assert "Type=notify" in told.stdout
    assert not folder.exists()
    assert not systemctl.exists()


def test_wrong_words(home: str, folder: Path) -> None:
    assert "name that user with --user" in _merge(home, "install", "--system").output
    ended = _merge(home, "install", words=("--board", "x"))
    assert (ended.exit_code, "no board named x" in ended.output) == (3, True)
    assert not folder.exists()


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user called operator, on whose board a named one is the one in use."""
    home = tmp_path / "operator"
    create_board(home / ".hermes", "sprint")
    switch_board(home / ".hermes", "sprint")
    known = pwd.struct_passwd(("operator", "x", 1, 1, "", str(home), ""))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"operator": known}[name])
    monkeypatch.setattr(Service, "path", tmp_path / "etc" / "kanban-merge.service")
    monkeypatch.setenv("HOME", str(tmp_path / "root"))
    return home


def test_a_service_of_the_system_has_its_user_s_home(operator: Path, systemctl: Path, monkeypatch, tmp_path) -> None:
    """Not that of root, who installs it; unless another home is named."""
    words = ("--system", "--user", "operator")
    for given, which in ((("--all-boards",), "--all-boards"), ((), "--board sprint")):
        told = _service("install", *words, *given)
        assert told.exit_code == 0, told.output
        text = Service.path.read_text()
        assert f" --home {operator}/.hermes " in text
        assert (f"ReadWritePaths={operator}/.hermes\n" in text, which in text) == (True, True)
    default = _service("show", *words, options=("--board", "default")).output
    assert f"--home {operator}/.hermes --board default" in default
    assert "There is no board named typo" in _service("install", *words, options=("--board", "typo")).output
    other = tmp_path / "other"
    assert f"--home {other} " in _service("show", *words, options=("--home", str(other))).output
    monkeypatch.setenv("HERMES_KANBAN_DB", str(other / "kanban.db"))
    assert f"--home {other} " in _service("show", *words).output
    assert f"--home {operator}/.hermes " in _service("show", "--all-boards", *words).output
    monkeypatch.setenv("HERMES_KANBAN_HOME", str(tmp_path / "variable"))
    assert f"--home {tmp_path}/variable " in _service("show", "--all-boards", *words).output


@pytest.mark.parametrize("name", ["nobody-of-that-name", "operator\nExecStartPre=/bin/true", "a\0b", " "])
@pytest.mark.parametrize("verb", ["install", "show"])
@pytest.mark.parametrize("options", [(), ("--home", "/srv/board")])
def test_a_user_who_is_not_there(folder, tmp_path, monkeypatch, name: str, verb: str, options: tuple[str, ...]) -> None:
    monkeypatch.setattr(Service, "path", tmp_path / "kanban-merge.service")
    for more in ((), ("--all-boards",)):
        ended = _service(verb, "--system", "--user", name, *more, options=options)
        (line,) = ended.output.splitlines()
        assert (ended.exit_code, f"This system knows no user {name!r}" in line) == (2, True)
    assert not Service.path.exists()


def test_the_service_of_a_user_who_is_gone_can_be_removed(home: str, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Service, "path", tmp_path / "kanban-merge.service")
    Service.path.write_text(f"# {SIGNATURE}\n")
    assert "removed" in _merge(home, "uninstall", "--system", "--user", "nobody-of-that-name").output
    assert not Service.path.exists()


def test_a_folder_that_cannot_be_written(home: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.touch()
    ended = _merge(home, "install")
    assert (ended.exit_code, len(ended.output.strip().splitlines())) == (3, 1)


def _merge(home: str, *verb: str, words: tuple[str, ...] = ()) -> Result:
    return _service(*verb, options=("--home", home, *words))


def _service(*verb: str, options: tuple[str, ...] = ()) -> Result:
    return CliRunner().invoke(main.main, [*options, "service", *verb])
