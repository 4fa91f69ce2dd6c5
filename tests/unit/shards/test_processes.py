"""Which process a number means."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kanban_shards.processes import began_with, can_be_signaled, is_above, shows_environments


def test_who_is_above_this_process() -> None:
    assert is_above(os.getpid())
    assert is_above(os.getppid())
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert not is_above(child.pid)
        assert child.stdin
        child.stdin.close()


@pytest.mark.skipif(not shows_environments(), reason="this system does not tell")
def test_the_environment_that_a_process_began_with() -> None:
    given = {"TASK": "t_1", "TASKS": "t_2", "OTHER": "TASK=t_3"}
    with subprocess.Popen(
        ["/bin/sh", "-c", "echo; read _"], env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()  # a program that is just being loaded has none yet
        assert [began_with(child.pid, name) for name in ("TASK", "TASKS", "ASK", "T")] == ["t_1", "t_2", None, None]
        child.kill()
    assert began_with(child.pid, "TASK") is None
    assert can_be_signaled(child.pid) and can_be_signaled(os.getpid())
