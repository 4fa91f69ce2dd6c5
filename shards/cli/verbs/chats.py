"""Telling chats what becomes of tasks."""

from __future__ import annotations

from typing import Any

import click

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.cli import text
from kanban_shards.cli.params import POSITIVE, listed
from kanban_shards.cli.session import TASK, Session, answer, json_option, table
from kanban_shards.errors import NotSubscribed, UnknownLetter
from kanban_shards.records import DeadLetter


@click.command("notify-subscribe")
@click.argument("task_id", type=TASK)
@click.option("--platform", required=True, metavar="NAME", help="telegram, discord, …")
@click.option("--chat-id", required=True, metavar="ID")
@click.option("--thread-id", default="", metavar="ID")
@click.option("--user-id", metavar="ID")
@click.option("--notifier-profile", metavar="PROFILE", help="Whose gateway delivers, if not mine. Only that one does.")
@click.option("--chat-type", metavar="WORD", help="dm, group, …")
@click.option("--kinds", metavar="A,B,…", help="Of which events; else of those that the gateway tells of.")
@click.option("--from-start", is_flag=True, help="Tell what happened before, too.")
@json_option
@click.pass_obj
def notify_subscribe(session: Session, /, task_id: str, kinds: str | None, as_json: bool, **chat: Any) -> None:
    """Tell a chat what becomes of a task, from now on."""
    gateway = session.gateway()
    seq = gateway.subscribe(task_id, kinds=listed(kinds) or None, **chat)
    verdict = gateway.wait_for_verdict(seq)
    where = ":".join(filter(None, (chat["platform"], chat["chat_id"], chat["thread_id"])))
    said = f"Subscribed {where} to {task_id}"
    if not verdict.answer["subscribed"]:
        teller = _by(gateway.board, task_id, chat)
        said = f"{where} was subscribed to {task_id} already, and that stays as it is{teller}"
    answer(as_json, {"ok": True, "task_id": task_id, **verdict.answer}, said)


@click.command("notify-unsubscribe")
@click.argument("task_id", type=TASK)
@click.option("--platform", required=True, metavar="NAME")
@click.option("--chat-id", required=True, metavar="ID")
@click.option("--thread-id", default="", metavar="ID")
@json_option
@click.pass_obj
def notify_unsubscribe(session: Session, /, task_id: str, as_json: bool, **chat: Any) -> None:
    """No longer tell a chat."""
    gateway = session.gateway()
    verdict = gateway.wait_for_verdict(gateway.unsubscribe(task_id, **chat))
    if not verdict.answer["unsubscribed"]:
        raise NotSubscribed(task_id=task_id)
    answer(as_json, {"ok": True, "task_id": task_id, **verdict.answer}, f"Unsubscribed from {task_id}")


@click.command("notify-list")
@click.argument("task_id", type=TASK, required=False)
@json_option
@click.pass_obj
def notify_list(session: Session, task_id: str | None, as_json: bool) -> None:
    """Show which chats are told."""
    found = session.board().subscriptions(task_id)
    if as_json:
        text.print_json([each.as_dict() for each in found])
    else:
        table(
            ("TASK", "PLATFORM", "CHAT", "THREAD", "BY", "SEEN UP TO"),
            [(s.task_id, s.platform, s.chat_id, s.thread_id, s.notifier_profile, s.last_event_id) for s in found],
            "(no subscriptions)",
        )


@click.command("notify-dead")
@click.argument("task_id", type=TASK, required=False)
@json_option
@click.pass_obj
def notify_dead(session: Session, task_id: str | None, as_json: bool) -> None:
    """Show what chats could not be told, and why. `kanban notify-resend LETTER_ID` tries again."""
    found = session.board().dead_letters(task_id=task_id)
    if as_json:
        text.print_json([each.as_dict() for each in found])
    else:
        table(
            ("LETTER", "TASK", "CHAT", "EVENTS", "TRIES", "AGAIN", "ERROR"),
            [
                (each.id, each.task_id, _chat(each), ", ".join(map(str, each.event_ids)), each.attempts,
                 "yes" if each.resend else "no", wording.clip(each.error))
                for each in found
            ],
            "(no dead letters)",
        )  # fmt: skip


@click.command("notify-resend")
@click.argument("letter_id", type=POSITIVE)
@json_option
@click.pass_obj
def notify_resend(session: Session, letter_id: int, as_json: bool) -> None:
    """Have a dead letter delivered after all. The gateway that delivers to its chat does it."""
    board = session.board()
    letter = next((each for each in board.dead_letters() if each.id == letter_id), None)
    if letter is None:
        raise UnknownLetter(letter_id=letter_id, board=board.paths)
    session.gateway().resend(letter)
    value = {"ok": True, "task_id": letter.task_id, "letter_id": letter_id}
    answer(as_json, value, f"Letter {letter_id} goes to {_chat(letter)} again, by {letter.profile}")


def _by(board: Board, task_id: str, chat: dict[str, Any]) -> str:
    """Who tells the chat of the task, as the end of a sentence."""
    wanted = (chat["platform"], chat["chat_id"], chat["thread_id"])
    found = [s.notifier_profile for s in board.subscriptions(task_id) if (s.platform, s.chat_id, s.thread_id) == wanted]
    return f": {found[0]} tells it" if found and found[0] else ""


def _chat(letter: DeadLetter) -> str:
    return ":".join(filter(None, (letter.platform, letter.chat_id, letter.thread_id)))
