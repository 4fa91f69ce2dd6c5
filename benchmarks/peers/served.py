"""The second fix that people propose: one process writes, and the others send it what they want written.

It acknowledges after the commit, and takes all that is waiting into one commit, which is the best that such a queue
can do. Readers read the file themselves.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import Outcome, Peer
from benchmarks.peers.shared import SharedFile, read_outcome

_FILE, _SOCKET = "board.db", "writer.sock"
_MOST_BYTES = 1 << 16


class Served(Peer):
    """A client of the writer."""

    def __init__(self, folder: Path, profile: str) -> None:
        super().__init__(folder, profile)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(folder / _SOCKET))
        self.answers = self.socket.makefile()
        self.file = SharedFile(folder / _FILE)

    @classmethod
    @contextmanager
    def serving(cls, folder: Path) -> Iterator[int | None]:
        command = [sys.executable, "-m", "benchmarks.peers.served", str(folder)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            writer.stdout.readline()  # it listens
            yield writer.pid
        finally:
            writer.terminate()
            writer.communicate()

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        return read_outcome(folder / _FILE)

    def ask(self, verb: str, *arguments: object) -> object:
        """What the writer answers, after its commit."""
        self.socket.sendall(json.dumps([verb, *arguments]).encode() + b"\n")
        return json.loads(self.answers.readline())

    def create(self, title: str, body: str) -> str:
        return self.ask("create", self.profile, title, body)

    def subscribe(self, task_id: str, chat_id: str) -> None:
        self.ask("subscribe", self.profile, task_id, chat_id)

    def comment(self, task_id: str, text: str) -> None:
        self.ask("comment", self.profile, task_id, text)

    def claim(self, task_id: str) -> tuple[str, tuple[str, int]] | None:
        run_id = self.ask("claim", self.profile, task_id)
        return None if run_id is None else (task_id, (task_id, run_id))

    def complete(self, claim: tuple[str, int], summary: str) -> None:
        if not self.ask("complete", *claim, summary):
            raise RuntimeError("the run is over")

    def list(self) -> int:
        return self.file.list()

    def close(self) -> None:
        self.answers.close()
        self.socket.close()
        self.file.close()


def serve(folder: Path) -> None:
    """The writer, until it is ended."""
    file = SharedFile(folder / _FILE)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / _SOCKET))
    listener.listen(64)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        waiting = []
        for key, _ in selector.select():
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
            elif request := _received(key.fileobj):
                waiting.append((key.fileobj, json.loads(request)))
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()
        if waiting:
            with file.transaction():
                answers = [getattr(file, verb)(*arguments) for _, (verb, *arguments) in waiting]
            for (client, _), answer in zip(waiting, answers, strict=True):
                client.sendall(json.dumps(answer).encode() + b"\n")


def _received(client: socket.socket) -> bytes:
    """One request, or nothing if the client is gone. A client sends the next one after the answer to this one."""
    request = client.recv(_MOST_BYTES)
    while request and not request.endswith(b"\n"):
        request += client.recv(_MOST_BYTES)
    return request


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
