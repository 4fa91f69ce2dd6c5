"""Tell a story to one side, and hear what it says."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.hermes.side_by_side.normal import Normal
from tests.hermes.side_by_side.side import Said, Side
from tests.hermes.side_by_side.stories import PROFILES, Story

TASK = re.compile(r"\bt_[0-9a-f]{8,}\b")
# Longer than a line of ours may be; and what upstream lets through without a word.
LONG = {"long": "long " * 400, "longer": "§ long words\n" * 40_000, "mebibyte": "x" * 2**20}


def _wait(side: Side, home: Path) -> None:
    (home / "end").touch()
    side.wait_for_workers()
    (home / "end").unlink()


def _tick(side: Side, home: Path) -> None:
    time.sleep(1 - time.time() % 1)


PAUSES: dict[str, Callable[[Side, Path], None]] = {"wait": _wait, "tick": _tick}


@dataclass(frozen=True)
class Heard:
    """One call and what it said, without what differs between two runs of the same program."""

    line: str
    said: Said


def tell(side: Side, story: Story, config: str = "") -> list[Heard]:
    """Make the story's calls in a new home. ``config``: the text of its config.yaml."""
    home = side.new_home(story.name.replace(" ", "-"))
    furnish(home, story.files, config)
    names = {"home": str(home), **LONG}
    normal = Normal(str(home))
    return [Heard(line, _call(side, home, line, names, normal)) for line in story.calls]


def furnish(home: Path, files: dict[str, str], config: str) -> None:
    """Profiles, files and the configuration in a new home."""
    for profile in PROFILES:
        folder = home / ".hermes" / "profiles" / profile
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
    (home / ".hermes" / "config.yaml").write_text(config)
    for name, content in files.items():
        (home / name).write_text(content)
        (home / name).chmod(0o755)


def _call(side: Side, home: Path, line: str, names: dict[str, str], normal: Normal) -> Said:
    if line in PAUSES:
        PAUSES[line](side, home)
        return Said(0, "", "")
    keep, seconds, environment, words = parsed(line)
    words = [Template(word).safe_substitute(names) for word in words]
    env = {name: Template(value).safe_substitute(names) for name, value in environment.items()}
    said = side.call(home, words, env=env, interrupt_after_s=seconds)
    if keep:
        found = TASK.search(said.out)
        # Which is a difference, and what follows shows what comes of it.
        names[keep] = found[0] if found else "t_00000000"
    return Said(said.code, normal(said.out), normal(said.err))


def parsed(line: str) -> tuple[str, float, dict[str, str], list[str]]:
    """The name under which an id is kept, the seconds after which it is interrupted, the environment, the words."""
    keep, line = _cut(r"(\w+) = ", line)
    seconds, line = _cut(r"~([\d.]+) ", line)
    words = shlex.split(line)
    environment = {}
    while re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    return keep, float(seconds or 0), environment, words


def _cut(pattern: str, line: str) -> tuple[str, str]:
    """What the pattern's group finds in front of the line, and the rest."""
    found = re.match(pattern, line)
    return (found[1], line[found.end() :]) if found else ("", line)
