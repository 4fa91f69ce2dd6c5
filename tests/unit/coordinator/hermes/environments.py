"""An environment with a Hermes that has no more than a release's signatures, and with this program in it: real Python,
real start files, no package index."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.unit.shards.hermes import imitation

# What this interpreter has, the environment has too: this program, installed or in its tree.
_AS_HERE = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"


def make(folder: Path, version: str = "0.19.0", *, with_us: bool = True, **other: str | None) -> Path:
    """The environment in ``folder``; returns its interpreter. ``other``: signatures that differ."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = site_of(folder)
    imitation.make(site, version, **other)
    (site / f"hermes_agent-{version}.dist-info").mkdir()
    script = folder / "bin" / "hermes"
    script.write_text(f"#!{folder}/bin/python\nimport sys\nfrom hermes_cli import kanban_db\ninput()\n")
    script.chmod(0o755)
    if with_us:
        add_us(folder)
    return folder / "bin" / "python"


def add_us(folder: Path) -> None:
    """Install this program there."""
    (site_of(folder) / "as-here.pth").write_text(_AS_HERE)
    (site_of(folder) / "kanban_shards-0.1.0.dist-info").mkdir()


def site_of(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def connects(python: Path, **environ: str) -> str:
    """Who answers in a Python of that environment that imports Hermes's module: its name, or what it dies with."""
    code = "from hermes_cli import kanban_db as kb; print('ours' if hasattr(kb, 'KANBAN_SHARDS') else kb.connect())"
    ended = subprocess.run(
        [python, "-c", code], env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True
    )
    return (ended.stdout or ended.stderr).strip()
