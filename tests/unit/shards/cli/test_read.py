"""Verbs that read the board, follow it, and deal with files and chats."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import pytest

from kanban_shards import Board, Gateway
from kanban_shards.cli.main import VERBS, main
from kanban_shards.deliveries import PAUSES_S
from kanban_shards.records import TASK_JSON_KEYS
from tests.docs.test_hermes_table import VERBS as HERMES_VERBS
from tests.unit.verbs import MISSING, Shell

# `hermes kanban`'s verbs with their flags, but for those of the old ``daemon``, which is another one's here.
HERMES = {verb: flags for verbs, flags in HERMES_VERBS.items() for verb in verbs.split(", ") if " " not in verb}
HERMES["daemon"] = ""
OURS = ("review", "release", "fail", "spawned", "reopen", "limits", "notify-dead", "notify-resend")


@pytest.fixture
def task_id(shell: Shell) -> str:
    return shell.create("x")


@pytest.mark.parametrize("verb", HERMES)
def test_each_verb_and_flag_of_hermes_is_there(verb: str) -> None:
    command = main.get_command(click.Context(main), verb)
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert set(HERMES[verb].split()) <= flags


@pytest.mark.parametrize("verb", [*HERMES, *OURS])
def test_each_verb_teaches_itself(shell: Shell, verb: str) -> None:
    """Its help says what it does; and each prints JSON for programs."""
    said = shell.says(verb, "--help", profile=None)
    assert said.startswith(f"Usage: kanban {verb}")
    assert verb == "daemon" or "--json" in said
    assert verb in VERBS


def test_list(shell: Shell) -> None:
    first = shell.create("first", "--assignee", "bob", "--priority", 1, "--session", "s1")
    second = shell.create("second", "--tenant", "t")
    gone = shell.create("gone")
    shell.says("archive", gone)
    tasks = shell.json("list", profile=None)
    assert [task["id"] for task in tasks] == [first, second]
    assert tuple(tasks[0]) == TASK_JSON_KEYS
    for flags, found in (
        (("--mine",), []),
        (("--assignee", "bob"), [first]),
        (("--mine", "--assignee", "bob"), [first]),
        (("--session", "s1"), [first]),
        (("--tenant", "t"), [second]),
        (("--status", "archived"), [gone]),
        (("--archived", "--sort", "title"), [first, gone, second]),
        (("--sort", "priority"), [second, first]),
        (("--workflow-template-id", "w"), []),
        (("--step-key", "k"), []),
        (("--assignee", "none", "--limit", 1), [second]),
    ):
        assert [task["id"] for task in shell.json("ls", *flags)] == found, flags
    assert "TENANT" in shell.says("list")
    assert shell.says("list", "--assignee", "nobody-such").startswith("No such tasks on the board default in /")
    assert "kanban --profile NAME list" in shell.refuses(2, "list", "--mine", profile=None)
    shell.refuses(2, "list", "--sort", "luck")


def test_show_and_runs(shell: Shell, task_id: str) -> None:
    shell.says("claim", task_id)
    shell.says("fail", task_id, "crashed", "no memory")
    shell.says("complete", task_id, "--summary", "all of it")
    found = shell.json("show", task_id, profile=None)
    assert {"task", "latest_summary", "parents", "children", "comments", "events", "runs"} <= found.keys()
    assert {"kind", "payload", "created_at", "run_id"} <= found["events"][0].keys()
    assert found["latest_summary"] == "all of it"
    hermes_run = {"id", "profile", "step_key", "status", "outcome", "summary", "error", "metadata", "worker_pid",
                  "started_at", "ended_at"}  # fmt: skip
    assert hermes_run <= found["runs"][0].keys()
    crashed, done = shell.json("runs", task_id, profile=None)
    assert (crashed["outcome"], crashed["error"], done["status"]) == ("crashed", "no memory", "done")
    for verb in ("show", "runs"):
        chosen = shell.json(verb, task_id, "--state-type", "outcome", "--state-name", "crashed")
        assert (chosen["runs"] if verb == "show" else chosen) == [crashed]
        for flags in (("--state-type", "status"), ("--state-name", "done"), ("--state-type", "x", "--state-name", "y")):
            shell.refuses(2, verb, task_id, *flags)
        assert "no memory" in shell.says(verb, task_id)
        assert "There is no task" in shell.refuses(1, verb, MISSING)
    assert shell.json("show", task_id, "--state-type", "status", "--state-name", "x")["latest_summary"] == "all of it"
    assert shell.says("runs", shell.create("y")).startswith("(no runs yet for t_")


def test_files(shell: Shell, task_id: str, tmp_path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    assert shell.says("attachments", task_id) == f"No attachments on {task_id}\n"
    said = shell.says("attach", task_id, tmp_path / "a.txt")
    assert said.startswith(f"Attached a.txt to {task_id} (attachment ")
    assert said.endswith(", 5 bytes)\n")
    flags = ("--name", "b.bin", "--content-type", "x/y", "--author", "cara")
    second = shell.json("attach", task_id, tmp_path / "a.txt", *flags)["attachment_id"]
    first, kept = shell.json("attachments", task_id, profile=None)
    assert {"id", "filename", "content_type", "size", "uploaded_by", "stored_path", "created_at"} <= first.keys()
    assert (first["content_type"], first["uploaded_by"]) == ("text/plain", "amy")
    assert (kept["filename"], kept["content_type"], kept["uploaded_by"]) == ("b.bin", "x/y", "cara")
    assert "b.bin  (5 bytes, x/y, by cara)" in shell.says("attachments", task_id)
    assert "b.bin (5 bytes" in shell.says("show", task_id)
    assert shell.says("attach-rm", second) == f"Deleted attachment {second} (b.bin) from {task_id}\n"
    assert not os.path.exists(kept["stored_path"])
    assert f"no attachment {second}" in shell.refuses(1, "attach-rm", second)
    assert "No such file" in shell.refuses(3, "attach", task_id, tmp_path / "none")
    assert "no task" in shell.refuses(1, "attach", MISSING, tmp_path / "a.txt")
    assert "no task" in shell.refuses(1, "attachments", MISSING)


CHAT = ("--platform", "telegram", "--chat-id", "42")


def test_chats(shell: Shell, task_id: str) -> None:
    assert shell.says("notify-list") == "(no subscriptions)\n"
    assert shell.says("notify-subscribe", task_id, *CHAT, "--thread-id", "7") == (
        f"Subscribed telegram:42:7 to {task_id}\n"
    )
    flags = ("--user-id", "u", "--notifier-profile", "bob", "--kinds", "completed, blocked", "--from-start")
    assert shell.json("notify-subscribe", task_id, *CHAT, *flags)["subscribed"] is True
    assert shell.json("notify-subscribe", task_id, *CHAT)["subscribed"] is False
    already = shell.says("notify-subscribe", task_id, *CHAT, profile="cleo")
    assert already.startswith(f"telegram:42 was subscribed to {task_id} already, and that stays as it is: ")
    assert already.endswith(" tells it\n")
    found = {chat["thread_id"]: chat for chat in shell.json("notify-list", task_id, profile=None)}
    assert {"task_id", "platform", "chat_id", "user_id", "created_at"} <= found[""].keys()
    assert (found[""]["notifier_profile"], found["7"]["notifier_profile"]) == ("bob", "amy")
    assert (found[""]["last_event_id"], found["7"]["last_event_id"] > 0) == (0, True)
    assert found[""]["delivery_metadata"] == {"kinds": ["completed", "blocked"]}
    assert "telegram" in shell.says("notify-list")
    assert shell.says("notify-unsubscribe", task_id, *CHAT) == f"Unsubscribed from {task_id}\n"
    assert "was not subscribed" in shell.refuses(1, "notify-unsubscribe", task_id, *CHAT)
    assert "no task" in shell.refuses(1, "notify-subscribe", MISSING, *CHAT)
    shell.refuses(2, "notify-subscribe", task_id, "--platform", "telegram")


def test_dead_letters(shell: Shell, home: str, task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell.says("notify-dead") == "(no dead letters)\n"
    shell.says("notify-subscribe", task_id, *CHAT)
    shell.says("complete", task_id)
    monkeypatch.setattr("kanban_shards.deliveries.PAUSES_S", (0,) * len(PAUSES_S))
    with Gateway("amy", home=home) as gateway:
        again = True
        while again:
            again = next(gateway.deliveries(lease_s=0)).fail("no such chat")
    (letter,) = shell.json("notify-dead", task_id, profile=None)
    assert (letter["error"], letter["attempts"], letter["resend"]) == ("no such chat", 1 + len(PAUSES_S), False)
    assert "no such chat" in shell.says("notify-dead")
    assert shell.says("notify-resend", letter["id"]) == f"Letter {letter['id']} goes to telegram:42 again, by amy\n"
    assert shell.json("notify-dead")[0]["resend"] is True
    assert "There is no dead letter 99" in shell.refuses(1, "notify-resend", 99)


def test_show_has_every_event(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: the newest are those that count."""
    task_id = shell.create("x")
    for number in range(5):
        shell.says("comment", task_id, number)
    shell.says("complete", task_id)
    monkeypatch.setattr(Board.events, "__kwdefaults__", {**Board.events.__kwdefaults__, "limit": 2})
    assert [event["kind"] for event in shell.task(task_id)["events"]] == ["created", *["commented"] * 5, "completed"]


def test_tail_shows_what_was_and_what_comes(shell: Shell, home: str, task_id: str) -> None:
    other = shell.create("y")
    with _following(home, "tail", task_id, "--json") as lines:
        assert json.loads(next(lines))["kind"] == "created"
        shell.says("comment", other, "not this one")
        shell.says("complete", task_id)
        assert json.loads(next(lines))["kind"] == "completed"
    assert "There is no task" in shell.refuses(1, "tail", MISSING)


def test_watch_shows_what_is_chosen(shell: Shell, home: str) -> None:
    mine = shell.create("x", "--assignee", "bob", "--tenant", "t")
    words = ("--kinds", "completed,blocked", "--assignee", "bob", "--tenant", "t", "--after", "0", "--interval", "0.01")
    with _following(home, "watch", *words) as lines:
        shell.says("complete", shell.create("y"))
        shell.says("comment", mine, "no outcome")
        shell.says("block", mine, "why")
        assert f"{mine}  blocked" in next(lines)


@contextmanager
def _following(home: str, *words: str) -> Iterator[Iterator[str]]:
    """The lines that a verb prints until it is interrupted, which is how it ends well."""
    argv = [sys.executable, "-u", "-m", "kanban_shards", "--home", home, *words]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield iter(process.stdout.readline, "")
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=30)
        assert (process.returncode, rest, said) == (0, "", "")
    finally:
        process.kill()
        process.communicate()
