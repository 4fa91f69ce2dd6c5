"""Where the real hermes-agent is: its dependencies are many, so it lives in a virtual environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.peers.hermes import PYTHON

RELEASE = "hermes-agent==0.19.0"


def choose(python: str | None, new_folder: Path | None) -> None:
    """Say for this run where it is: ``python`` if given, else a new environment in ``new_folder`` if given, else what
    ``hermes`` on the PATH belongs to, if there is one."""
    if python is None and new_folder is not None:
        python = _install(new_folder)
    if python is None and (command := shutil.which("hermes")):
        python = str(Path(command).resolve().with_name("python"))
    if python is None:
        os.environ.pop(PYTHON, None)
    elif not Path(python).exists() or not Path(python).with_name("hermes").exists():
        raise click.UsageError(f"{python} is not the python of a virtual environment with hermes-agent in it")
    else:
        os.environ[PYTHON] = str(Path(python).absolute())


def _install(folder: Path) -> str:
    click.echo(f"installing {RELEASE} for this run, which takes a minute")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", RELEASE], check=True)
    return python
