"""The figures of a run: printed as they come, kept as JSON, and written out as the page docs/figures.md."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from kanban_shards.cli.text import print_table


@dataclass(frozen=True)
class Spread:
    """One figure, measured once in each round."""

    values: tuple[float, ...]

    @classmethod
    def of_ratios(cls, above: Spread, below: Spread) -> Spread:
        """The ratios within each round, so that a noisy moment hits both alike."""
        pairs = zip(above.values, below.values, strict=True)
        return cls(tuple(high / low if low else float("inf") for high, low in pairs))

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def said(self, digits: int = 1) -> str:
        """The median, with the least and the greatest where there were several rounds."""
        if any(map(math.isnan, self.values)):
            return ""
        middle = f"{self.median:,.{digits}f}"
        if len(self.values) == 1:
            return middle
        return f"{middle} ({min(self.values):,.{digits}f}..{max(self.values):,.{digits}f})"


@dataclass
class Section:
    """What one benchmark found: a table, and lines that name what was asked and whether it was met."""

    title: str
    command: str
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Figures:
    """All that was found in one run of ``python -m benchmarks``."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self._context: click.Context | None = None

    def begin(self, title: str) -> None:
        """What follows belongs to a new section, of the command that runs now."""
        self._context = click.get_current_context()
        self.sections.append(Section(title, _as_typed(self._context)))
        click.secho(f"\n{title}", bold=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """The section's table, printed whole."""
        section = self.sections[-1]
        section.columns = list(columns)
        section.rows = [["" if cell is None else str(cell) for cell in row] for row in rows]
        print_table(section.columns, section.rows)

    def line(self, what: str, figure: str, compared: str) -> None:
        """One more row of a table that is printed line by line."""
        section = self._section()
        section.columns = ["what", "figure", "compared with, or spread"]
        section.rows.append([what, figure, compared])
        click.echo(f"{what:<46} {figure:>16}  {compared}".rstrip())

    def note(self, sentence: str) -> None:
        """Something that the table does not say: a peer that was left out, say."""
        self._section().notes.append(sentence)
        click.echo(sentence)

    def asked(self, what: str, found: float, *, most: float | None = None, least: float | None = None) -> None:
        """A figure beside what it must be: at most ``most``, or at least ``least``. Nothing fails on it."""
        met = found <= most if most is not None else found >= least
        bound = f"at most {most:,g}" if most is not None else f"at least {least:,g}"
        figure = f"{found:,.2f}" if found >= 1 else f"{found:.2g}"
        self.note(f"{what}: {figure}; asked {bound}: {'met' if met else 'NOT met'}")

    def _section(self) -> Section:
        """The one that is being written. The first line of a command begins one."""
        context = click.get_current_context()
        if context is not self._context:
            self.begin(context.command.get_short_help_str(limit=120).rstrip("."))
        return self.sections[-1]

    def save(self, path: Path, facts: dict[str, str]) -> None:
        """Keep everything as JSON. ``facts``: on what it was measured."""
        kept = {"facts": facts, "sections": [asdict(section) for section in self.sections]}
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# What this run of the program found so far.
FIGURES = Figures()

_INTRODUCTION = """\
# Figures

What things cost, measured by `benchmarks/` and written by `python -m benchmarks page`; nothing here is typed by hand.
Every comparison is made within one run, in rounds that take each peer in turn, so that whatever else the machine does
hits all alike. A figure is the median of the rounds, with the least and the greatest in brackets. Only ratios travel
from one machine to another.

What is compared: **shards** is this project, with a daemon and without one. **hermes** is hermes-agent as released,
with one connection for each operation, as its commands and gateways open them; *unchecked* is the same without the
check of the file after each commit that gives up SQLite's locks; *kept open* has one connection for the life of the
process, too; *bridged* is hermes-agent on this project's boards. **one file, flock** is one SQLite file with a lock
around every write, **one writer, queue** one process that writes what others send it and takes all that waits into one
commit. **huey** and **litequeue** are task queues, which give whatever is next and know neither comments nor
subscriptions. All commit with `synchronous=FULL`, carry the same texts and have the same number of processes. For this
project a create, a subscription and a comment are acknowledged when they are durable, and shown by the next pass; a
claim and a completion are acknowledged with their verdict. *Whole tasks* are made, with a chat that is told, claimed
and completed; this project says so in two batches, and hermes in four calls for each. *This ÷ peer* is what this
project does in a second with a daemon, divided by what the peer does, so above 1 this project is faster. *Shown after*
is how long after the end everything was on the board. *CPU* is that of all processes together; unlike a time, it does
not depend on what else the machine does.

What must not happen is counted on every row. *Lost*: acknowledged, and not there afterwards. *Doubled*: two winners of
one claim, or two tasks of one. *Corrupt*: boards that fail their check. *Errors*: calls that raised. *Refused*: claims
that somebody else won, which is no fault; their times count, but not as operations.

Where something is asked and *NOT met*, it is said which function takes how long: of an operation and of an entry in
[A pass](design/passes.md#what-an-operation-costs), of a claim among hosts in
[The service](design/service.md#what-a-claim-costs), of the bytes in [Files](design/files.md#what-a-change-takes).
"""


def page(kept: Path) -> str:
    """The page of figures, from the JSON of a run."""
    found = json.loads(kept.read_text(encoding="utf-8"))
    parts = [_INTRODUCTION, "## On what\n", _markdown(["", ""], [list(fact) for fact in found["facts"].items()])]
    for given in found["sections"]:
        section = Section(**given)
        parts.append(f"## {section.title}\n\n`python -m benchmarks {section.command}`\n")
        if section.rows:
            parts.append(_markdown(section.columns, section.rows))
        if section.notes:
            parts.append("".join(f"- {note}\n" for note in section.notes))
    return "\n".join(parts)


def _as_typed(context: click.Context) -> str:
    words = [context.info_name]
    for name, value in context.params.items():
        if value is not None:
            said = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", said]
    return " ".join(words)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
