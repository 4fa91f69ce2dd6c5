"""Target: what the board that an import goes to has already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from kanban_shards.coordinator.state.session import COUNTED


class Target(Protocol):
    """What the new board has already."""

    def taken(self, task_ids: Iterable[str]) -> set[str]:
        """Those of ``task_ids`` that it has or had."""
        ...

    def status_of(self, task_id: str) -> str | None:
        """The status of a task; None if there is none."""
        ...

    def live_task_with_key(self, key: str) -> str | None:
        """The task that has this idempotency key and is not archived."""
        ...

    def next_ids(self) -> dict[str, int]:
        """The ids that the counted tables give next."""
        ...

    def earlier_import(self, digest: str) -> dict[str, int] | None:
        """The ids that an import of the same rows reserved; None if there was none."""
        ...


class EmptyTarget:
    """A board that is not there yet."""

    def taken(self, task_ids: Iterable[str]) -> set[str]:
        """None of them."""
        return set()

    def status_of(self, task_id: str) -> str | None:
        """There is none."""
        return None

    def live_task_with_key(self, key: str) -> str | None:
        """There is none."""
        return None

    def next_ids(self) -> dict[str, int]:
        """The first of each."""
        return dict.fromkeys(COUNTED, 1)

    def earlier_import(self, digest: str) -> dict[str, int] | None:
        """There was none."""
        return None
