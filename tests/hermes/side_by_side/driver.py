"""``hermes kanban`` many times in one process, run by the interpreter of an environment of Hermes.

Each line on standard input is JSON: the words of one call in ``argv``, ``home``, more of the environment in ``env``;
each line on standard output says what the verb returned (the exit code, which 0.19.0 drops on its way to the shell),
and what it printed. A start of Hermes takes a second, a call some milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

HERMES = "HERMES_"


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    from hermes_cli import kanban

    parser = argparse.ArgumentParser(prog="hermes")
    verbs = kanban.build_parser(parser.add_subparsers())
    for line in sys.stdin:
        told = json.loads(line)
        if "argv" in told:
            answer = _call(lambda argv: kanban.kanban_command(parser.parse_args(["kanban", *argv])), told)
        elif "wait" in told:
            answer = _wait()
        elif "routes" in told:
            answer = _routes()
        else:
            answer = list(_verbs(verbs, [[]]))
        _say(answers, answer)


def _say(answers: TextIO, answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _call(hermes: Callable[[list[str]], int], told: dict[str, Any]) -> dict[str, Any]:
    for name in [name for name in os.environ if name.startswith(HERMES)]:
        del os.environ[name]
    os.environ.update(HOME=told["home"], **told.get("env", {}))
    os.chdir(told["home"])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        if told.get("interrupt_after_s"):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
            signal.setitimer(signal.ITIMER_REAL, told["interrupt_after_s"])
        try:
            code = _code_of(hermes, told["argv"])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.stdout.flush()
            sys.stderr.flush()
            for number, fd in enumerate(kept, 1):
                os.dup2(fd, number)
                os.close(fd)
        return {"code": code, "out": _read(out), "err": _read(err)}


def _code_of(hermes: Callable[[list[str]], int], argv: list[str]) -> int:
    """What the verb returned, or what the interpreter would end with."""
    try:
        return hermes(argv)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except BaseException:  # as the interpreter shows it
        traceback.print_exc()
        return 1


def _routes() -> list[str]:
    """The methods and paths that the dashboard's plugin answers."""
    from plugins.kanban.dashboard import plugin_api

    return [f"{method} {route.path}" for route in plugin_api.router.routes for method in getattr(route, "methods", ())]


def _wait() -> None:
    """Until every child has ended. They stay for Hermes to collect."""
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _read(file: Any) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _verbs(parser: argparse.ArgumentParser, spellings: list[list[str]]) -> Iterator[dict[str, Any]]:
    """Every verb in its spellings, each as words, and its flags, each in its spellings."""
    flags = [list(action.option_strings) for action in parser._actions if action.option_strings]
    yield {"spellings": spellings, "flags": [words for words in flags if "--help" not in words]}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in {id(verb): verb for verb in action.choices.values()}.values():
                names = [name for name, named in action.choices.items() if named is verb]
                yield from _verbs(verb, [[*words, name] for words in spellings for name in names])


if __name__ == "__main__":
    main()
