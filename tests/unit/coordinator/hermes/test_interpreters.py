"""Which interpreter runs a ``hermes``, however it was installed, and what is told of its environment by its files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from kanban_shards.coordinator.errors import NoHermes, NoHermesThere
from kanban_shards.coordinator.hermes import interpreters
from kanban_shards.coordinator.hermes.interpreters import find, hermes_meant, hermes_of, interpreter_of
from kanban_shards.errors import HermesDiffers, HermesNotKnown, NotAFile
from tests.unit.coordinator.hermes.environments import make, site_of
from tests.unit.shards.hermes import imitation

BY_SHELL = "a path with blanks, or too long for a first line"
LAUNCHERS = {
    "pip": "#!{python}\n# -*- coding: utf-8 -*-\nimport re\n",
    "with a flag": "#!{python} -I\nimport sys\n",
    BY_SHELL: "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nimport sys\n",
    "distlib": "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\nimport sys\n",
    "the installer of Hermes": '#!/usr/bin/env bash\nunset PYTHONPATH\nunset PYTHONHOME\nexec "{script}" "$@"\n',
    "a launcher of one's own": '#!/bin/sh\nexec {python} -m hermes_cli.main "$@"\n',
}


@pytest.fixture(autouse=True)
def no_home_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    for name in ("PIPX_HOME", "UV_TOOL_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
@pytest.mark.parametrize("folder", ["venv", "with a blank/venv"])
def test_the_interpreter_of_a_hermes_on_the_path(tmp_path: Path, launcher: str, folder: str) -> None:
    if " " in folder and '"{' not in launcher:
        return  # no installer writes a path with blanks so
    python = make(tmp_path / folder)
    command = tmp_path / "bin" / "hermes"
    command.parent.mkdir()
    script = python.with_name("hermes")
    if " " in folder:
        script.write_text(LAUNCHERS[BY_SHELL].format(python=python))
    command.write_text(launcher.format(python=python, script=script))
    command.chmod(0o755)
    assert interpreter_of(command) == python
    link = tmp_path / "link"
    link.symlink_to(command)
    assert interpreter_of(link) == python
    found = hermes_meant(None, tmp_path / "home", {"PATH": str(command.parent)})
    assert (found.python, found.version) == (python, "0.19.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#!/bin/sh\necho hermes\n",
        "#!/usr/bin/perl\n",
        "\x7fELF\0\0",
        '#!/bin/sh\nexec "$HOME/bin/hermes" "$@"\n',
        "#!/usr/bin/env python3.99\n",
    ],
)
def test_a_script_that_does_not_say(tmp_path: Path, text: str) -> None:
    script = tmp_path / "hermes"
    script.write_text(text)
    assert interpreter_of(script) is None


def test_a_launcher_that_calls_itself(tmp_path: Path) -> None:
    script = tmp_path / "hermes"
    script.write_text(f'#!/bin/sh\nexec "{script}" "$@"\n')
    assert interpreter_of(script) is None
    script.unlink()
    script.symlink_to(script)
    assert interpreter_of(script) is None


def test_by_env(tmp_path: Path) -> None:
    script = tmp_path / "hermes"
    script.write_text("#!/usr/bin/env python3\n")
    found = interpreter_of(script)
    assert found is not None and found.name == "python3"


@pytest.mark.parametrize(
    "place",
    [
        "home/hermes-agent/venv",
        "nobody/.local/share/pipx/venvs/hermes-agent",
        "nobody/.local/share/uv/tools/hermes-agent",
        "nobody/.hermes/hermes-agent/venv",
    ],
)
def test_where_installers_put_it(tmp_path: Path, place: str) -> None:
    make(tmp_path / place)
    (found,) = find(tmp_path / "home", {})
    assert found.prefix == tmp_path / place


def test_that_of_the_path_comes_first_and_each_once(tmp_path: Path) -> None:
    first, second = make(tmp_path / "mine", "0.18.2"), make(tmp_path / "home/hermes-agent/venv")
    environ = {"PATH": str(first.parent)}
    assert [each.version for each in find(tmp_path / "home", environ)] == ["0.18.2", "0.19.0"]
    environ = {"PATH": str(second.parent)}
    assert [each.version for each in find(tmp_path / "home", environ)] == ["0.19.0"]


def test_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoHermes, match="--python"):
        hermes_meant(None, tmp_path, {"PATH": str(tmp_path)})
    for python in (tmp_path / "no", tmp_path, Path(sys.executable)):
        with pytest.raises(NoHermesThere, match="No hermes-agent is installed for"):
            hermes_of(python)


def test_the_folder_of_an_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "venv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nobody").mkdir()
    for said in (Path("venv"), Path("venv/bin/python"), Path("~/../venv/bin/python3")):
        found = hermes_of(said)
        assert found.site.samefile(site_of(tmp_path / "venv"))
        assert found.python_version == sys.version_info[:2]


def test_a_checkout(tmp_path: Path) -> None:
    """As Hermes's installer does it: ``pip install -e`` in the folder that ``git`` made."""
    python = make(tmp_path / "venv")
    site = site_of(tmp_path / "venv")
    imitation.make(tmp_path / "a checkout", "0.18.1")
    for file in (site / "hermes_cli").iterdir():
        file.unlink()
    said = {"url": (tmp_path / "a checkout").as_uri(), "dir_info": {"editable": True}}
    (site / "hermes_agent-0.19.0.dist-info" / "direct_url.json").write_text(json.dumps(said))
    found = hermes_of(python)
    assert (found.package, found.version) == (tmp_path / "a checkout" / "hermes_cli", "0.18.1")
    found.check()


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{}", '{"url": 3}', '{"url": "https://host/x"}', '{"url": "file:///no"}', "[", '{"url": "file:///%00"}'],
)
def test_a_checkout_that_is_none(tmp_path: Path, said: str) -> None:
    python = make(tmp_path / "venv")
    site = site_of(tmp_path / "venv")
    (site / "hermes_cli" / "kanban_db.py").unlink()
    (site / "hermes_agent-0.19.0.dist-info" / "direct_url.json").write_text(said)
    with pytest.raises(NoHermesThere):
        hermes_of(python)


def test_without_an_environment(tmp_path: Path) -> None:
    """As in an image: /usr/local/bin/python3, with packages in /usr/local/lib; and as Debian lays them out."""
    for packages in ("lib/python3.12/site-packages", "local/lib/python3.11/dist-packages"):
        prefix = tmp_path / packages.replace("/", "-")
        imitation.make(prefix / packages, "0.19.0")
        (prefix / packages / "hermes_agent-0.19.0.dist-info").mkdir()
        (prefix / "bin").mkdir()
        (prefix / "bin" / "python3").touch()
        found = hermes_of(prefix / "bin" / "python3")
        assert found.site == prefix / packages
        assert found.python_version in ((3, 12), (3, 11))


def test_the_users_own_packages(tmp_path: Path) -> None:
    site = tmp_path / "nobody/.local/lib/python3.11/site-packages"
    imitation.make(site, "0.19.0")
    (site / "hermes_agent-0.19.0.dist-info").mkdir()
    python = tmp_path / "usr/bin/python3"
    python.parent.mkdir(parents=True)
    python.touch()
    assert hermes_of(python).site == site
    (tmp_path / "usr" / "pyvenv.cfg").touch()
    with pytest.raises(NoHermesThere):
        hermes_of(python)


def test_the_command_that_brings_this_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "_requirement", lambda: "kanban-shards==0.1.0")

    def command(place: str, *more: str) -> str:
        python = make(tmp_path / place, with_us=False)
        for name in more:
            (python.parent.parent / name).mkdir(parents=True)
        return hermes_of(python).bringing_us.replace(str(tmp_path), "")

    pip = str(site_of(Path("."))) + "/pip"
    assert command("venv", pip) == "/venv/bin/python -m pip install kanban-shards==0.1.0"
    assert command("a b/venv", pip) == "'/a b/venv/bin/python' -m pip install kanban-shards==0.1.0"
    assert command("bare") == "uv pip install --python /bare/bin/python kanban-shards==0.1.0"
    assert command("pipx/venvs/hermes-agent", pip) == "pipx inject hermes-agent kanban-shards==0.1.0"
    assert command("tool", "uv-receipt.toml") == "uv tool install hermes-agent --with kanban-shards==0.1.0"


def test_what_is_installed_here_is_named_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ours:
        version = "0.7"
        said: str | None = None

        def read_text(self, name: str) -> str | None:
            return self.said

    from importlib import metadata

    monkeypatch.setattr(metadata, "distribution", lambda name: Ours())
    assert interpreters._requirement() == "kanban-shards==0.7"
    Ours.said = '{"url": "file:///home/a%20b/kanban-shards", "dir_info": {"editable": true}}'
    assert interpreters._requirement() == "/home/a b/kanban-shards"
    Ours.said = '{"url": "https://host/kanban-shards.git", "vcs_info": {}}'
    assert interpreters._requirement() == "https://host/kanban-shards.git"


def test_its_functions_are_looked_at_and_nothing_is_run(tmp_path: Path) -> None:
    python = make(tmp_path / "venv", "0.19.0", claim_task="conn")
    with pytest.raises(HermesDiffers, match="claim_task"):
        hermes_of(python).check()
    hermes_of(python).check(thorough=False)
    python = make(tmp_path / "new", "0.20.0")
    for thorough in (True, False):
        with pytest.raises(HermesNotKnown, match=r"0\.20\.0"):
            hermes_of(python).check(thorough=thorough)
    trap = site_of(tmp_path / "venv") / "hermes_cli"
    trap.joinpath("kanban_db.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    with pytest.raises(HermesDiffers):
        hermes_of(python.parents[2] / "venv").check()
    assert not (tmp_path / "run").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    make(tmp_path / "venv")
    init = site_of(tmp_path / "venv") / "hermes_cli" / "__init__.py"
    init.unlink()
    os.mkfifo(init)
    with pytest.raises(NotAFile):
        assert hermes_of(tmp_path / "venv").version
