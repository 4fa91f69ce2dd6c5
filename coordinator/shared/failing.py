"""What PostgreSQL and libpq say went wrong, as errors of this program: one sentence for one cause, however often it is
said."""

from __future__ import annotations

import psycopg
from psycopg import errors

from kanban_shards.coordinator.shared.errors import FarBusy, FarError, ServerRefused, unreachable

_LONGEST = 200
# libpq says the reason on its standard error alone.
_NO_PASSWORD = "no password supplied"
_WHY_NOT = "; libpq passes over a ~/.pgpass that others may read, so `chmod 600 ~/.pgpass` may be all it needs"


def failed(error: psycopg.Error, server: str) -> FarError:
    """What ``error`` means to a host. ``server``: its name in sentences."""
    if isinstance(error, errors.LockNotAvailable):
        return FarBusy(path=server)
    if isinstance(error, errors.ReadOnlySqlTransaction):
        cure = "name the primary, or set target_session_attrs=primary for the service"
        return ServerRefused(path=server, problem="it is a standby, or takes no writes", cure=cure)
    if isinstance(error, errors.QueryCanceled):
        return unreachable(server, "it took longer than two seconds")
    if isinstance(error, psycopg.OperationalError):
        return unreachable(server, _in_words(error))
    return FarError(path=server, problem=_in_words(error))


def _in_words(error: psycopg.Error) -> str:
    """The first sentence of the server, without a full stop."""
    said = error.diag.message_primary or str(error).strip() or type(error).__name__
    first = said.splitlines()[0].removeprefix("connection is bad: ").removeprefix("connection failed: ")
    return first.rstrip(".")[:_LONGEST] + (_WHY_NOT if _NO_PASSWORD in first else "")
