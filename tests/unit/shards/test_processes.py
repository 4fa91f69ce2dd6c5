"""Which process a number means."""

from __future__ import annotations

import os
import subprocess
import sys

from kanban_shards.processes import is_above


def test_who_is_above_this_process() -> None:
    assert is_above(os.getpid())
    assert is_above(os.getppid())
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert not is_above(child.pid)
        assert child.stdin
        child.stdin.close()
