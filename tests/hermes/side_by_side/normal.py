"""Output without what differs between two runs of the same program: ids, times, places and numbers of processes."""

from __future__ import annotations

import re

_TASK = re.compile(r"\bt_[0-9a-f]{8,}\b")
_UNKNOWN = {"t_00000000", "t_99999999"}
# Hermes sorts links by ids, which are drawn by lot.
_LINKS = re.compile(r"(?<=children: )[^\n]*|(?<=parents: )[^\n]*|(?<=\"children\": \[)[^]]*|(?<=\"parents\": \[)[^]]*")
_NAMED = re.compile(r"task-\d{5}")
# Numbers of runs, in words and in JSON; those of events, comments and files differ with the number of events.
_RUN = re.compile(r"((?:\bruns?|run_id[\"']?:|\[run) |  #)(\d+)\b")
_RULES = (
    (re.compile(r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?"), "<date>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<clock>"),
    (re.compile(r"\b1[789]\d{8}(\.\d+)?\b"), "<time>"),
    (re.compile(r"\bdate-\d{8}-\d{6}\b"), "<date>"),
    (re.compile(r"(?<=[a-z0-9_]-)20\d{6}[-_]\d{6}\b"), "<date>"),
    # A claim's lock is HOST:PID, in words and in JSON.
    (re.compile(r"\b[A-Za-z][\w.-]*:\d{2,7}\b(?=[\"'),\s]|$)"), "<host:pid>"),
    (re.compile(r"(\bpid[\"']?[ =:]+)\d+"), r"\1<pid>"),
    (re.compile(r"(_pid[\"']?: )\d+"), r"\1<pid>"),
    (re.compile(r"((age_seconds|time_to_complete_seconds)[\"']?: )\d+"), r"\1<age>"),
    (re.compile(r"((memory_rss_bytes|cpu_percent|num_fds|num_threads)[\"']?: )[\d.]+"), r"\1<figure>"),
    (re.compile(r"(age: )\d+s"), r"\1<age>"),
    (re.compile(r"(?<=  )\d+s(?=  )"), "<s>"),
    (re.compile(r" +(?=<s>)"), " "),
    (re.compile(r"\b\d+s ago\b"), "<s> ago"),
    (re.compile(r"(since event )\d+"), r"\1<event>"),
    (re.compile(r"(\"(?:last|latest)_event_id\": )\d+"), r"\1<event>"),
    (re.compile(r"(\"id\": )\d+"), r"\1<id>"),
)


class Normal:
    """Names things by the order in which one home's calls first spoke of them."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._names: dict[str, str] = {}
        self._runs: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        text = text.replace(self._home, "<home>")
        text = _RUN.sub(self._run, text)
        text = _LINKS.sub(_in_order, _TASK.sub(self._name, text))
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return text

    def _name(self, found: re.Match[str]) -> str:
        word = found[0]
        if word in _UNKNOWN:
            return word
        # As long as Hermes's own ids, so that columns stay where they are.
        return self._names.setdefault(word, f"task-{len(self._names) + 1:05d}")

    def _run(self, found: re.Match[str]) -> str:
        return f"{found[1]}{self._runs.setdefault(found[2], len(self._runs) + 1)}"


def _in_order(found: re.Match[str]) -> str:
    names = iter(sorted(_NAMED.findall(found[0])))
    return _NAMED.sub(lambda _: next(names), found[0])
