"""Over a network, the server's name is checked: with a certificate authority of the test's own, and TLS before a real
server."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.errors import Unreachable
from kanban_shards.coordinator.shared.far import Address
from tests.far.changes import BEGINNING
from tests.far.fixtures import serve
from tests.far.server import Server

HERE = Address("kanban", "default", "here", 1, "one")
NAME = "db.example"


class Authority:
    """A certificate authority. ``certificate``: the file that says so."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = folder / f"{name}.crt"
        signed = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
        self.certificate.write_bytes(signed)

    def vouch_for(self, name: str) -> ssl.SSLContext:
        """What a server that is called ``name`` shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        chain = self._folder / "server.pem"
        chain.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self._sign(subject, key.public_key(), x509.SubjectAlternativeName([x509.DNSName(name)]))
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(hours=1),
            not_valid_after=now + datetime.timedelta(hours=1),
        )
        signed = made.add_extension(extension, critical=True).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


class Front:
    """TLS on a port of loopback, before the server's socket ``behind``, which knows none."""

    def __init__(self, context: ssl.SSLContext, behind: Path) -> None:
        self._context, self._behind = context, behind
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.secured = 0
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,)).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            plain.recv(8)  # "may we speak TLS?"
            plain.sendall(b"S")
            with self._context.wrap_socket(plain, server_side=True) as client:
                self.secured += 1
                server.connect(str(self._behind))
                answering = threading.Thread(target=_carry, args=(server, client))
                answering.start()
                _carry(client, server)
                answering.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def front(authority: Authority, postgres: Server) -> Iterator[Front]:
    with closing(Front(authority.vouch_for(NAME), postgres.folder / ".s.PGSQL.5432")) as opened:
        yield opened


def test_a_server_that_is_who_it_should_be(
    authority: Authority, front: Front, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"host": NAME, "hostaddr": "127.0.0.1", "port": str(front.port), "dbname": postgres.database()}
    serve(tmp_path, monkeypatch, **said, sslrootcert=str(authority.certificate))
    with closing(Carrier(HERE)) as carrier:
        carrier.begin("one")
        assert carrier.read(0).end == BEGINNING
    assert front.secured == 1


def test_an_impostor_with_another_name(
    authority: Authority, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"host": "another.example", "hostaddr": "127.0.0.1", "port": str(front.port)}
    serve(tmp_path, monkeypatch, **said, sslrootcert=str(authority.certificate))
    with closing(Carrier(HERE)) as carrier, pytest.raises(Unreachable, match="does not match host name"):
        carrier.read(0)


def test_an_impostor_with_the_name(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"host": NAME, "hostaddr": "127.0.0.1", "port": str(front.port)}
    serve(tmp_path, monkeypatch, **said, sslrootcert=str(Authority(tmp_path, "theirs").certificate))
    with closing(Carrier(HERE)) as carrier, pytest.raises(Unreachable, match="certificate verify failed"):
        carrier.read(0)
