"""Bridges: the Hermes that open a home, and whether each works on our boards; for ``status`` and the doctor.

Nothing is run or imported to find out, whatever the home says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kanban_shards.coordinator.hermes import startfiles
from kanban_shards.coordinator.hermes.interpreters import HermesEnvironment, find
from kanban_shards.coordinator.hermes.record import known
from kanban_shards.coordinator.hermes.running import unbridged
from kanban_shards.errors import HermesDiffers, HermesNotKnown, StorageError
from kanban_shards.paths import root_folder

# It works on boards of its own, and none of the home is ours: nothing is to be bridged.
ALONE = "on its own boards"
# It loads the bridge, and works.
ACTIVE = "active"
# One or both of the start files are missing: it opens our board as if it were its own.
FILES_MISSING = "files missing"
# The start files are another version's.
OTHER_FILES = "other version"
# The start files are there, and what they load is not.
PACKAGE_MISSING = "package missing"
# It loads the bridge, and stops: its version or its functions are not known.
STOPS = "unknown Hermes"


@dataclass(frozen=True)
class Bridge:
    """A Hermes that opens the home. ``state``: one of the words above; ``unbridged``: its processes that began before
    it was bridged, in words; ``cure``: what to do, empty if it is active."""

    environment: HermesEnvironment
    version: str
    state: str
    cure: str = ""
    unbridged: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"Hermes {self.version} in {self.environment.prefix}"

    def as_dict(self) -> dict[str, object]:
        """What ``--json`` shows of it."""
        return {
            "python": str(self.environment.python),
            "site": str(self.environment.site),
            "version": self.version,
            "state": self.state,
            "unbridged": list(self.unbridged),
            "problem": self.problem or None,
        }

    @property
    def works(self) -> bool:
        """Whether it opens each board as what that is."""
        return self.state in (ACTIVE, ALONE)

    @property
    def problem(self) -> str:
        """What is wrong, as a sentence; empty if nothing is."""
        if self.works and not self.unbridged:
            return ""
        if self.unbridged:
            return (
                f"{self} was bridged after {', '.join(self.unbridged)} began, which opens the board as its own; "
                "stop and start it again."
            )
        if self.state == STOPS:
            return self.cure
        return f"{self} opens this home and does not work on its boards ({self.state}): {self.cure}."


def bridges(
    home: Path, others: Iterable[HermesEnvironment] = (), *, thorough: bool = False, has_ours: bool = True
) -> list[Bridge]:
    """The Hermes that open ``home``: those that were installed for it, and if it is this user's own, those that this
    user has; and ``others``. ``thorough``: look at each function of theirs, which takes a tenth of a second, and not
    at the version alone. ``has_ours``: whether a board of the home is ours."""
    own = find(home) if home == root_folder() else ()
    return [_bridge(each, thorough, has_ours) for each in known(home, [*others, *own])]


def _bridge(environment: HermesEnvironment, thorough: bool, has_ours: bool) -> Bridge:
    again = f"`kanban-merge hermes install --python {environment.python}`"
    files = startfiles.look(environment.site)
    try:
        version = environment.version
    except (StorageError, OSError) as error:
        return Bridge(environment, "of no version", STOPS, f"{environment.package} cannot be read: {error}")
    if not startfiles.any_in(environment.site) and not has_ours:
        return Bridge(environment, version, ALONE)
    if files == startfiles.MISSING:
        return Bridge(environment, version, FILES_MISSING, f"{again} bridges it")
    if not environment.has_us:
        return Bridge(environment, version, PACKAGE_MISSING, f"run `{environment.bringing_us}`")
    if files == startfiles.DIFFERENT:
        return Bridge(environment, version, OTHER_FILES, f"{again} writes them anew")
    try:
        environment.check(thorough=thorough)
    except (HermesNotKnown, HermesDiffers) as error:
        return Bridge(environment, version, STOPS, str(error))
    except (StorageError, OSError) as error:
        return Bridge(environment, version, STOPS, f"{environment.package} cannot be read: {error}")
    return Bridge(environment, version, ACTIVE, unbridged=tuple(unbridged(environment).values()))
