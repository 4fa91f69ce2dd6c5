"""``kanban web`` as a process of its own, for tests that ask it for pages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def served(home: str, *words: str, before: tuple[str, ...] = ()) -> Iterator[str]:
    """The address of the page of the board of ``home``, which is served while the block runs. ``words``: more of the
    command; ``before``: what stands before its verb."""
    argv = [sys.executable, "-m", "kanban_shards", "--home", home, *before, "web", "--port", "0", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            yield address_of(server)
        finally:
            server.terminate()
            server.communicate(timeout=30)


def address_of(server: subprocess.Popen) -> str:
    """Where a server that was started a moment ago says that the page is."""
    said = server.stdout.readline()
    found = re.search(r"http://\S+/(?=[,?\s])", said)
    assert found, said + server.stderr.read()
    return found[0]
