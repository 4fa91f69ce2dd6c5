"""The carrier's child: the only process that opens the network, and that loads what speaks to a server.

It has no database open. It lives as long as its one session: without one it says why and ends, and its parent begins
another. It ends with its parent, whatever it waits for.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from kanban_shards.coordinator.shared import frames
from kanban_shards.errors import ExtraMissing, KanbanError

if TYPE_CHECKING:
    from kanban_shards.coordinator.shared.postgres import Postgres


def main(wire_number: int, bell_number: int) -> None:
    """Serve the parent behind the socket ``wire_number`` until it ends, or the session does. The pipe ``bell_number``
    is written to when there is more to read, and when the session is there or ends. Standard input ends when the parent
    does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal means it for the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.set_blocking(bell_number, False)

    def ring() -> None:
        with suppress(BlockingIOError):  # it rings already
            os.write(bell_number, b"!")

    with socket.socket(fileno=wire_number) as wire, suppress(OSError, EOFError):
        try:
            with closing(_arrived(wire, ring)) as postgres:
                frames.send(wire, frames.There())
                ring()
                _serve(wire, postgres)
        except KanbanError as error:
            frames.send(wire, frames.failure(error, ends=True))
        finally:
            ring()


def answer_to(postgres: Postgres, request: frames.Request) -> frames.Answer:
    """What comes of ``request``. Raises what ``Far`` does."""
    match request:
        case frames.Read(position, most_bytes):
            return frames.Paged(postgres.read(position, most_bytes))
        case frames.Turn(position, most_bytes):
            return frames.Paged(postgres.turn(position, most_bytes))
        case frames.Append(entries, behind):
            postgres.append(entries, behind)
        case frames.Meet(mine):
            return frames.Met(postgres.meet(mine))
        case frames.Remark():
            return frames.Remarked(postgres.remarks())
        case frames.Begin(ledger_id):
            postgres.begin(ledger_id)
        case frames.RaiseRules():
            postgres.raise_rules()
        case frames.Leave():
            postgres.leave()
    return frames.Done()


def _arrived(wire: socket.socket, ring: Callable[[], None]) -> Postgres:
    """A session with the server that the parent names. Raises ExtraMissing, and what ``Postgres`` does."""
    go = frames.receive(wire, frames.FROM_PARENT)
    if not isinstance(go, frames.Go):
        raise EOFError
    try:
        from kanban_shards.coordinator.shared.connecting import Server
        from kanban_shards.coordinator.shared.postgres import Postgres
    except ImportError:
        raise ExtraMissing(package="psycopg", extra="postgres") from None
    server = Server(go.address)
    frames.send(wire, frames.Going(server.name))
    return Postgres(server, ring)


def _serve(wire: socket.socket, postgres: Postgres) -> None:
    """Answer requests, and listen to the server between them. Raises what ended the session."""
    poll = select.poll()
    poll.register(wire, select.POLLIN)
    poll.register(postgres, select.POLLIN)
    while True:
        if any(number == wire.fileno() for number, _ in poll.poll()):
            request = frames.receive(wire, frames.FROM_PARENT)
            if isinstance(request, frames.Go):
                raise EOFError
            try:
                answer = answer_to(postgres, request)
            except KanbanError as error:
                if postgres.is_lost:
                    raise
                answer = frames.failure(error, ends=False)
            frames.send(wire, answer)
        else:
            postgres.hear()


def _end_with_parent() -> None:
    """End this process at once when the parent does, even in the midst of waiting for a network."""
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
