"""Homes: on which host of a shared board each profile lives, and each attachment's bytes lie. Empty on a board that is
not shared."""

from __future__ import annotations

from kanban_shards.coordinator.state.session import Rows
from kanban_shards.records import ProfileHome


class HomeRows(Rows):
    """Reads and writes of where profiles and files live."""

    def home_of(self, profile: str) -> ProfileHome | None:
        """Where the profile lives; None if no host has said so."""
        sql = "SELECT profile, shard, host, position, seq, digest FROM merge_homes WHERE profile = ?"
        row = self._look(sql, (profile,)).fetchone()
        return ProfileHome(*row) if row else None

    def set_home(self, home: ProfileHome) -> None:
        """The profile lives there from now on."""
        row = (home.profile, home.shard, home.host, home.position, home.seq, home.digest)
        self._execute("INSERT OR REPLACE INTO merge_homes VALUES (?, ?, ?, ?, ?, ?)", row)

    def keep_file_on(self, host: str, attachment_id: int, task_id: str, stored_path: str) -> None:
        """The bytes of a new attachment lie on ``host``."""
        row = (attachment_id, host, task_id, stored_path)
        self._execute("INSERT INTO merge_files VALUES (?, ?, ?, ?, 0)", row)

    def keep_all_files_on(self, host: str) -> None:
        """The bytes of all attachments of which no host is known lie on ``host``."""
        self._execute(
            "INSERT INTO merge_files SELECT id, ?, task_id, stored_path, 0 FROM task_attachments "
            "WHERE id NOT IN (SELECT attachment_id FROM merge_files)",
            (host,),
        )

    def file_was_removed(self, attachment_id: int) -> None:
        """No attachment has these bytes any more."""
        self._execute("UPDATE merge_files SET removed = 1 WHERE attachment_id = ?", (attachment_id,))

    def files_were_removed(self, task_id: str) -> None:
        """The same of all that the task had."""
        self._execute("UPDATE merge_files SET removed = 1 WHERE of_task = ?", (task_id,))
