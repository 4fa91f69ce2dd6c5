"""A board in the middle of a day's work, for the pictures of the pages and for the tests that look at them."""

from __future__ import annotations

from kanban_shards import Gateway
from kanban_shards.errors import Refused

RTL = "\u05d4\u05d3\u05e3 \u05d1\u05e2\u05d1\u05e8\u05d9\u05ea: \u05d1\u05d3\u05d9\u05e7\u05d4"
MARKUP = '<img src=x onerror="document.title=1"> & <b>bold</b>'


def play(home: str) -> dict[str, str]:
    """Three profiles at work on the board of ``home``; the ids of some of its tasks, by a word."""
    with (
        Gateway("bingge", home=home) as bingge,
        Gateway("pixiel", home=home) as pixiel,
        Gateway("mafei", home=home) as mafei,
    ):
        ids = _planned(bingge)
        _worked(bingge, pixiel, mafei, ids)
        bingge.sync()
        pixiel.sync()
        mafei.sync()
    return ids


def _planned(bingge: Gateway) -> dict[str, str]:
    body = "Ten pages: what changes for whom, and how we shall know that it worked."
    ids = {"prd": bingge.create("Sprint 3 PRD", body=body, assignee="bingge", priority=5, tenant="north")}
    for word, title, who, priority, parents in (
        ("mockups", "Mock-ups of the sign-in page", "pixiel", 4, ["prd"]),
        ("copy", "Words for the sign-in page", "mafei", 3, ["prd"]),
        ("build", "Build the sign-in page", "bingge", 3, ["mockups", "copy"]),
        ("test", "Try it with three users", "mafei", 2, ["build"]),
        ("launch", "Announce it", "mafei", 1, ["test"]),
        ("search", "Search index: weekly rebuild", "bingge", 2, []),
        ("prices", "Price table in two currencies", "pixiel", 4, []),
        ("mail", "Welcome mail, second draft", "mafei", 3, []),
        ("backup", "Prove the backup of Friday", "bingge", 6, []),
        ("icons", "Icons for the mobile layout", "pixiel", 2, []),
    ):
        ids[word] = bingge.create(title, assignee=who, priority=priority, parents=[ids[each] for each in parents],
                                  tenant="south" if word in ("prices", "mail") else "north")  # fmt: skip
    ids["rtl"] = bingge.create(RTL, assignee="pixiel", priority=1)
    ids["markup"] = bingge.create(MARKUP, body="Its title is text, and nothing else.\nSee " + ids["prd"])
    bingge.create("A dashboard for support, to be thought through", starts="triage")
    bingge.create("What do customers ask for most?", starts="triage", tenant="south")
    return ids


def _worked(bingge: Gateway, pixiel: Gateway, mafei: Gateway, ids: dict[str, str]) -> None:
    run = bingge.claim(ids["prd"])
    try:
        pixiel.claim(ids["prd"])
    except Refused:
        pass
    bingge.heartbeat(run, "the outline stands")
    bingge.complete(run, summary="Ten pages. The sign-in page comes first.", result="prd.md", metadata={"words": 3200})
    bingge.complete(bingge.claim(ids["backup"]), summary="Restored it beside the board; every row is there.")
    mafei.complete(mafei.claim(ids["mail"]), summary="Shorter by half.")
    pixiel.heartbeat(pixiel.claim(ids["mockups"], lease_s=1_800), "two of five screens")
    mafei.claim(ids["copy"], lease_s=600)
    pixiel.block(pixiel.claim(ids["prices"]), "Which exchange rate, and from which day?", kind="needs_input")
    bingge.review(bingge.claim(ids["search"]), summary="Rebuilds in four minutes; please look at the cron line.")
    mafei.comment(ids["prices"], "The one of the invoice, I think, but ask the office.")
    bingge.comment(ids["prices"], f"Asked. Until then {ids['icons']} goes first.")
    pixiel.subscribe(ids["prices"], platform="telegram", chat_id="42")
    with_file = bingge.paths.folder / "rates.csv"
    with_file.write_text("day,eur\n2026-11-02,0.92\n", encoding="utf-8")
    bingge.attach(ids["prices"], with_file)
    with_file.unlink()
