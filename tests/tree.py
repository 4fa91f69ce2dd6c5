"""The product's own source files, for the tests that hold it to laws of its text."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARDS, COORDINATOR, MIGRATIONS = (ROOT / name for name in ("shards", "coordinator", "migrations"))
FOLDERS = (SHARDS, COORDINATOR, MIGRATIONS)
MODULES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))]


def name_of(path: Path) -> str:
    """The import name of a module or package in the tree (pyproject.toml, ``package-dir``)."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    below = parts[1:] if parts[0] == "shards" else parts
    return ".".join(("kanban_shards", *(part for part in below if part != "__init__")))
