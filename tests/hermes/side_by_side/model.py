"""A model that answers at once, over loopback: what Hermes's specifier, decomposer and judge ask for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SPECIFIED = {"title": "Let people log in", "body": "**Goal** — they can log in.\n**Acceptance criteria** — they do."}
DECOMPOSED = {
    "fanout": True,
    "rationale": "two crafts",
    "tasks": [
        {"title": "Write it", "body": "the words", "assignee": "mafei", "parents": []},
        {"title": "Draw it", "body": "the pictures", "assignee": "pixiel", "parents": [0]},
    ],
}
TASKS = ("triage_specifier", "kanban_decomposer", "goal_judge", "profile_describer")


def config(url: str) -> str:
    """The part of Hermes's ``config.yaml`` that sends its small questions to ``url``."""
    lines = ["auxiliary:"]
    for task in TASKS:
        lines += [
            f"  {task}:",
            "    provider: custom",
            f"    base_url: {url}/v1",
            "    api_key: none",
            "    model: stub",
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def serving() -> Iterator[str]:
    """The URL of the model, as long as it is wanted."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = "\n".join(str(message["content"]) for message in asked["messages"])
        self._send(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "stub",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": json.dumps(_answer(words))},
                    }
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "stub", "object": "model"}]})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _send(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _answer(words: str) -> dict[str, Any]:
    if "decompos" in words.lower():
        return DECOMPOSED
    if "specifier" in words.lower():
        return SPECIFIED
    if "judge" in words.lower():
        done = "evidence" in words.rsplit("response", 1)[-1]
        return {"done": done, "reason": "there is evidence" if done else "there is no evidence"}
    return {"description": "does things"}
