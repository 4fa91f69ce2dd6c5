"""The pages in a real browser, as a person has them: what moves by itself, what is reached by keys, what leaves the
machine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from kanban_shards import Gateway
from kanban_shards.errors import Refused
from tests.browser import opened
from tests.docs import story
from tests.serving import served

# From the verdict to the card: what is told takes some milliseconds (test_web.py), and the rest is the browser's. A
# margin for two cores that do more than this.
SHOWN_MS = 500
SIZES = {"wide": (1440, 900), "half": (900, 700), "phone": (390, 780)}


@pytest.fixture
def address(home: str) -> Iterator[str]:
    """A page of the board of ``home``."""
    with served(home) as there:
        yield there


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Page]:
    """A page on which nothing may go wrong: no error on its console, no request to elsewhere. It is closed before
    ``address`` is no longer served."""
    wrong: list[str] = []
    with opened(tmp_path_factory.mktemp("browser")) as found:
        found.on("console", lambda said: _note(said.type, said.text, wrong))
        found.on("pageerror", lambda error: wrong.append(str(error)))
        found.on("request", lambda request: _note_request(request.url, wrong))
        found.set_default_timeout(15_000)
        yield found
    assert wrong == []


def test_a_task_of_another_process_appears_moves_and_is_done_without_a_reload(
    page: Page, address: str, home: str
) -> None:
    page.goto(address)
    expect(page.locator(".sentence").first).to_contain_text("There is no board")
    _elsewhere(home, "first = gateway.make('Made elsewhere').task_id")
    card = page.locator(".card", has_text="Made elsewhere")
    expect(page.locator(".column.is-ready").locator(card)).to_be_visible()
    page.evaluate("window.neverReloaded = true")
    task_id = card.get_attribute("id")
    _elsewhere(home, f"gateway.claim({task_id!r}, lease_s=600)")
    expect(page.locator(f".column.is-running #{task_id}")).to_contain_text("amy runs it")
    expect(page.locator(f"#{task_id} progress")).to_be_visible()
    _elsewhere(home, f"gateway.complete({task_id!r}, summary='it is done')")
    expect(page.locator(f".column.is-done #{task_id}")).to_be_visible()
    expect(page.locator(f".column.is-running #{task_id}")).to_have_count(0)
    expect(page.locator("#aloud")).to_contain_text("Made elsewhere: done")
    assert page.evaluate("window.neverReloaded")


def test_a_card_that_moves_is_seen_to_move(page: Page, address: str, home: str) -> None:
    with Gateway("amy", home=home) as amy:
        task_id = amy.make("It moves").task_id
        page.goto(address)
        expect(page.locator(".live.is-on")).to_be_attached()
        page.evaluate(
            """() => { window.seen = []; const real = Element.prototype.animate;
            Element.prototype.animate = function (frames, how) { window.seen.push([this.id, JSON.stringify(frames)]);
            return real.call(this, frames, how); }; }"""
        )
        amy.claim(task_id)
        expect(page.locator(f".column.is-running #{task_id}")).to_be_visible()
    moves = [frames for card, frames in page.evaluate("window.seen") if card == task_id]
    assert any(re.search(r"translate\(-\d", frames) for frames in moves), "from the column on the left to this one"


def test_the_page_shows_a_merge_within_a_moment(page: Page, address: str, home: str) -> None:
    """From the verdict to the card in the page."""
    with Gateway("amy", home=home) as amy:
        amy.make("There before")
        page.goto(address)
        expect(page.locator(".live.is-on")).to_be_attached()
        took = []
        for number in range(5):
            page.evaluate(
                f"""() => {{ window.shownAt = new Promise((shown) => new MutationObserver(() => {{
                for (const card of document.querySelectorAll(".card"))
                    if (card.textContent.includes("Task {number}.")) shown(Date.now()); }})
                .observe(document.body, {{ childList: true, subtree: true }})); }}"""
            )
            task_id = amy.make(f"Task {number}.").task_id
            shown_ms = page.evaluate("window.shownAt")
            took.append(shown_ms - amy.board.verdict("amy", number + 2).at_ms)
            assert page.locator(f"#{task_id}").count() == 1
        assert sorted(took)[2] < SHOWN_MS, took


def test_the_task_page_follows_too(page: Page, address: str, home: str) -> None:
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.make("Wanted by two").task_id
        page.goto(f"{address}b/default/t/{task_id}")
        expect(page.locator("#head .status")).to_have_text("ready")
        amy.claim(task_id)
        expect(page.locator("#head .status")).to_have_text("running")
        with pytest.raises(Refused):
            bob.claim(task_id)
        amy.comment(task_id, "nearly there")
        amy.sync()
        expect(page.locator("#comments")).to_contain_text("nearly there")
        refused = page.locator("#history .event.is-refused")
        expect(refused).to_contain_text("refused · wrong_status")
        expect(refused).to_contain_text("bob")


def test_everything_by_keys_alone(page: Page, address: str, home: str) -> None:
    ids = story.play(home)
    page.goto(address)
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("icons")
    expect(page.locator(".card")).to_have_count(1)
    assert page.url.endswith("?q=icons")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('.card').id") == ids["icons"]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/t/{ids['icons']}")
    page.keyboard.press("Escape")
    page.wait_for_url("**/b/default/")
    page.keyboard.press("ArrowRight")
    first = page.evaluate("document.activeElement.closest('.column').dataset.status")
    page.keyboard.press("ArrowRight")
    assert (first, page.evaluate("document.activeElement.closest('.column').dataset.status")) == ("triage", "todo")
    page.keyboard.press("h")
    page.wait_for_url("**/health")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("Examine"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#findings h2")).to_have_text("What the doctor found")


def test_the_slider_goes_through_time(page: Page, address: str, home: str) -> None:
    ids = story.play(home)
    page.goto(address)
    page.keyboard.press("p")
    page.wait_for_url("**/?at=now")
    page.evaluate("window.neverReloaded = true")
    moment, slider = page.locator(".moment"), page.locator("#slider")
    last = int(slider.get_attribute("max"))
    expect(moment).to_contain_text(f"entry {last} of {last}")
    expect(page.locator(f".column.is-blocked #{ids['prices']}")).to_be_visible()
    slider.evaluate("(slider) => { slider.value = 1; slider.dispatchEvent(new Event('input')); }")
    expect(moment).to_contain_text(f"entry 1 of {last}")
    expect(page.locator(".card")).to_have_count(1)
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card")).to_have_count(2)
    page.keyboard.press(",")
    expect(page.locator(".card")).to_have_count(1)
    page.keyboard.press(".")
    expect(moment).to_contain_text(f"entry 2 of {last}")
    assert page.url.endswith("?at=2") and page.evaluate("window.neverReloaded")
    page.locator("a[rel=next]").click()
    expect(moment).to_contain_text(f"entry 3 of {last}")
    page.locator(f"#{ids['prd']} .title").click()
    expect(page.locator(".notice")).to_contain_text("As it stood at entry 3")
    expect(page.locator("#head .status")).to_have_text("ready")
    page.go_back()
    page.locator("a", has_text="back to now").click()
    expect(page.locator(f".column.is-done #{ids['prd']}")).to_be_visible()


def test_the_past_stands_still_and_the_present_does_not(page: Page, address: str, home: str) -> None:
    with Gateway("amy", home=home) as amy:
        amy.make("First")
        amy.make("Second")
        page.goto(f"{address}b/default/?at=1")
        expect(page.locator(".card")).to_have_count(1)
        assert page.locator(".card time").text_content() == "0 s"
        amy.make("Third")
        page.wait_for_timeout(1_500)  # in which a page of the present would have changed
        expect(page.locator(".card")).to_have_count(1)
        assert page.locator(".card time").text_content() == "0 s"


def test_a_person_writes_on_the_page_and_is_told_of_others(page: Page, home: str) -> None:
    with served(home, "--write", before=("--profile", "cleo")) as address, Gateway("bob", home=home) as bob:
        page.goto(address)
        page.locator("#new").click()
        page.locator("[name=title]").fill("Written by a person")
        page.locator("[name=assignee]").fill("bob")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Written by a person")
        task_id = page.locator("#head code").text_content()
        expect(page.locator(".live.is-on")).to_be_attached()
        page.keyboard.press("c")
        page.keyboard.type("please soon")
        page.locator("button", has_text="Comment").click()
        expect(page.locator(".notice.is-done")).to_contain_text("Your comment is there")
        expect(page.locator("#comments")).to_contain_text("please soon")
        page.locator("#deeds summary", has_text="Block").click()
        page.locator("details[open] textarea").fill("my reason")
        bob.claim(task_id)
        expect(page.locator("#head .status")).to_have_text("running")  # and what is being written stays
        page.locator("details[open] button").click()
        expect(page.locator(".notice.is-stale")).to_contain_text("claimed by bob")
        expect(page.locator(".notice.is-stale")).to_contain_text("my reason")
        assert bob.board.task(task_id).status == "running"
        page.locator("#deeds summary", has_text="Archive").click()
        page.locator("details[open] button").click()
        expect(page.locator("#head .status")).to_have_text("archived")
        assert bob.board.task(task_id).status == "archived"
        page.goto("about:blank")


def test_focus_stays_where_it_is_when_the_board_changes(page: Page, address: str, home: str) -> None:
    with Gateway("amy", home=home) as amy:
        first, second = amy.make("First").task_id, amy.make("Second").task_id
        page.goto(address)
        expect(page.locator(".live.is-on")).to_be_attached()
        page.locator(f"#{second} .title").focus()
        amy.claim(first)
        expect(page.locator(f".column.is-running #{first}")).to_be_visible()
        assert page.evaluate("document.activeElement.closest('.card').id") == second


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_every_width_in_light_and_dark(page: Page, address: str, home: str, size: str, scheme: str) -> None:
    """No page is wider than its window: what is wider scrolls in itself. Words stand out from what is behind them."""
    ids = story.play(home)
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    for there in ("", "?lanes=assignee", f"t/{ids['markup']}", f"t/{ids['prices']}", "health", "graph", "?at=20"):
        page.goto(f"{address}b/default/{there}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, there
        contrast, words = page.evaluate(_CONTRAST)
        assert contrast >= 4.5, (there, words)
    assert page.title() != "1", "a title became markup"


def test_texts_in_any_direction_and_of_any_length(page: Page, address: str, home: str) -> None:
    with Gateway("amy", home=home) as amy:
        amy.make(story.RTL)
        amy.make("W" * 10_000)
        amy.make("a\u202edesrever\x00\x1b[31m")
        amy.make(story.MARKUP, body=story.MARKUP + "\n" + "x" * 10_000)
    page.set_viewport_size({"width": 390, "height": 780})
    page.goto(address)
    expect(page.locator(".card")).to_have_count(4)
    for card in page.locator(".card").all():
        assert card.bounding_box()["width"] < 390 and card.bounding_box()["height"] < 300
    page.locator(".card", has_text="<img").locator(".title").click()
    expect(page.locator("h1")).to_have_text(story.MARKUP)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_phone_shows_cards_before_empty_columns(page: Page, address: str, home: str) -> None:
    with Gateway("amy", home=home) as amy:
        amy.complete(amy.claim(amy.create("done")))
    page.set_viewport_size({"width": 390, "height": 780})
    page.goto(address)
    expect(page.locator(".card")).to_be_in_viewport()


def test_it_works_without_the_script(page: Page, address: str, home: str) -> None:
    """Made by the server: what follows and moves is missing, and nothing else."""
    story.play(home)
    page.route("**/board.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(address)
    page.locator("#search").fill("icons")
    page.locator("button", has_text="Filter").click()
    expect(page.locator(".card")).to_have_count(1)
    page.locator(".card .title").click()
    expect(page.locator("h1")).to_have_text("Icons for the mobile layout")


def test_a_page_that_nobody_sees_holds_no_connection(page: Page, address: str, home: str) -> None:
    """A browser has six for a server; a seventh page would wait for ever."""
    with Gateway("amy", home=home) as amy:
        amy.make("A task")
    pages = [page, *(page.context.new_page() for _ in range(7))]
    for each in pages:
        each.goto(address)
        each.evaluate(_HIDE)
    expect(pages[-1].locator(".card")).to_have_count(1)


# --- how ---------------------------------------------------------------------------------------------------------

_HIDE = """() => { Object.defineProperty(document, "hidden", { value: true });
document.dispatchEvent(new Event("visibilitychange")); }"""

# The least contrast of the words on the page, as WCAG has it, against the nearest ground behind them.
_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const over = (top, under) => top.slice(0, 3)
    .map((part, place) => part * top[3] / 255 + under[place] * (1 - top[3] / 255));
  const light = (color) => { const [r, g, b] = color.map((part) => part / 255)
    .map((part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (element) => { const grounds = [];
    for (let each = element; each; each = each.parentElement)
      grounds.push(read(getComputedStyle(each).backgroundColor));
    return grounds.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  let least = [99, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility({ checkOpacity: true })
        || element.closest("select, .aloud, .skip, .face")) continue;
    const under = behind(element), color = over(read(getComputedStyle(element).color), under);
    const [high, low] = [light(color), light(under)].sort((a, b) => b - a);
    const contrast = (high + .05) / (low + .05);
    if (contrast < least[0]) least = [contrast, walker.currentNode.textContent.trim()];
  }
  return least; }"""


def _elsewhere(home: str, code: str) -> None:
    """``code`` with a gateway of amy, in another process."""
    program = f"from kanban_shards import Gateway\nwith Gateway('amy', home={home!r}) as gateway:\n    {code}\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def _note(kind: str, text: str, wrong: list[str]) -> None:
    """What a browser says of a form that was refused is no error of the page."""
    if kind in ("error", "warning") and "409 (Conflict)" not in text:
        wrong.append(text)


def _note_request(url: str, wrong: list[str]) -> None:
    if not re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:|about:)", url):
        wrong.append(f"asked for {url}")
