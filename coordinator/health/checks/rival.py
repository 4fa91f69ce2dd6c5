"""The second process of the doctor's tests: reads ``word path`` lines, does what the word says, answers with a word.

Run by its path, alone, so that it starts in a few milliseconds.
"""

import fcntl
import mmap
import os
import sys
from collections.abc import Callable

HELD: list[int] = []  # descriptors that keep their lock until this process ends


def flock(path: str) -> str:
    """Try to take the ``flock`` of ``path``, and keep it."""
    return _keep(path, fcntl.flock)


def record(path: str) -> str:
    """Try to take a record lock, which is what SQLite uses, on ``path``, and keep it."""
    return _keep(path, fcntl.lockf)


def memory(path: str) -> str:
    """Count up the first byte of ``path`` in shared memory."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as shared:
        shared[0] += 1
    return "done"


def _keep(path: str, lock: Callable[[int, int], object]) -> str:
    descriptor = os.open(path, os.O_RDWR)
    HELD.append(descriptor)
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    return "got"


if __name__ == "__main__":
    for line in sys.stdin:
        word, _, path = line.rstrip("\n").partition(" ")
        try:
            answer = {"flock": flock, "record": record, "memory": memory}[word](path)
        except OSError as error:
            answer = f"error {error.strerror}"
        print(answer, flush=True)
