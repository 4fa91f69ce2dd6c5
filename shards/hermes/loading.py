"""Loading: a Hermes module that was just executed becomes bridged, or its process ends with one sentence.

Hermes never goes on unpatched where it was meant to be patched: it would write the board as before, be refused by the
board's triggers at every turn, and checkpoint it from outside of the coordinator's lock.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NoReturn

_log = logging.getLogger(__name__)


def bridge(module: ModuleType) -> str:
    """Patch ``hermes_cli.kanban_db``, once its version and the signatures of what is patched are known to be right.

    Returns the folder of the package that did it, for whoever wonders which. Otherwise the process ends; an exception
    would not do, because Hermes catches what an import raises, in many places, and goes on.
    """
    try:
        from kanban_shards.hermes import versions

        version = versions.check(module)
        from kanban_shards.hermes.patch import patch  # what it rests on is right

        patch(module)
    except BaseException as error:
        stop(_sentence(error))
    _log.info("Hermes %s works on the boards of kanban-shards", version)
    return str(Path(__file__).parents[1])


def stop(sentence: str) -> NoReturn:
    """Say the sentence on standard error, and in Hermes's logs where it keeps some; then end the process."""
    said = f"kanban-shards: {sentence}"
    with suppress(OSError, ValueError, AttributeError):  # closed, or none
        sys.stdout.flush()
        sys.stderr.flush()
    with suppress(OSError):
        os.write(2, f"{said}\n".encode(errors="backslashreplace"))
    if logging.getLogger().handlers:  # of a supervised gateway, standard error may lead nowhere
        _log.critical(said)
        _write_logs()
    os._exit(1)


def _write_logs() -> None:
    """What is logged reaches the files: Hermes 0.18 and later write them from a thread that ends with the process."""
    drain = getattr(sys.modules.get("hermes_logging"), "drain_log_queue", None)
    if drain is not None:
        with suppress(Exception):
            drain()


def _sentence(error: BaseException) -> str:
    from kanban_shards.errors import KanbanError

    if isinstance(error, KanbanError):
        return str(error)
    return (
        f"Hermes stops, because it could not be bridged to the boards of kanban-shards ({error!r}); please report it. "
        "`kanban-merge hermes uninstall` gives the boards back to Hermes; with KANBAN_SHARDS_HERMES=0 in the "
        "environment it can read them."
    )
