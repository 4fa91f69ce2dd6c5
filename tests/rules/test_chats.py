"""What is said about tasks: comments, files, subscriptions, deliveries."""

from __future__ import annotations

import json

from kanban_shards.changes.kinds import (
    AddComment,
    Adopt,
    Attach,
    Claim,
    Complete,
    Delivered,
    Detach,
    Note,
    Resend,
    Subscribe,
    Unsubscribe,
)
from tests.rules.game import START_S, Game

CHAT = {"platform": "telegram", "chat_id": "42"}


def subscription(game: Game) -> dict:
    (row,) = game.rows("SELECT * FROM kanban_notify_subs")
    return row


def test_comment(game: Game) -> None:
    """The shown author may be anybody; the profile that wrote it is always kept."""
    task_id = game.make()
    assert game.apply("pixiel", task_id, AddComment(text="hi")) == {"comment_id": 1}
    assert game.apply("pixiel", task_id, AddComment(text="hello", author="Olga")) == {"comment_id": 2}
    found = game.rows("SELECT author, body, created_at FROM task_comments ORDER BY id")
    assert found == [
        {"author": "pixiel", "body": "hi", "created_at": START_S},
        {"author": "Olga", "body": "hello", "created_at": START_S},
    ]
    assert game.events(task_id)[1:] == [
        ("commented", {"author": "pixiel", "len": 2, "by": "pixiel"}),
        ("commented", {"author": "Olga", "len": 5, "by": "pixiel"}),
    ]


def test_attach_and_detach(game: Game) -> None:
    task_id, other = game.make(), game.make()
    body = Attach(filename="a.txt", stored_path="/kept/a.txt", size=3, content_type="text/plain", uploaded_by="Olga")
    number = game.apply("pixiel", task_id, body)["attachment_id"]
    assert game.events(task_id)[-1] == ("attached", {"filename": "a.txt", "size": 3, "by": "Olga"})
    assert game.apply("bingge", other, Detach(attachment_id=number)) == {"detached": False}
    gone = {"detached": True, "stored_path": "/kept/a.txt"}
    assert game.apply("bingge", task_id, Detach(attachment_id=number)) == gone
    assert game.events(task_id)[-1] == ("attachment_removed", {"filename": "a.txt", "by": "bingge"})
    assert game.apply("bingge", task_id, Detach(attachment_id=number)) == {"detached": False}


def test_subscribe_from_now_on(game: Game) -> None:
    """The cursor is the newest event; subscribing twice is subscribing once, and moves no cursor."""
    task_id = game.make()
    assert game.apply("bingge", task_id, Subscribe(**CHAT, user_id="7", kinds=("completed",))) == {"subscribed": True}
    row = subscription(game)
    assert (row["last_event_id"], row["notifier_profile"], row["user_id"]) == (1, "bingge", "7")
    assert json.loads(row["delivery_metadata"]) == {"kinds": ["completed"]}
    again = game.apply("pixiel", task_id, Subscribe(**CHAT, from_start=True))
    assert (again, subscription(game)) == ({"subscribed": False}, row)


def test_subscribe_from_the_start(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT, from_start=True, notifier_profile="mafei", thread_id="t"))
    row = subscription(game)
    assert (row["last_event_id"], row["notifier_profile"], row["thread_id"]) == (0, "mafei", "t")


def test_subscribe_for_whoever_adopts_it(game: Game) -> None:
    """Nobody delivers until one asks to, and that one is the first."""
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT, unadopted=True, notifier_profile="mafei"))
    assert subscription(game)["notifier_profile"] is None
    game.refuse("bingge", task_id, Delivered(**CHAT, upto=1), "not_your_chat")
    game.apply("pixiel", task_id, Adopt(**CHAT))
    game.refuse("bingge", task_id, Adopt(**CHAT), "not_your_chat")
    assert subscription(game)["notifier_profile"] == "pixiel"


def test_note(game: Game) -> None:
    """It names who wrote it whatever its facts say, moves nothing, and is about a run of the task or none."""
    task_id, other = game.make(), game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    before = game.task(task_id)
    facts = {"reason": "quota", "by": "somebody"}
    game.apply("pixiel", task_id, Note(event="respawn_guarded", facts=facts), seen={})
    answer = game.apply("pixiel", task_id, Note(event="claim_extended", about_run=run_id), seen={})
    assert game.events(task_id)[-2:] == [
        ("respawn_guarded", {"reason": "quota", "by": "pixiel"}),
        ("claim_extended", {"by": "pixiel"}),
    ]
    (last,) = game.rows("SELECT id, run_id FROM task_events ORDER BY id DESC LIMIT 1")
    assert last == {"id": answer["event_id"], "run_id": run_id}
    assert game.task(task_id) == before
    game.refuse("pixiel", other, Note(event="claim_extended", about_run=run_id), "late")
    game.apply("bingge", task_id, Complete(run_id=run_id))
    game.apply("pixiel", task_id, Note(event="suspected_hallucinated_references", about_run=run_id))


def test_unsubscribe(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT))
    assert game.apply("pixiel", task_id, Unsubscribe(**CHAT, thread_id="t")) == {"unsubscribed": False}
    assert game.apply("pixiel", task_id, Unsubscribe(**CHAT)) == {"unsubscribed": True}
    assert game.apply("pixiel", task_id, Unsubscribe(**CHAT)) == {"unsubscribed": False}


def test_the_cursor_moves_forward_only(game: Game) -> None:
    """Not back, and not beyond the newest event there is."""
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT, from_start=True))
    game.apply("bingge", task_id, Complete())
    assert game.apply("bingge", task_id, Delivered(**CHAT, upto=2)) == {"last_event_id": 2}
    assert game.apply("bingge", task_id, Delivered(**CHAT, upto=1)) == {"last_event_id": 2}
    assert game.apply("bingge", task_id, Delivered(**CHAT, upto=999)) == {"last_event_id": 2}


def test_one_profile_delivers(game: Game) -> None:
    """What another one says about the chat is refused."""
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT))
    facts = game.refuse("pixiel", task_id, Delivered(**CHAT, upto=1), "not_your_chat")
    assert facts == {"notifier_profile": "bingge"}
    facts = game.refuse("pixiel", task_id, Adopt(**CHAT), "not_your_chat")
    assert facts == {"notifier_profile": "bingge"}


def test_a_dead_letter_and_sending_it_again(game: Game) -> None:
    """The cursor moves on, the letter stays, until it is delivered after all."""
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT, from_start=True))
    body = Delivered(**CHAT, upto=1, events=(1,), error="chat not found", attempts=6)
    assert game.apply("bingge", task_id, body) == {"last_event_id": 1, "letter_id": 1}
    (letter,) = game.rows("SELECT profile, event_ids, error, attempts, resend FROM merge_dead_letters")
    assert letter == {"profile": "bingge", "event_ids": "[1]", "error": "chat not found", "attempts": 6, "resend": 0}
    game.refuse("pixiel", task_id, Resend(letter_id=2), "no_subscription")
    assert game.apply("pixiel", task_id, Resend(letter_id=1)) == {"letter_id": 1}
    again = Delivered(**CHAT, upto=1, letter_id=1, error="still not", attempts=2)
    game.refuse("pixiel", task_id, again, "not_your_chat")
    assert game.apply("bingge", task_id, again) == {"buried": False}
    (letter,) = game.rows("SELECT error, attempts, resend FROM merge_dead_letters")
    assert letter == {"error": "still not", "attempts": 8, "resend": 0}
    game.apply("pixiel", task_id, Resend(letter_id=1))
    assert game.apply("bingge", task_id, Delivered(**CHAT, upto=1, letter_id=1)) == {"buried": True}
    assert game.rows("SELECT 1 FROM merge_dead_letters") == []


def test_a_dead_letter_of_a_chat_that_left(game: Game) -> None:
    """Nobody would send it; and whoever has the chat by now was not the one who could not."""
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT, from_start=True))
    game.apply("bingge", task_id, Delivered(**CHAT, upto=1, events=(1,), error="chat not found", attempts=6))
    game.apply("bingge", task_id, Unsubscribe(**CHAT))
    game.refuse("bingge", task_id, Resend(letter_id=1), "no_subscription")
    game.apply("pixiel", task_id, Subscribe(**CHAT))
    facts = game.refuse("bingge", task_id, Resend(letter_id=1), "not_your_chat")
    assert facts == {"notifier_profile": "pixiel"}
    assert game.rows("SELECT resend FROM merge_dead_letters") == [{"resend": 0}]


def test_what_was_delivered_to_a_chat_that_left(game: Game) -> None:
    task_id = game.make()
    assert game.apply("bingge", task_id, Delivered(**CHAT, upto=1)) == {"last_event_id": None}
    game.refuse("bingge", task_id, Adopt(**CHAT), "no_subscription")


def test_an_ownerless_subscription_gets_one_owner(game: Game) -> None:
    """The first profile that asks delivers from then on, and no other one."""
    task_id = game.make()
    game.apply("bingge", task_id, Subscribe(**CHAT))
    game.imported("UPDATE kanban_notify_subs SET notifier_profile = NULL")
    game.refuse("pixiel", task_id, Delivered(**CHAT, upto=1), "not_your_chat")
    assert game.apply("pixiel", task_id, Adopt(**CHAT)) == {"notifier_profile": "pixiel"}
    game.refuse("mafei", task_id, Adopt(**CHAT), "not_your_chat")
    game.apply("pixiel", task_id, Delivered(**CHAT, upto=1))
    assert subscription(game)["notifier_profile"] == "pixiel"
