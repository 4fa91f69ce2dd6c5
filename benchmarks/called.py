"""One call of a command: the CPU that it takes, and the most memory that it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field

import click

# A process begins with the memory of the one that started it as its greatest, so a small one starts them.
_LAUNCHER = """
import json, os, sys
nowhere = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere, 1)])
_, status, used = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


@dataclass
class Command:
    """A command line, and what its calls took."""

    what: str
    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)

    def call(self) -> None:
        """Run it once, and note its CPU, how long it took, and the most memory it had."""
        launched = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *self.words]
        began = time.perf_counter()
        done = subprocess.run(launched, capture_output=True, text=True, env={**os.environ, **self.environment})
        code, cpu_s, memory_kib = json.loads(done.stdout)
        if code:
            raise click.ClickException(f"{self.what} ended with exit code {code}: {done.stderr}")
        self.cpu_ms.append(cpu_s * 1000)
        self.wall_ms.append((time.perf_counter() - began) * 1000)
        self.memory_mib.append(memory_kib / (2**20 if sys.platform == "darwin" else 2**10))
