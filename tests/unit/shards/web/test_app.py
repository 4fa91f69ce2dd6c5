"""The HTTP side, with the reader as a process of its own behind it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kanban_shards import Gateway
from kanban_shards.web.access import Access
from kanban_shards.web.app import HEADERS, make_app
from kanban_shards.web.link import Link
from kanban_shards.web.wire import Setup

PORT = 8640
HERE = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def link(home: str) -> Link:
    return Link(Setup(home, "default", home, None, "key"))


@pytest.fixture
def access() -> Access:
    return Access("127.0.0.1", PORT)


@pytest.fixture
def client(link: Link, access: Access) -> Iterator[TestClient]:
    """A browser that is let in by the token: there is no connection here whose user the system could tell."""
    with TestClient(make_app(link, access), base_url=HERE, follow_redirects=False) as opened:
        opened.cookies.set("kanban_token", access.token)
        yield opened


def test_the_first_page_is_the_board(client: TestClient, gateway: Gateway) -> None:
    gateway.make("A task")
    there = client.get("/")
    assert there.headers["location"] == "/b/default/"
    assert "A task" in client.get("/b/default/").text


def test_every_answer_has_the_headers(client: TestClient, gateway: Gateway) -> None:
    gateway.make("A task")
    for path in (
        "/",
        "/b/default/",
        "/b/default/t/t_00000000",
        "/static/board.js",
        "/static/none",
        "/nowhere",
        "/?token=x",
    ):
        answer = client.get(path)
        for name in HEADERS.keys() - {"cache-control"}:
            assert answer.headers[name] == HEADERS[name], (path, name)
    assert "'unsafe" not in HEADERS["content-security-policy"] and "http" not in HEADERS["content-security-policy"]


def test_nothing_on_a_page_comes_from_elsewhere_or_stands_in_line(client: TestClient, gateway: Gateway) -> None:
    task_id = gateway.make("A task").task_id
    for path in ("/b/default/", f"/b/default/t/{task_id}", "/b/default/health", "/b/none/"):
        body = client.get(path).text
        assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", body)
        assert not re.search(r"<style|<script(?! src=\"/static/board\.js\" defer></script>)|\sstyle=|\son[a-z]+=", body)


def test_who_is_not_let_in_is_told_how(link: Link, access: Access) -> None:
    with TestClient(make_app(link, access), base_url=HERE, follow_redirects=False) as stranger:
        for path in ("/", "/b/default/", "/b/default/live", "/static/board.css", "/b/default/files/1"):
            answer = stranger.get(path)
            assert answer.status_code == 403 and "?token=" in answer.text and access.token not in answer.text
        assert stranger.get(f"/?token={access.token[:-1]}").status_code == 403
        welcome = stranger.get(f"/b/default/?q=a%26b&token={access.token}")
        assert welcome.status_code == 303 and welcome.headers["location"] == "/b/default/?q=a%26b"
        assert {"HttpOnly", "SameSite=strict"} <= {*welcome.headers["set-cookie"].split("; ")}
        assert stranger.get("/").status_code == 303


def test_the_welcome_leads_nowhere_else(link: Link, access: Access) -> None:
    with TestClient(make_app(link, access), base_url=HERE, follow_redirects=False) as client:
        there = client.get(f"{HERE}//evil.example/x?token={access.token}").headers["location"]
        assert there.startswith("/") and not there.startswith("//")


def test_another_name_is_not_answered(client: TestClient) -> None:
    answer = client.get("/", headers={"host": f"evil.example:{PORT}"})
    assert answer.status_code == 421


def test_what_is_sent_from_elsewhere_is_refused(client: TestClient) -> None:
    for headers in ({}, {"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site", "origin": HERE}):
        assert client.post("/b/default/", headers=headers).status_code == 403


def test_a_page_elsewhere_makes_the_server_do_nothing_and_a_link_may_be_followed(
    client: TestClient, gateway: Gateway
) -> None:
    gateway.make("A task")
    for site in ("cross-site", "same-site"):
        for dest in ("empty", "image", "iframe", "script"):
            headers = {"sec-fetch-site": site, "sec-fetch-dest": dest}
            assert client.get("/b/default/?at=1", headers=headers).status_code == 403
        followed = {"sec-fetch-site": site, "sec-fetch-dest": "document"}
        assert client.get("/b/default/", headers=followed).status_code == 200
    assert (
        client.get("/b/default/", headers={"sec-fetch-site": "none", "sec-fetch-dest": "document"}).status_code == 200
    )
    own = {"sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"}
    assert client.get("/b/default/columns", headers=own).status_code == 200


def test_the_reader_is_started_again(client: TestClient, link: Link, gateway: Gateway) -> None:
    gateway.make("A task")
    assert client.get("/b/default/").status_code == 200
    first = link.pid
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (answer := client.get("/b/default/")).status_code != 200:
        assert answer.status_code == 503 and "started again" in answer.text
        assert time.monotonic() < deadline
    assert link.pid != first and "A task" in answer.text


@pytest.mark.parametrize("name", ["plan.txt", 'a "b".html', "umläut ☂.csv", "x" * 150 + ".txt"])
def test_a_file_is_kept_and_never_shown(client: TestClient, gateway: Gateway, tmp_path: Path, name: str) -> None:
    task_id = gateway.make("With a file").task_id
    (tmp_path / name).write_bytes(b"<script>alert(1)</script>")
    attachment_id = gateway.attach(task_id, tmp_path / name, content_type="text/html")
    answer = client.get(f"/b/default/files/{attachment_id}")
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("how", ["removed", "a link", "a pipe", "a folder", "no such attachment"])
def test_nothing_but_the_file_of_the_task_is_sent(
    client: TestClient, gateway: Gateway, tmp_path: Path, how: str
) -> None:
    task_id = gateway.make("With a file").task_id
    (tmp_path / "plan.txt").write_text("mine")
    (tmp_path / "secret").write_text("secret")
    attachment_id = gateway.attach(task_id, tmp_path / "plan.txt")
    copy = gateway.paths.attachments / task_id / "plan.txt"
    copy.unlink()
    plant: dict[str, Callable[[], object]] = {
        "removed": lambda: None,
        "a link": lambda: copy.symlink_to(tmp_path / "secret"),
        "a pipe": lambda: os.mkfifo(copy),
        "a folder": copy.mkdir,
        "no such attachment": lambda: None,
    }
    plant[how]()
    number = attachment_id + (how == "no such attachment")
    answer = client.get(f"/b/default/files/{number}")
    assert answer.status_code == 404 and "secret" not in answer.text


def test_a_path_that_a_profile_wrote_is_not_followed(client: TestClient, gateway: Gateway, tmp_path: Path) -> None:
    """The row says where the copy lies; what is sent lies in the folder of the task, whatever the row says."""
    from kanban_shards.changes.kinds import Attach

    task_id = gateway.make("With a file").task_id
    (tmp_path / "secret").write_text("secret")
    row = Attach(filename="plan.txt", stored_path=str(tmp_path / "secret"), size=6)
    answer = gateway._writer.ask(task_id, row).answer
    found = client.get(f"/b/default/files/{answer['attachment_id']}")
    assert found.status_code == 404 and found.text.startswith("The copy of 'plan.txt' is not in the folder of its task")


def test_what_is_too_long_is_refused(client: TestClient) -> None:
    assert client.get("/b/default/?q=" + "x" * 20_000).status_code == 414
    sent = client.post("/b/default/t/t_00000000", headers={"origin": HERE}, content=b"x" * (5 * 1024 * 1024))
    assert sent.status_code in (405, 413)


@pytest.mark.parametrize("name", ["", "0", "-1", "x", "9" * 400, "%2e%2e%2fkanban.db", "\u0663"])
def test_no_number_of_a_file_is_a_fault(client: TestClient, gateway: Gateway, name: str) -> None:
    gateway.make("A task")
    assert client.get(f"/b/default/files/{name}").status_code == 404


def test_no_more_browsers_follow_than_there_is_room_for(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kanban_shards.web.link.FOLLOWERS", 0)
    assert client.get("/b/default/live").status_code == 503
