"""On what the figures were measured. No names of machines or people."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil

from benchmarks.common import one_commit
from benchmarks.peers.hermes import PYTHON

_COMMITS = 100


def facts(folder: Path) -> dict[str, str]:
    """What a reader of the figures has to know of the machine; ``folder`` lies where the boards are made."""
    load, _, _ = os.getloadavg()
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "filesystem of the boards": _filesystem(folder),
        "one commit of a shard on it": f"{_commit_ms(folder):.2f} ms",
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "load when the run ended": f"{load:.1f}",
        **{name: _version(name) for name in ("kanban-shards", "huey", "litequeue")},
        "hermes-agent": _hermes_version(),
        "measured on": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _filesystem(folder: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _commit_ms(folder: Path) -> float:
    disk = one_commit(folder)
    started = time.perf_counter()
    for _ in range(_COMMITS):
        disk.execute("UPDATE liveness SET at_ms = at_ms + 1")
    return (time.perf_counter() - started) / _COMMITS * 1000


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _hermes_version() -> str:
    python = os.environ.get(PYTHON)
    if python is None:
        return "not installed"
    asked = "import importlib.metadata, sqlite3;"
    asked += "print(importlib.metadata.version('hermes-agent'), 'on SQLite', sqlite3.sqlite_version)"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
