"""Startup: what the two start files of a Hermes environment call, in every Python process there.

Each ``python`` of that environment pays for this module, so it imports nothing but ``sys``, and what it leaves behind
is one comparison for each module that is imported later. The rest is loaded with ``hermes_cli.kanban_db``, in the
processes that import it.
"""

import sys

TYPE_CHECKING = False  # that of ``typing`` costs more than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import NoReturn

BRIDGED = "hermes_cli.kanban_db"
# "0" in this variable leaves Hermes as it is; what it then writes to a board of ours, the board refuses.
SWITCH = "KANBAN_SHARDS_HERMES"
# What a bridged module has, and no other: the folder of the package that did it.
MARK = "KANBAN_SHARDS"


def start() -> None:
    """Have ``hermes_cli.kanban_db`` bridged whenever it is imported from now on; once, however often this is called."""
    from os import environ  # every Python that reads start files has it loaded

    if environ.get(SWITCH) != "0" and not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


class Finder:
    """Finds ``hermes_cli.kanban_db`` where the other finders of the process do, and nothing else.

    It imports nothing while it finds: a thread that holds the lock of another module could wait for this one. It stays
    when it was asked, because a module may be loaded again.
    """

    def __init__(self) -> None:
        self._asking: set[int] = set()

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The module's spec, with a loader that bridges it."""
        if name != BRIDGED:
            return None
        from _thread import get_ident  # built in, and loaded always

        here = get_ident()
        if here in self._asking:  # another finder of this kind asks everybody, as this one does
            return None
        self._asking.add(here)
        try:
            for finder in list(sys.meta_path):
                find = None if finder is self else getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = find(name, path, target) if find else None
                if spec is not None:
                    if spec.loader is not None and not isinstance(spec.loader, BridgingLoader):
                        spec.loader = BridgingLoader(spec.loader)  # type: ignore[assignment]
                    return spec
        finally:
            self._asking.discard(here)
        return None


class BridgingLoader:
    """The module's own loader in every respect, but that the module is bridged as soon as it was executed."""

    def __init__(self, loader: "Loader") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def exec_module(self, module: "ModuleType") -> None:
        """Execute the module, then bridge it; what fails in the second ends the process."""
        module.__dict__.pop(MARK, None)  # it may be loaded again into the namespace that it has
        self._loader.exec_module(module)
        if MARK in module.__dict__:  # by a loader like this one, further in
            return
        try:
            from kanban_shards.hermes.loading import bridge
        except BaseException as error:  # half a package: an upgrade that was cut short
            _stop_without_help(error)
        module.__dict__[MARK] = bridge(module)


def _stop_without_help(error: BaseException) -> "NoReturn":
    """As ``loading.stop``, which cannot be imported."""
    import os

    sentence = f"Hermes stops, because kanban-shards cannot be loaded ({error!r}); install it again in this environment"
    os.write(2, f"kanban-shards: {sentence} ({sys.prefix}).\n".encode(errors="backslashreplace"))
    os._exit(1)
