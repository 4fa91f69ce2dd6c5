"""docs/web.md is true: its commands, keys and pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs import pictures
from tests.docs.test_readme import COMMANDS, check_words

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / "shards" / "web" / "static" / "board.js").read_text(encoding="utf-8")
PORT = re.search(r"127\.0\.0\.1:(\d+)/>", PAGE)[1]
# Of one picture: what a page with pictures may cost whoever reads it.
LARGEST_BYTES = 200_000


def test_every_command_and_option_that_is_named_exists() -> None:
    named = [words for words in re.findall(r"`([^`\n]+)`", PAGE) if words.split()[0] in COMMANDS]
    named += re.findall(r"^kanban .+$", PAGE, re.M)
    named += [f"kanban web {option} X" for option in re.findall(r"`(--\w+) ?[\w]*`", PAGE) if option != "--open"]
    assert len(named) > 5
    for words in named:
        group, *rest = words.split()
        check_words(COMMANDS[group], [word for word in rest if word != "X"])


def test_the_port_is_the_usual_one() -> None:
    (option,) = [each for each in COMMANDS["kanban"].get_command(None, "web").params if each.name == "port"]
    assert str(option.default) == PORT


def test_every_picture_that_is_made_is_shown_and_small() -> None:
    shown = set(re.findall(r"!\[[^\]]+\]\(images/([\w-]+)\.png\)", PAGE))
    assert shown == {name for name, *_ in pictures.PICTURES}
    for name in shown:
        assert (ROOT / "docs" / "images" / f"{name}.png").stat().st_size < LARGEST_BYTES


def test_the_keys_are_those_of_the_script() -> None:
    listed = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", PAGE.partition("## Keys")[2].partition("## ")[0], re.M)[2:]
    keys = {key.strip("`") for cell in listed for key in re.split(r", (?=\w)|(?<=`) ", cell)}
    does = SCRIPT.partition("const does = {")[2].partition("\n  };")[0]
    known = {quoted or bare for quoted, bare in re.findall(r'(?:"(\S)"|\b([a-z]|\w{5,})): \(\) =>', does)}
    arrows = {key for key in known if key.startswith("Arrow")}
    assert len(arrows) == 4
    assert keys - {"arrows", "Enter"} == {{"Escape": "Esc"}.get(key, key) for key in known - arrows}
