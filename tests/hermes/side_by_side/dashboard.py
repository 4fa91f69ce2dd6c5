"""Hermes's dashboard over loopback."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import psutil

from tests.hermes.side_by_side.calls import CALLS, Call
from tests.hermes.side_by_side.normal import Normal
from tests.hermes.side_by_side.side import Side
from tests.hermes.side_by_side.tell import furnish

API = "/api/plugins/kanban"
READY_S = 180.0
TASK = r"\b(t_[0-9a-f]{8,})\b"
RUN = r"\"run_id\": (\d+)"
TABLES = ("tasks", "task_links", "task_comments", "task_runs", "task_attachments", "kanban_notify_subs")
# Chats that the page offers for a task.
CHANNELS = {"TELEGRAM_BOT_TOKEN": "1:none", "TELEGRAM_HOME_CHANNEL": "42"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any


class Dashboard:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        page = urllib.request.urlopen(url).read().decode()
        found = re.search(r'__HERMES_SESSION_TOKEN__="([^"]*)"', page)
        assert found, "the page has no token"
        self._token = found[1]

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Make a call. A ``body`` of bytes is sent as a file that is uploaded."""
        headers = {"X-Hermes-Session-Token": self._token}
        data = None
        if isinstance(body, bytes):
            data, headers["Content-Type"] = _form(body)
        elif body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        address = self.url + API + urllib.parse.quote(path, safe="/?&=%")
        request = urllib.request.Request(address, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as response:
                return Answer(response.status, _read(response.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _read(error.read()))


@contextmanager
def running(side: Side, home: Path, **environ: str) -> Iterator[Dashboard]:
    """The dashboard of this home, ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["dashboard", "--no-open", "--skip-build", "--host", "127.0.0.1", "--port", str(port)]
    log = home / "dashboard.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [side.environment / "bin/hermes", *words],
            env={**side.environ(home), **CHANNELS, **environ},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        end = time.monotonic() + READY_S
        while "HERMES_DASHBOARD_READY" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield Dashboard(f"http://127.0.0.1:{port}")
    finally:
        # It does not end by itself as long as it follows a board for a page, even one that is gone. Its workers would
        # outlive it.
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()


def _form(content: bytes) -> tuple[bytes, str]:
    line = uuid.uuid4().hex
    head = f'--{line}\r\nContent-Disposition: form-data; name="file"; filename="outline.md"\r\n'
    return (
        f"{head}Content-Type: text/markdown\r\n\r\n".encode() + content + f"\r\n--{line}--\r\n".encode(),
        f"multipart/form-data; boundary={line}",
    )


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def tell(side: Side, config: str) -> list[tuple[Call, Answer]]:
    """Make all CALLS of a dashboard in a new home. Gives what was answered, and as the last answer the rows of the
    board, but for its events; without what differs between two runs of the same program."""
    home = side.new_home("dashboard")
    furnish(home, {"worker.sh": "#!/bin/sh\necho at work\nexec sleep 60\n"}, config)
    names: dict[str, str] = {}
    normal = Normal(str(home))
    heard = []
    with running(side, home, HERMES_BIN=str(home / "worker.sh")) as dashboard:
        for call in CALLS:
            answer = dashboard.call(call.method, _filled(call.path, names), _filled(call.body, names))
            text = json.dumps(answer.body, ensure_ascii=False)
            if call.keep:
                found = re.search(RUN if call.keep == "run" else TASK, text)
                names[call.keep] = found[1] if found else "t_00000000"
            heard.append((call, Answer(answer.status, normal(text))))
    rows = normal(rows_of(home / ".hermes" / "kanban.db"))
    return [*heard, (Call("the", "board"), Answer(0, rows))]


def rows_of(path: Path) -> str:
    """What the tables of a board hold, as JSON."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as board:
        board.row_factory = sqlite3.Row
        rows = {
            table: [dict(row) for row in board.execute(f"SELECT * FROM {table} ORDER BY rowid")] for table in TABLES
        }
    return json.dumps(rows, ensure_ascii=False, indent=1)


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return Template(value).safe_substitute(names)
    if isinstance(value, list):
        return [_filled(item, names) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, names) for key, item in value.items()}
    return value
