"""Interpreters: which Python a Hermes runs in, and what lies in its environment.

Read from files, and nothing is run or imported: an environment may be named in a home that others can write, and what
is told of it is told by ``status``, too. Wherever packages lie is a folder below the interpreter's own, whether it is a
virtual environment's, an image's or a system's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote_to_bytes

from kanban_shards.coordinator.errors import NoHermes, NoHermesThere
from kanban_shards.errors import StorageError
from kanban_shards.hermes import versions
from kanban_shards.paths import expanded
from kanban_shards.storage.filesystems import beginning_of

OLDEST_PYTHON = (3, 11)
# Far more than a module of Hermes has; a launcher is much shorter.
SOURCE_BYTES = 4 * 2**20
_LAUNCHER_BYTES = 4096
# Launchers that call each other.
_LONGEST_CHAIN = 4
_PACKAGES = ("lib/python3*/site-packages", "lib/python3*/dist-packages", "local/lib/python3*/dist-packages")
_USER_PACKAGES = "lib/python3*/site-packages"
_SHEBANG = re.compile(r"#! *(/[^\n]*?/python[\d.]*) *(?:-\S+ *)?\n")
_BY_ENV = re.compile(r"#! */usr/bin/env +(python[\d.]*)")
# A path too long for a first line, or with a blank in it, as pip and uv write it.
_BY_SHELL = re.compile(r"^'''exec' +(['\"]?)(/[^\n]*?/python[\d.]*)\1 ", re.MULTILINE)
# What the installer of Hermes puts on the PATH.
_BY_LAUNCHER = re.compile(r"^ *exec +(['\"]?)(/[^\n$`]*?/(?:hermes|python[\d.]*))\1 ", re.MULTILINE)


@dataclass(frozen=True)
class HermesEnvironment:
    """A Hermes that is installed. ``python``: its interpreter; ``site``: the folder in which it is installed, where
    Python looks for start files; ``package``: its folder ``hermes_cli``, which lies elsewhere for a checkout."""

    python: Path
    site: Path
    package: Path

    @property
    def prefix(self) -> Path:
        """The environment's own folder."""
        return self.python.parent.parent

    @cached_property
    def version(self) -> str:
        """The version that its source says. Raises StorageError."""
        return versions.version_in(_source(self.package / "__init__.py"))

    @property
    def python_version(self) -> tuple[int, ...] | None:
        """Of its interpreter; None where the folders do not say."""
        found = re.search(r"/python(\d+)\.(\d+)/", self.site.as_posix())
        return tuple(map(int, found.groups())) if found else None

    @property
    def has_us(self) -> bool:
        """Whether kanban-shards is installed there, too."""
        return any(self.site.glob("kanban_shards-*.dist-info"))

    @property
    def bringing_us(self) -> str:
        """The command that installs there what is installed here."""
        what = shlex.quote(_requirement())
        if (self.prefix / "uv-receipt.toml").exists():
            return f"uv tool install hermes-agent --with {what}"
        if self.prefix.parent.name == "venvs" and self.prefix.parent.parent.name == "pipx":
            return f"pipx inject {self.prefix.name} {what}"
        if (self.site / "pip").is_dir():
            return f"{shlex.quote(str(self.python))} -m pip install {what}"
        return f"uv pip install --python {shlex.quote(str(self.python))} {what}"

    def check(self, *, thorough: bool = True) -> None:
        """Raise HermesNotKnown or HermesDiffers unless this is a Hermes that can be bridged, and StorageError if it
        cannot be read. Not ``thorough``: by its version alone."""
        if thorough:
            versions.check_source(self.version, _source(self.package / "kanban_db.py"), str(self.prefix))
        else:
            versions.differences_of(self.version, str(self.prefix))


def hermes_of(python: Path) -> HermesEnvironment:
    """The Hermes that is installed for the interpreter at ``python``, or in the virtual environment there.

    Raises NoHermesThere.
    """
    python = expanded(python).absolute()
    if python.is_dir():
        python = python / "bin" / "python"
    if python.exists():
        for site in _folders_of_packages(python):
            if package := _package_in(site):
                return HermesEnvironment(python, site, package)
    raise NoHermesThere(python=python)


def hermes_meant(python: Path | None, home: Path, environ: Mapping[str, str] = os.environ) -> HermesEnvironment:
    """The Hermes of ``python``, if that is given; else that of the command ``hermes`` on the PATH; else the first one
    that lies where an installer puts it. Raises NoHermesThere, NoHermes."""
    if python is not None:
        return hermes_of(python)
    for found in find(home, environ):
        return found
    raise NoHermes()


def find(home: Path, environ: Mapping[str, str] = os.environ) -> Iterator[HermesEnvironment]:
    """Each Hermes of this user: that of the PATH first, then those where an installer puts them; each once."""
    on_path = shutil.which("hermes", path=environ.get("PATH"))
    first = [interpreter_of(Path(on_path))] if on_path else []
    yield from existing([*filter(None, first), *_usual_places(home, environ)])


def existing(pythons: Iterable[Path]) -> Iterator[HermesEnvironment]:
    """Of these interpreters, the Hermes of each that has one; each once."""
    seen = set()
    for python in pythons:
        with suppress(NoHermesThere, OSError):
            found = hermes_of(python)
            if found.site not in seen:
                seen.add(found.site)
                yield found


def interpreter_of(script: Path) -> Path | None:
    """The interpreter that runs the script, by its first lines; None if they do not say.

    Those of pip, uv and pipx name it; the launcher of Hermes's installer names another script.
    """
    for _ in range(_LONGEST_CHAIN):
        try:
            text = beginning_of(script.resolve(), _LAUNCHER_BYTES)
        except (StorageError, OSError, RuntimeError):
            return None
        if found := _SHEBANG.match(text):
            return Path(found[1])
        if found := _BY_SHELL.search(text):
            return Path(found[2])
        if found := _BY_ENV.match(text):
            by_name = shutil.which(found[1])
            return Path(by_name) if by_name else None
        found = _BY_LAUNCHER.search(text)
        if found is None:
            return None
        if "python" in Path(found[2]).name:
            return Path(found[2])
        script = Path(found[2])
    return None


def _usual_places(home: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Where the installer of Hermes, pipx and uv put it."""
    pipx = [environ.get("PIPX_HOME") or "~/.local/share/pipx", "~/.local/pipx"]
    tools = environ.get("UV_TOOL_DIR") or "~/.local/share/uv/tools"
    yield home / "hermes-agent" / "venv"
    for place in ("~/.hermes/hermes-agent/venv", "/usr/local/lib/hermes-agent/venv"):
        yield Path(place)
    yield from (Path(folder) / "venvs" / "hermes-agent" for folder in pipx)
    yield Path(tools) / "hermes-agent"


def _folders_of_packages(python: Path) -> Iterator[Path]:
    """Where what is installed for the interpreter may lie. The user's own folder counts for an interpreter that is no
    virtual environment's."""
    prefix = python.parent.parent
    for pattern in _PACKAGES:
        yield from sorted(prefix.glob(pattern), reverse=True)
    if not (prefix / "pyvenv.cfg").exists():
        yield from sorted(expanded("~/.local").glob(_USER_PACKAGES), reverse=True)


def _package_in(site: Path) -> Path | None:
    """The folder ``hermes_cli`` of a Hermes that is installed in ``site``."""
    for installed in sorted(site.glob("hermes_agent-*.dist-info")):
        for folder in (site, _checkout(installed)):
            if folder is not None and (folder / "hermes_cli" / "kanban_db.py").is_file():
                return folder / "hermes_cli"
    return None


def _checkout(installed: Path) -> Path | None:
    """The folder that was installed as it lies there (``pip install -e``)."""
    try:
        said = json.loads(beginning_of(installed / "direct_url.json", _LAUNCHER_BYTES))
        return _folder_of(said["url"])
    except (StorageError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _folder_of(url: object) -> Path | None:
    """The folder that a ``file:`` address names."""
    if not isinstance(url, str) or not url.startswith("file:///"):
        return None
    return Path(os.fsdecode(unquote_to_bytes(url.removeprefix("file://"))))


def _requirement() -> str:
    """How what is installed here is named to an installer: its folder or address if it came from one."""
    from importlib import metadata  # what looking at an environment need not load

    ours = metadata.distribution("kanban-shards")
    with suppress(ValueError, KeyError, TypeError):
        url = json.loads(ours.read_text("direct_url.json") or "")["url"]
        return str(_folder_of(url) or url)
    return f"kanban-shards=={ours.version}"


def _source(path: Path) -> str:
    return beginning_of(path, SOURCE_BYTES)
