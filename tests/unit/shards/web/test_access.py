"""Who may look, and which names the server answers to."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from kanban_shards.web.access import Access, is_loopback, owner_of


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8", "LOCALHOST"])
def test_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "127.0.0.1.example.org", ""])
def test_what_others_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "asked", "answered"),
    [
        ("127.0.0.1", "127.0.0.1:8640", True),
        ("127.0.0.1", "LocalHost:8640", True),
        ("127.0.0.1", "[::1]:8640", True),
        ("127.0.0.1", "127.0.0.1:8641", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "evil.example:8640", False),
        ("127.0.0.1", "127.0.0.1:8640.evil.example", False),
        ("127.0.0.1", "192.168.1.7:8640", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", None, False),
        ("0.0.0.0", "192.168.1.7:8640", True),
        ("0.0.0.0", "[fe80::1]:8640", True),
        ("0.0.0.0", "evil.example:8640", False),
        ("board.example", "board.example:8640", True),
    ],
)
def test_a_name_that_was_made_to_lead_here_is_not_answered(host: str, asked: str | None, answered: bool) -> None:
    assert Access(host, 8640).answers_to(asked) == answered


def test_on_this_machine_the_user_needs_no_token_and_elsewhere_everybody_does() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server, closing(socket.socket()) as client:
        client.connect(server.getsockname())
        ends = client.getsockname(), server.getsockname()
        with closing(server.accept()[0]):
            assert owner_of(*ends) == os.getuid()
            assert Access("127.0.0.1", 1).lets_in(None, *ends)
            assert not Access("0.0.0.0", 1).lets_in(None, *ends)
    assert owner_of(*ends) is None, "the connection is closed, so nobody has it"
    assert not Access("127.0.0.1", 1).lets_in(None, *ends)


def test_the_token_lets_in_and_nothing_like_it() -> None:
    access = Access("0.0.0.0", 1)
    assert access.lets_in(access.token, None, None)
    for other in (None, "", access.token[:-1], access.token + "x", "é" * 32):
        assert not access.lets_in(other, None, None)


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8640"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://127.0.0.1:8640"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
def test_what_is_sent_comes_from_a_page_of_this_server(headers: dict[str, str], same: bool) -> None:
    assert Access("127.0.0.1", 8640).is_same_origin(headers.items(), "127.0.0.1:8640") == same


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8640/"),
        ("::1", "http://[::1]:8640/"),
        ("0.0.0.0", f"http://{socket.gethostname()}:8640/"),
        ("board.example", "http://board.example:8640/"),
    ],
)
def test_the_address_that_is_printed(host: str, address: str) -> None:
    assert Access(host, 8640).address == address
