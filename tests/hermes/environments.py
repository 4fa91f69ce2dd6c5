"""Virtual environments with the real hermes-agent in them: its pins exclude ours, so it gets its own.

``python3 -m tests.hermes.environments FOLDER`` makes the one of the released program, as the gate does. Nothing is
imported here but what Python brings, so that any interpreter can do it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

RELEASE = "hermes-agent==0.19.0"
# Where the environments are, or are to be made; without it, a cache of pytest's.
FOLDER = "KANBAN_HERMES"
ROOT = Path(__file__).parents[2]
PACKAGED = ("shards", "coordinator", "migrations", "pyproject.toml", "README.md", "LICENSE")
NO_INDEX = ("No matching distribution", "Could not find a version", "Max retries exceeded", "ConnectionError")


class NotInstalled(Exception):
    """pip could not install it. ``no_index`` says whether the reason is that no package index answered."""

    def __init__(self, what: str, said: str) -> None:
        super().__init__(f"{what} cannot be installed: {said.strip()}")
        self.no_index = any(sign in said for sign in NO_INDEX)


def plain(folder: Path) -> Path:
    """The environment of RELEASE alone, below ``folder``; made unless it is there. Raises NotInstalled."""

    def make(environment: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        _install(environment, RELEASE)

    return _made_once(folder / "plain", RELEASE, make)


def bridged(folder: Path) -> Path:
    """The environment of RELEASE with this project installed and switched on in it; made unless it is there, and as
    new as the source is. Raises NotInstalled."""
    released = plain(folder)

    def make(environment: Path) -> None:
        _copy(released, environment)
        with tempfile.TemporaryDirectory(prefix="kanban-wheel-") as scratch:
            _install(environment, str(_wheel(Path(scratch))))
            home = {"PATH": os.environ["PATH"], "HOME": scratch}
            command = [environment / "bin/kanban-merge", "hermes", "install", "--python", environment / "bin/python"]
            subprocess.run(command, check=True, env=home, stdout=subprocess.DEVNULL)

    return _made_once(folder / "bridged", f"{RELEASE} {_digest()}", make)


def other(folder: Path, version: str) -> Path:
    """An environment with another version of Hermes, and with this project, not switched on; made unless it is there.

    The packages that both need are those of ``bridged``: what Hermes itself is takes seconds to install, and its
    hundred dependencies a minute. Raises NotInstalled.
    """
    shared = bridged(folder)
    (packages,) = shared.glob("lib/python*/site-packages")

    def make(environment: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        (purelib,) = environment.glob("lib/python*/site-packages")
        (purelib / "a-shared.pth").write_text(f"{packages}\n")
        for ours in packages.glob("kanban_shards-*.dist-info"):
            shutil.copytree(ours, purelib / ours.name)
        _install(shared, f"hermes-agent=={version}", "--no-deps", into=environment)

    return _made_once(folder / version, f"{version} {_digest()}", make)


def _made_once(environment: Path, content: str, make: Callable[[Path], None]) -> Path:
    """``environment``, made by the first who wants it with this content; the others wait."""
    made = environment.with_suffix(".made")
    with _locked(environment.with_suffix(".lock")):
        if not made.exists() or made.read_text() != content:
            made.unlink(missing_ok=True)
            shutil.rmtree(environment, ignore_errors=True)
            make(environment)
            made.write_text(content)
    return environment


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(environment: Path, requirement: str, *options: str, into: Path | None = None) -> None:
    """With the pip of ``environment``; ``into`` another one, if that is given."""
    pip = [environment / "bin/python", "-m", "pip", "--disable-pip-version-check"]
    where = ["--python", into / "bin/python"] if into else []
    words = [*pip, *where, "install", "--quiet", "--retries", "1", *options, requirement]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(requirement, done.stderr)


def _copy(environment: Path, copy: Path) -> None:
    """The same environment at another place: its files are shared, and its commands name the other interpreter. pip
    replaces files and never writes into one, so what is installed in one of them is not seen in the other."""
    shutil.copytree(environment, copy, symlinks=True, copy_function=_link)
    for command in (copy / "bin").iterdir():
        if command.is_symlink() or command.is_dir():
            continue
        text = command.read_bytes()
        command.unlink()
        command.write_bytes(text.replace(os.fsencode(environment), os.fsencode(copy)))
        command.chmod(0o755)


def _link(source: str, target: str) -> None:
    os.link(source, target, follow_symlinks=False)


def _wheel(scratch: Path) -> Path:
    """This project's wheel, built of a copy of the tree, so that nothing is left in it."""
    tree = scratch / "tree"
    tree.mkdir()
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", scratch, tree], check=True)
    (wheel,) = scratch.glob("*.whl")
    return wheel


def _digest() -> str:
    """What changes with each change of what the wheel holds."""
    seen = hashlib.sha256()
    for name in PACKAGED:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            seen.update(f"{file.relative_to(ROOT)}\n".encode())
            seen.update(file.read_bytes())
    return seen.hexdigest()


if __name__ == "__main__":
    try:
        print(plain(Path(sys.argv[1]).absolute()))
    except NotInstalled as error:
        sys.exit(str(error))
