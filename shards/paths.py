"""Names and paths: which folder is the board's, and what each file in it is called.

``<root>`` and the slug resolve as in Hermes (docs/design/files.md, "Names and paths"), so an installation keeps
its places. What the caller says (``home=``, ``board=``) wins over the environment, always: rows written to the wrong
file because a variable leaked into a process are worse than an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from kanban_shards.errors import (
    BoardGone,
    HomeMissing,
    InvalidName,
    InvalidTaskId,
    NotAFolder,
    StorageError,
    UnknownBoard,
    cannot_open,
    cannot_write,
)
from kanban_shards.storage.filesystems import make_folder
from kanban_shards.storage.folders import read_small

COORDINATOR = "@coordinator"
DEFAULT_BOARD = "default"

# What a profile, a board and a host may be called, and a task's id; as regular expressions.
NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
TASK_ID = r"t_[0-9a-f]{8,64}"
_NAME = re.compile(NAME)
_TASK_ID = re.compile(TASK_ID)
_SHARD_FILE = re.compile(r"kanban\.(?P<name>.+)\.db", re.DOTALL)


def check_profile(name: str) -> str:
    """Return ``name`` if it can name a profile. Raises InvalidName."""
    if not is_profile(name):
        raise InvalidName(name=name, what="profile")
    return name


def is_profile(name: object) -> bool:
    """Whether ``name`` can name a profile."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def profile_meant(name: str) -> str:
    """The profile that ``name`` means: in small letters and without blanks around it, as Hermes spells one wherever it
    comes in. Raises InvalidName if that can name none."""
    try:
        return check_profile(_as_spelled(name))
    except InvalidName:
        raise InvalidName(name=name, what="profile") from None


def lane_meant(name: str) -> str:
    """Who ``name`` means where an assignee need be no profile: that profile, or a lane, whose tasks somebody outside
    does (a person, a terminal). Spelled as Hermes spells both, in small letters. Raises InvalidName for what is blank,
    has no one line, or could be taken for the coordinator."""
    lane = _as_spelled(name)
    if not isinstance(lane, str) or not lane or not lane.isprintable() or lane.startswith(COORDINATOR[0]):
        raise InvalidName(name=name, what="profile")
    return lane


def board_meant(slug: str) -> str:
    """The board that ``slug`` means, as ``profile_meant`` reads a name. Raises InvalidName."""
    try:
        return check_board(_as_spelled(slug))
    except InvalidName:
        raise InvalidName(name=slug, what="board") from None


def spellings(name: str) -> tuple[str, str]:
    """How a profile that ``name`` means may be spelled on a board: as it is said (an old board may have any), and as
    names are spelled."""
    return name, _as_spelled(name)


def _as_spelled(name: str) -> str:
    return name.strip().lower() if isinstance(name, str) else name


def check_board(slug: str) -> str:
    """Return ``slug`` if it can name a board. Raises InvalidName."""
    if not isinstance(slug, str) or not _NAME.fullmatch(slug):
        raise InvalidName(name=slug, what="board")
    return slug


def check_task_id(task_id: str) -> str:
    """Return ``task_id`` if it has the shape of one. Raises InvalidTaskId."""
    if not is_task_id(task_id):
        raise InvalidTaskId(task_id=task_id)
    return task_id


def is_task_id(text: object) -> bool:
    """Whether ``text`` has the shape of a task id."""
    return isinstance(text, str) and _TASK_ID.fullmatch(text) is not None


def expanded(path: str | os.PathLike[str]) -> Path:
    """``path`` with a leading ``~`` or ``~user`` replaced. Raises StorageError for a user that is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise StorageError(path=path, problem="no home folder of that user is known") from error


def root_folder(home: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Hermes's ``<root>``: ``home``, else HERMES_KANBAN_HOME, else the root above HERMES_HOME, else ~/.hermes.

    Raises StorageError for a ``home`` without a name, or of a user whose home is not known."""
    if home == "":  # a variable that is not set, which would be the present folder
        raise StorageError(path="the home", problem="its name is empty")
    if home is not None:
        return expanded(home).absolute()
    if environ.get("HERMES_KANBAN_HOME"):
        return expanded(environ["HERMES_KANBAN_HOME"]).absolute()
    if environ.get("HERMES_HOME"):
        hermes_home = expanded(environ["HERMES_HOME"]).absolute()
        return hermes_home.parent.parent if hermes_home.parent.name == "profiles" else hermes_home
    return expanded("~/.hermes")


def require_home(home: str | os.PathLike[str]) -> None:
    """Insist on the folder that ``home`` names, so that no typing error makes a home; the user's own, which is meant
    when none is named, may be made. Raises HomeMissing, StorageError."""
    root = root_folder(home)
    if not root.exists() and root != root_folder():
        raise HomeMissing(path=root)


@dataclass(frozen=True)
class BoardPaths:
    """The files of one board. All lie in ``folder``; see docs/design/files.md, "The files", for who writes which.

    ``pointer``: the file or variable that said which board is meant; None if the caller did.
    """

    folder: Path
    slug: str = DEFAULT_BOARD
    pointer: str | None = field(default=None, compare=False)

    @classmethod
    def find(
        cls,
        board: str | None = None,
        home: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> BoardPaths:
        """The board that the caller means.

        ``board``: its slug; None asks HERMES_KANBAN_BOARD, then ``<root>/kanban/current``, then takes ``default``.
        ``home``: the root folder; None resolves it as Hermes does, with HERMES_KANBAN_DB first of all.
        Raises InvalidName for a slug that cannot be one, StorageError for a ``current`` that cannot be read. The folder
        need not exist yet.
        """
        if board is None and home is None and environ.get("HERMES_KANBAN_DB"):
            return cls._of_file(expanded(environ["HERMES_KANBAN_DB"]).absolute())
        root = root_folder(home, environ)
        if board is not None:
            return cls.of(root, board_meant(board))
        slug, pointer = _current_slug(root, environ)
        try:
            return cls.of(root, board_meant(slug), pointer)
        except InvalidName as error:
            raise InvalidName(name=slug, what=f"board, as {pointer} says") from error

    @classmethod
    def of(cls, root: Path, slug: str, pointer: str | None = None) -> BoardPaths:
        """The board ``slug`` under ``root``."""
        return cls(root if slug == DEFAULT_BOARD else root / "kanban" / "boards" / slug, slug, pointer)

    @classmethod
    def _of_file(cls, file: Path) -> BoardPaths:
        if file.name != "kanban.db":
            raise StorageError(path=file, problem="HERMES_KANBAN_DB must end in kanban.db")
        slug = file.parent.name if file.parent.parent.name == "boards" else DEFAULT_BOARD
        return cls(file.parent, slug, "HERMES_KANBAN_DB")

    def __str__(self) -> str:
        """Which board it is, as sentences say it: a slug alone is found in every home."""
        is_usual = self == BoardPaths.of(self.home, self.slug)
        return f"the board {self.slug} in {self.home}" if is_usual else f"the board in {self.folder}"

    @property
    def home(self) -> Path:
        """The home whose board this is."""
        return self.folder if self.slug == DEFAULT_BOARD else self.folder.parent.parent.parent

    @cached_property
    def board(self) -> Path:
        """The file that everybody reads."""
        return self.folder / "kanban.db"

    @cached_property
    def ledger(self) -> Path:
        """The file that holds every change in order."""
        return self.folder / "kanban-ledger.db"

    @cached_property
    def snapshot(self) -> Path:
        """The board as it stood where the ledger begins, once entries were dropped."""
        return self.folder / "kanban-snapshot.db"

    @cached_property
    def coordinator_lock(self) -> Path:
        """The lock of ledger and board."""
        return self.folder / "kanban-coordinator.lock"

    @cached_property
    def coordinator_bell(self) -> Path:
        """The socket that a coordinator which stays binds as its bell."""
        return self.folder / "kanban-coordinator.sock"

    @cached_property
    def next_coordinator_lock(self) -> Path:
        """The lock of whoever is the next to take the coordinator's, and waits for it."""
        return self.folder / "kanban-coordinator-next.lock"

    @cached_property
    def shared(self) -> Path:
        """The file that says that other hosts share the board, and where; there is none for a board that is not."""
        return self.folder / "shared.json"

    @property
    def is_shared(self) -> bool:
        """Whether something says that other hosts share the board, be it a link that leads nowhere; what it says is for
        ``read_sharing``, which raises if that is nothing."""
        return os.path.lexists(self.shared)

    @cached_property
    def heard(self) -> Path:
        """What this host last heard of the others, on a board that is shared."""
        return self.folder / "kanban-heard.json"

    @cached_property
    def upkeep_lock(self) -> Path:
        """The lock of whoever copies, puts back or shortens the board's files as a whole."""
        return self.folder / "kanban-upkeep.lock"

    @cached_property
    def backups(self) -> Path:
        """Where backups lie, one folder for each."""
        return self._content / "backups"

    @cached_property
    def attachments(self) -> Path:
        """Where attachments lie, one folder for each task; as in Hermes."""
        return self._content / "attachments"

    def attachment(self, task_id: str, stored_path: str) -> str:
        """Where the copy lies that was kept at ``stored_path``: there, or in this folder, if the home was moved since,
        or is restored from a backup."""
        moved = str(self.attachments / task_id / os.path.basename(stored_path))
        return stored_path if os.path.exists(stored_path) or not os.path.exists(moved) else moved

    @cached_property
    def workspaces(self) -> Path:
        """Where scratch workspaces lie, one folder for each task; as in Hermes."""
        return self._content / "workspaces"

    @cached_property
    def logs(self) -> Path:
        """Where Hermes's workers write their logs."""
        return self._content / "logs"

    @cached_property
    def _content(self) -> Path:
        return self.folder / "kanban" if self.slug == DEFAULT_BOARD else self.folder

    def shard(self, profile: str) -> Path:
        """The shard of ``profile``. Raises InvalidName."""
        return self.folder / f"kanban.{check_profile(profile)}.db"

    def shard_lock(self, profile: str) -> Path:
        """The lock of that shard. Raises InvalidName."""
        return self.folder / f"kanban.{check_profile(profile)}.lock"

    def shards(self) -> Iterator[tuple[str, Path]]:
        """Every ``(profile, file)`` that looks like a shard; the profile may be an invalid name, which the
        collector reports instead of overlooking it, and is spelled so that it can be printed. Raises CannotOpen where
        the folder cannot be listed."""
        try:
            names = sorted(os.listdir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise cannot_open(self.folder, error) from error
        for name in names:
            if found := _as_shard(self.folder, name):
                yield found

    def require_folder(self) -> None:
        """Make the default board's folder; insist on a named one, so that no typing error makes a board.

        Raises UnknownBoard, or StorageError where the folder cannot be made.
        """
        if self.slug == DEFAULT_BOARD:
            self.make_folder()
        self.require_board()

    def require_board(self) -> None:
        """Raise UnknownBoard if this is a named board that nobody made, BoardGone if something points to it, and
        NotAFolder if a link leads to it."""
        self._refuse_links()
        if self.slug == DEFAULT_BOARD or self.folder.is_dir():
            return
        if self.pointer is None:
            raise UnknownBoard(slug=self.slug, path=self.folder)
        raise BoardGone(slug=self.slug, path=self.folder, pointer=self.pointer)

    def make_folder(self) -> None:
        """Make the board's folder, for those who may use the one it lies in, and durably: a power cut that takes a
        folder takes every change in it. Raises StorageError."""
        self._refuse_links()
        try:
            make_folder(self.folder)
        except OSError as error:
            raise cannot_write(self.folder, error, "its folder cannot be made") from error

    def _refuse_links(self) -> None:
        """Below a home no link is followed (shards/storage/folders.py), also not to a board of it."""
        boards, content = self.folder.parent, self.folder.parent.parent
        if self.slug != DEFAULT_BOARD and (content.name, boards.name) == ("kanban", "boards"):
            for folder in (content, boards, self.folder):
                if folder.is_symlink():
                    raise NotAFolder(path=folder)


@lru_cache(maxsize=4096)  # the same names in every pass
def _as_shard(folder: Path, name: str) -> tuple[str, Path] | None:
    match = _SHARD_FILE.fullmatch(name)
    return (printable_name(match["name"]), folder / name) if match else None


def printable_name(name: str) -> str:
    """``name`` of a file on one line and as UTF-8, whatever its letters are: no two names have one spelling."""
    return "".join(letter if letter.isprintable() and letter != "\\" else _as_code(letter) for letter in name)


def _as_code(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _current_slug(root: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """The slug of the board in use, and what says so."""
    if told := environ.get("HERMES_KANBAN_BOARD", "").strip():
        return told, "HERMES_KANBAN_BOARD"
    current = root / "kanban" / "current"
    return (read_small(root, current) or "").strip() or DEFAULT_BOARD, str(current)
