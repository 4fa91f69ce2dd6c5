"""Stages: from a damaged board to an intact copy, by the first stage that succeeds."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kanban_shards import wording
from kanban_shards.coordinator.errors import BeyondSalvage, NotABoard
from kanban_shards.coordinator.hermes.salvage import report as reports
from kanban_shards.coordinator.hermes.salvage.evidence import Witnesses, lost_tasks
from kanban_shards.coordinator.hermes.salvage.header import mend
from kanban_shards.coordinator.hermes.salvage.pages import (
    HEADER_BYTES,
    MAGIC,
    Form,
    Mended,
    Pages,
    as_text,
    form_of,
    form_said,
)
from kanban_shards.coordinator.hermes.salvage.report import Replaced, Salvage, TableReport
from kanban_shards.coordinator.hermes.salvage.schema import read_schema
from kanban_shards.coordinator.hermes.salvage.sidecars import Trial, bring_in, former_of
from kanban_shards.coordinator.hermes.salvage.tables import save_tables
from kanban_shards.coordinator.hermes.salvage.trees import VisitedPages
from kanban_shards.coordinator.processes import can_tell, file_holders, processes_of
from kanban_shards.errors import Damaged, FileMissing, LawBroken, StillWritten, StorageError, cannot_open
from kanban_shards.migrations.board import HERMES_TABLES
from kanban_shards.storage import connections, copies, files, sqlite

# How many findings of SQLite's integrity check are kept: it can make one for each row.
FINDINGS_KEPT = 20
SOUND = ["ok"]
# The bytes of the original, beside which nobody else works; and what a stage makes of them.
PRIVATE, COPY = "salvage-private.db", "kanban.db"
# How a folder begins in which a copy is made beside where it is to lie.
PREFIX = ".kanban-salvage-"
# A file with more pages than this has had tasks once: the schema itself takes some thirty.
FEW_PAGES = 64
HERMES_PAGE_BYTES = 4096
# What a board's tasks cannot be without.
_NEEDED = {"id", "title", "status"}


def salvage(source: Path, folder: Path) -> Salvage:
    """Make a sound copy of the Hermes board ``source`` in ``folder``, and tell how and what is lost.

    ``source``, and what lies beside it, is only read. ``folder`` exists and has room for twice the board; the copy is
    ``kanban.db`` in it, which must not exist. Raises FileMissing, NotABoard, BeyondSalvage, StillWritten,
    CannotOpen, DiskFull.
    """
    source = source.resolve()  # SQLite keeps the WAL beside the file, not beside a link to it
    private, copy = folder / PRIVATE, folder / COPY
    report = Salvage(source, copy)
    _look(source)
    if not can_tell():
        report.notes.append("this system does not say who has a file open; nobody must have written it meanwhile")
    try:
        report.digest = files.copy_bytes(source, folder, PRIVATE)
        with connections.explained(source, private):
            _climb(private, report)
            _check(report)
    except Damaged as error:  # no other salvage would read more
        _discard(private, former_of(private), copy)
        raise BeyondSalvage(path=source, problem=str(error.facts["problem"])) from error
    except OSError as error:
        _discard(private, former_of(private), copy)
        raise cannot_open(folder, error) from error
    except BaseException:
        _discard(private, former_of(private), copy)
        raise
    _discard(private, former_of(private))
    return report


def _look(source: Path) -> None:
    """Refuse what cannot be a board, and what somebody writes at this moment."""
    wal = source.with_name(source.name + "-wal")
    if not source.exists() and not wal.exists():
        raise FileMissing(path=source, role="board")
    if source.exists() and not source.is_file():
        raise NotABoard(path=source, problem="it is not a regular file")
    writers = processes_of(holder for holder in file_holders(source) if holder.writing)
    if writers:
        raise StillWritten(path=source, holders=", ".join(writers))
    content = source.stat().st_size if source.exists() else 0
    if not content and not (wal.exists() and wal.stat().st_size):
        raise NotABoard(path=source, problem="it is empty, and there is no WAL beside it that could hold the rows")


def _climb(private: Path, report: Salvage) -> None:
    with closing(bring_in(private, report)) as trials:
        if any(_is_sound(trial, report) for trial in trials):
            return
    _refuse_ours(private, report.source)
    form = form_of(private)
    if form is None:
        raise _nothing_in(private, report.source)
    for stage, change in ((reports.HEADER, _mended), (reports.INDEXES, _reindexed)):
        if report.before != SOUND and _try(private, form, change, report):
            report.stage = stage
            return
    whole = save_tables(private, former_of(private), form, report.copy, report)
    report.stage = reports.INDEXES if whole else reports.TABLES
    if report.before != SOUND and not any(told.saved for told in report.tables.values()):
        raise BeyondSalvage(path=report.source, problem=report.before[0])


def _is_sound(trial: Trial, report: Salvage) -> bool:
    """Whether ``trial`` is sound as it is. If so it is the copy."""
    findings = _findings(trial.path)
    report.before = report.before or findings
    if findings != SOUND:
        return False
    if said := _misread(trial.path):
        report.notes += said
        return False
    _refuse_others(trial.path, report.source)
    if _strange(trial.path):
        report.notes.append("the schema holds more than plain tables and indexes, so only rows are taken from it")
        return False
    report.stage = reports.SIDECAR if trial.left_out else reports.SOUND
    report.notes += trial.left_out
    report.warnings += _vanished(trial)
    trial.path.replace(report.copy)
    return True


def _misread(path: Path) -> list[str]:
    """What SQLite would read otherwise than it was written, in the schema of the sound database ``path``, in words."""
    if path.stat().st_size < HEADER_BYTES:  # a file without a page is as sound as a database without a table
        return []
    with Pages(path, form_said(path)) as pages:
        return read_schema(pages, VisitedPages(pages)).misread


def _vanished(trial: Trial) -> list[str]:
    """What to say of tasks that the file has, and has no more with its WAL: a WAL of another time or file may fit."""
    if trial.alone is None or _findings(trial.alone) != SOUND:
        return []
    gone = _task_ids(trial.alone) - _task_ids(trial.path)
    if not gone:
        return []
    tasks = wording.many(len(gone), "task")
    return [f"the WAL beside it takes away {tasks} that the file alone has, such as {min(gone)}: deleted, "
            "or the WAL is not this file's"]  # fmt: skip


def _task_ids(path: Path) -> set[str]:
    connection = _open(path)
    try:
        return {task_id for (task_id,) in connection.execute("SELECT id FROM tasks")}
    except connections.FAULTS:  # the file alone had no such table yet
        return set()
    finally:
        connection.close()


def _try(private: Path, form: Form, change: Callable[[Path, Form, Salvage], None], report: Salvage) -> bool:
    """Whether ``change`` makes a copy of ``private`` sound. If so it is the copy, and indexes were heard."""
    notes = list(report.notes)
    shutil.copyfile(private, report.copy)
    try:
        change(report.copy, form, report)
        if _findings(report.copy) == SOUND and not _misread(report.copy) and not _strange(report.copy):
            _refuse_others(report.copy, report.source)
            _hear_witnesses(private, form, report)
            return True
    except connections.FAULTS:
        pass  # a damaged tree cannot be emptied, and two rows of one key cannot be indexed: the next stage
    files.discard(report.copy)
    report.notes = notes
    return False


def _mended(copy: Path, form: Form, report: Salvage) -> None:
    report.notes += mend(copy, form)


def _reindexed(copy: Path, form: Form, report: Salvage) -> None:
    report.notes += mend(copy, form)
    connection = copies.open_private(copy)
    try:
        connection.execute("REINDEX")
    finally:
        connection.close()


def _hear_witnesses(private: Path, form: Form, report: Salvage) -> None:
    """What the damaged file's indexes still say of rows that its tables do not have."""
    connection, scratch = _open(report.copy), sqlite.open_scratch()
    try:
        with Pages(private, form) as pages:
            visited = VisitedPages(pages)
            witnesses = Witnesses(pages, read_schema(pages, visited), connection, scratch, visited)
            witnesses.hear()
            for table in _tables(connection):
                witnesses.tell(table, report.tables.setdefault(table, TableReport()))
            report.loose = dict(witnesses.loose)
    finally:
        scratch.close()
        connection.close()


def _check(report: Salvage) -> None:
    """Count what is in the copy, name what is lost, and say what is suspicious."""
    report.after = _findings(report.copy)
    if report.after != SOUND:
        raise LawBroken(f"the copy that was made is not sound: {report.after}")
    connection = _open(report.copy)
    try:
        connection.execute("PRAGMA journal_mode=PERSIST")  # whoever takes the copy finds one file
        for table in _tables(connection):
            told = report.tables.setdefault(table, TableReport())
            told.saved = _mend_texts(connection, table, report)
        report.lost_tasks = lost_tasks(connection, report)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    finally:
        connection.close()
    files.discard_sidecars(report.copy)
    if not report.tables["tasks"].saved:
        _warn_of_nothing(report, pages)


def _mend_texts(connection: sqlite3.Connection, table: str, report: Salvage) -> int:
    """Replace in the copy what is no text: SQLite does not look into texts, and who reads them fails. Returns how many
    rows ``table`` has."""
    names = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    rows, found = 0, []
    for key, *values in connection.execute(f"SELECT rowid, * FROM {table}"):
        rows += 1
        found += [(key, name, str(text)) for name, text in zip(names, values, strict=True) if isinstance(text, Mended)]
    for key, name, text in found:
        connection.execute(f'UPDATE {table} SET "{name}" = ? WHERE rowid = ?', (text, key))
        report.replaced.append(Replaced(table, key, name, "no text", text))
    return rows


def _warn_of_nothing(report: Salvage, pages: int) -> None:
    if report.stage == reports.TABLES or any(told.saved for told in report.tables.values()):
        report.warnings.append("not one task is left, although other rows are: this is not the board it was")
    elif pages > FEW_PAGES:
        report.warnings.append(
            f"there is no row in it, although the file has {wording.many(pages, 'page')}: it was emptied, or replaced"
        )
    elif not report.source.with_name(report.source.name + "-wal").exists():
        report.warnings.append("there is no row in it, and no WAL beside it: was a WAL removed, which held the tasks?")


def _findings(path: Path) -> list[str]:
    """What SQLite's integrity check says: ["ok"] of a sound file."""
    try:
        connection = _open(path)
    except connections.FAULTS as error:
        return [connections.told(error)]
    try:
        return [line for (line,) in connection.execute(f"PRAGMA integrity_check({FINDINGS_KEPT})")]
    except connections.FAULTS as error:
        return [connections.told(error)]
    finally:
        connection.close()


def _refuse_ours(private: Path, source: Path) -> None:
    """Raise NotABoard if the file is one of this program's, damaged or not."""
    with Pages(private, Form(HERMES_PAGE_BYTES)) as pages:
        marked = int.from_bytes(pages.header[68:72])
    for role in (sqlite.BOARD, sqlite.LEDGER, sqlite.SHARD):
        if marked == role.application_id:
            again = "`kanban-merge rebuild`, `repair` or `restore` makes again"
            raise NotABoard(path=source, problem=f"it is a {role.name} of this program, which {again}")


def _refuse_others(path: Path, source: Path) -> None:
    """Raise NotABoard if the sound database ``path`` is of another kind than a board of Hermes."""
    _refuse_ours(path, source)
    connection = _open(path)
    try:
        kinds = dict(connection.execute("SELECT name, type FROM sqlite_schema LIMIT 1000"))
        columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('tasks')")}
    finally:
        connection.close()
    if not kinds:
        problem = "it is a database without any table"
    elif kinds.get("tasks") != "table":
        problem = f"its tasks are a {kinds['tasks']}" if "tasks" in kinds else "it has no tasks, so another program's"
    elif not columns >= _NEEDED:
        problem = f"its tasks have no {' and no '.join(sorted(_NEEDED - columns))}"
    else:
        return
    raise NotABoard(path=source, problem=problem)


def _strange(path: Path) -> bool:
    """Whether a sound database holds anything but ordinary tables and indexes."""
    connection = _open(path)
    try:
        asked = "SELECT type NOT IN ('table', 'index') OR ifnull(rootpage, 0) = 0, type, name FROM sqlite_schema"
        entries = connection.execute(asked).fetchall()
        hidden = "SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden"
        return any(
            strange or (kind == "table" and connection.execute(hidden, (name,)).fetchone())
            for strange, kind, name in entries
        )
    finally:
        connection.close()


def _open(path: Path) -> sqlite3.Connection:
    """Open a private copy whose texts may be none; those come as the nearest ones."""
    connection = copies.open_private(path)
    connection.text_factory = as_text
    return connection


def _tables(connection: sqlite3.Connection) -> list[str]:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return [table for table in HERMES_TABLES if table in there]


def _nothing_in(private: Path, source: Path) -> StorageError:
    """What to say of a file without any page that can be read."""
    with private.open("rb") as file:
        beginning = file.read(4096)
    if beginning.startswith(MAGIC):
        return BeyondSalvage(path=source, problem="it begins as a database, and no page of it can be read")
    if not beginning.strip(b"\0"):
        return NotABoard(path=source, problem="it holds zeros, and no page of a database")
    if b"\0" not in beginning and _is_text(beginning):
        return NotABoard(path=source, problem="it is a text")
    return NotABoard(
        path=source, problem="no page in it is one of a database; it may be encrypted, compressed or overwritten"
    )


def _is_text(beginning: bytes) -> bool:
    try:
        beginning[:-4].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def _discard(*paths: Path) -> None:
    for path in paths:
        files.discard(path)
