"""A chat over loopback: the little of ntfy that Hermes's own adapter for it speaks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Message:
    """What somebody was told: the topic, which is a chat, the words, and when (seconds since the epoch)."""

    topic: str
    text: str
    at: float


@dataclass
class Chat:
    """What was sent, and who listens."""

    url: str
    messages: list[Message] = field(default_factory=list)
    listening: set[str] = field(default_factory=set)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # streams end with their readers
    chat: Chat
    ended = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A gateway that is killed hangs up in the middle; that is no fault of the chat."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """A stream without messages for whoever listens to a topic."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        self.server.chat.listening.add(self.path.split("/")[1])
        while not self.server.ended:
            line = {"id": "keepalive", "time": int(time.time()), "event": "keepalive"}
            self.wfile.write(json.dumps(line).encode() + b"\n")
            self.wfile.flush()
            time.sleep(0.5)

    def do_POST(self) -> None:
        """A message to a topic."""
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.chat.messages.append(Message(self.path.strip("/"), text, time.time()))
        answer = json.dumps({"id": str(len(self.server.chat.messages)), "event": "message"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Chat]:
    """A chat, as long as it is wanted."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.chat = Chat(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.chat
    finally:
        server.ended = True
        server.shutdown()
        thread.join()
        server.server_close()
