"""Python, in forks of a clean process that has this program imported: each call is a process of its own, at a tenth of
the price.

To start Python and to import the program costs more than what most commands do then. So a server imports it once, opens
nothing, and forks for each call. What a test shows of the start itself (options of Python, an environment that is read
by imports, a terminal) needs a start, by ``subprocess``.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.tree import ROOT

COMMANDS = ("kanban_shards.cli.main", "kanban_shards.coordinator.cli.main", "kanban_shards.gateway")
# Of other packages, what this program imports when it needs it.
LATE = ("tenacity", "sqlite_utils", "rich.progress", "rich.live", "rich.table")


class User(NamedTuple):
    """A UNIX user, who is in the group ``group`` and no other."""

    user: int
    group: int
    umask: int = 0o022


class _Server:
    """One process that forks for each call, one at a time. It ends with this one, however that ends."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                words, pass_fds=[theirs.fileno()], cwd=ROOT, stdin=subprocess.DEVNULL, env=for_every_user(os.environ)
            )

    def call(self, files: list[int], timeout_s: float) -> int | None:
        """The exit code of the call whose words, stdin, stdout and stderr ``files`` are; None if it took longer."""
        socket.send_fds(self._channel, [b"call"], files)
        pid = self._number()
        if not select.select([self._channel], [], [], timeout_s)[0]:
            os.kill(pid, signal.SIGKILL)
            self._number()
            return None
        return self._number()

    def _number(self) -> int:
        said = self._channel.recv(64)
        assert said, f"the process that forks has ended: {self._process.poll()}"
        return int(said)


def for_every_user(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` without the folder for temporary files, where another user cannot come."""
    return {name: value for name, value in env.items() if name != "TMPDIR"}


_idle: list[_Server] = []


def python(
    *words: object,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    timeout: float = 240.0,
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run([sys.executable, *words], capture_output=True, text=True, …)``, of ``-m`` and a module, or
    ``-c`` and a program, and what they are given. ``user``: who executes that; all of this program is imported then,
    since Python itself may lie where that user cannot read. Raises TimeoutExpired."""
    said = {
        "words": [os.fsdecode(word) if isinstance(word, os.PathLike | bytes) else str(word) for word in words],
        "cwd": str(cwd or os.getcwd()),
        "env": (for_every_user if user else dict)(os.environ if env is None else env),
        "user": user,
    }
    server = _idle.pop() if _idle else _Server()
    with ExitStack() as opened:
        request, stdout, stderr = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        stdin = opened.enter_context(open(os.devnull, "rb"))
        request.write(json.dumps(said).encode())
        request.seek(0)
        code = server.call([each.fileno() for each in (request, stdin, stdout, stderr)], timeout)
        _idle.append(server)
        if code is None:
            raise subprocess.TimeoutExpired(said["words"], timeout)
        texts = [_text(each) for each in (stdout, stderr)]
    return subprocess.CompletedProcess(said["words"], code, *texts)


@functools.cache
def load_everything() -> None:
    """Import all that this program may ask for later."""
    for name in ("kanban_shards", "kanban_shards.coordinator", "kanban_shards.migrations"):
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    for name in LATE:
        import_module(name)


def _text(file) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _serve(channel: socket.socket) -> None:
    os.set_inheritable(channel.fileno(), False)
    for name in COMMANDS:
        import_module(name)
    while True:
        _, files, _, _ = socket.recv_fds(channel, 64, 4)
        if not files:
            return
        with open(files[0]) as request:
            said = json.load(request)
        if said["user"]:
            load_everything()
        gc.freeze()  # a child has nothing of it to look through when it ends
        child = os.fork()
        if child == 0:
            channel.close()
            _become(files[1:], **said)
            return
        for file in files[1:]:
            os.close(file)
        channel.send(str(child).encode())
        channel.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(streams: list[int], words: list[str], cwd: str, env: dict[str, str], user: list[int] | None) -> None:
    """Be what ``sys.executable`` with these words would be."""
    for stream, file in enumerate(streams):
        os.dup2(file, stream)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if user:
        who = User(*user)
        os.umask(who.umask)
        os.setgroups([])
        os.setresgid(who.group, who.group, who.group)
        os.setresuid(who.user, who.user, who.user)
    how, what, *rest = words
    if how == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    sys.argv = [how, *rest]
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
