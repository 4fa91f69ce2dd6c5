"""A session with a PostgreSQL server that a ledger can be trusted to, or the reason why it cannot.

The server is named by a section of libpq's service file, so that addresses stay there and passwords in libpq's password
file. What would lose acknowledged entries is refused here, and so is a network on which the server may be an impostor.
"""

from __future__ import annotations

import ipaddress
import os

import psycopg
from psycopg import pq

from kanban_shards.coordinator.shared.errors import FarSchemaNewer, ServerRefused, ServerUnknown
from kanban_shards.coordinator.shared.failing import failed
from kanban_shards.coordinator.shared.far import Address
from kanban_shards.migrations.far import VERSIONS
from kanban_shards.sharing import check_service

# Seconds that a connection may take to be made, and that a server may leave what was sent without an answer from its
# system. libpq takes no less.
_CONNECT_S = 2
_DEAD_S = 2
_CHECK = (
    "SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'), "
    "current_setting('server_encoding'), pg_backend_pid(), to_regclass('kanban_schema') IS NOT NULL"
)
CHANNEL = "kanban_ledger"


class Server:
    """What libpq's files say of the service in ``address``. Raises NoServiceName for what can be no name, and
    ServerRefused if they ask for a connection that anybody could listen to or answer."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._said = _said_of(check_service(address.service))
        self.name = self._in_words(address.service)
        self.sslmode = self._checked_sslmode()
        # Whether a pooler lies between, which gives each transaction another session; known once there is one.
        self.is_pooled = False

    def session(self) -> psycopg.Connection:
        """A session, checked. Raises ServerUnknown, ServerRefused, FarSchemaNewer, Unreachable."""
        try:
            session = psycopg.connect(
                service=self.address.service,
                autocommit=True,
                connect_timeout=_CONNECT_S,
                application_name="kanban-merge",
                client_encoding="utf8",
                keepalives_idle=_DEAD_S,
                keepalives_interval=1,
                keepalives_count=3,
                tcp_user_timeout=_DEAD_S * 1_000,
                sslmode=self.sslmode,
            )
        except psycopg.Error as error:
            if "service" in str(error) and "not found" in str(error):
                raise ServerUnknown(name=self.address.service) from None
            raise failed(error, self.name) from None
        try:
            self._check(session)
        except psycopg.Error as error:
            session.close()
            raise failed(error, self.name) from None
        except BaseException:
            session.close()
            raise
        return session

    def _check(self, session: psycopg.Connection) -> None:
        [(standby, fsync, full_page_writes, encoding, process, has_tables)] = session.execute(_CHECK).fetchall()
        if standby:
            self._refuse("it is a standby", "name the primary, or set target_session_attrs=primary for the service")
        if fsync != "on":
            self._refuse("fsync is off there, so a power cut takes what it acknowledged", "switch it on")
        if full_page_writes != "on":
            self._refuse("full_page_writes is off there, so a power cut may damage it", "switch it on")
        if encoding != "UTF8":
            self._refuse(f"its encoding is {encoding}", "make a database with ENCODING 'UTF8'")
        if has_tables:
            [(version,)] = session.execute("SELECT coalesce(max(version), 0) FROM kanban_schema").fetchall()
            if version > len(VERSIONS):
                raise FarSchemaNewer(path=self.name, found=version, known=len(VERSIONS))
        self.is_pooled = process != session.info.backend_pid
        if self.is_pooled:  # each transaction may have another session: nobody would hear the bell, nothing is prepared
            session.prepare_threshold = None
        else:
            session.execute(f"LISTEN {CHANNEL}")

    def _checked_sslmode(self) -> str:
        """The sslmode to ask for: what the service says, where that is safe, or the safe one if it says nothing."""
        said = self._value("sslmode")
        if self.address.trusts_network or self._is_near():
            return said
        is_said = said != _text(self._said["sslmode"].compiled)
        if is_said and said != "verify-full":
            problem = f"its service asks for sslmode={said}, with which another server could take its place"
            cure = "ask for verify-full, or say --trust-network if nobody else is on that network"
            raise ServerRefused(path=self.name, problem=problem, cure=cure)
        return "verify-full"

    def _is_near(self) -> bool:
        """Whether every server that is named is reached without a network."""
        hosts = self._value("host").split(",")
        addresses = self._value("hostaddr").split(",")
        return all(map(_is_local, hosts)) and all(map(_is_local, addresses))

    def _value(self, keyword: str) -> str:
        return _text(self._said[keyword].val)

    def _in_words(self, name: str) -> str:
        host = self._value("host") or self._value("hostaddr")
        port = self._value("port")
        return f"{name} ({host}:{port})" if host else name

    def _refuse(self, problem: str, cure: str) -> None:
        raise ServerRefused(path=self.name, problem=problem, cure=cure)


def _said_of(service: str) -> dict[str, pq.ConninfoOption]:
    """What libpq's service files say of ``service``, with its other defaults. It tells so of the service that is named
    in the environment, and of no other."""
    before = os.environ.get("PGSERVICE")
    os.environ["PGSERVICE"] = service
    try:
        return {each.keyword.decode(): each for each in pq.Conninfo.get_defaults()}
    finally:
        if before is None:
            del os.environ["PGSERVICE"]
        else:
            os.environ["PGSERVICE"] = before


def _is_local(host: str) -> bool:
    """Whether a host or address of a service is this machine; an empty one is the usual socket."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
