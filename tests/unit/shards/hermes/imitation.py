"""A package ``hermes_cli`` with the functions of a release and nothing in them: what loading looks at, and no more."""

from __future__ import annotations

from pathlib import Path

from kanban_shards.hermes.versions import DIFFERENCES, SIGNATURES

CONTEXT_MANAGERS = ("write_txn",)


def source_of(minor: str, **other: str | None) -> str:
    """The source of a ``kanban_db`` with the signatures of that minor version, but for those in ``other``."""
    signatures = {**SIGNATURES, **DIFFERENCES.get(minor, {}), **other}
    lines = ["from contextlib import contextmanager", "LOADED = []"]
    for name, signature in signatures.items():
        if signature is not None:
            lines += ["@contextmanager"] * (name in CONTEXT_MANAGERS)
            lines += [f"def {name}({signature.replace('=', '=None')}): return 'upstream'"]
    return "\n".join([*lines, ""])


def make(folder: Path, version: str, **other: str | None) -> Path:
    """That package in ``folder``, which is returned."""
    package = folder / "hermes_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f'import sys\n\n__version__ = "{version}"\n')
    (package / "kanban_db.py").write_text(source_of(".".join(version.split(".")[:2]), **other))
    return folder
