"""Cutting the power: images of a recording, each opened with the real code and held against what had been told."""

from __future__ import annotations

import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kanban_shards import Gateway
from kanban_shards.board import Board
from kanban_shards.boards import ARCHIVE
from kanban_shards.coordinator.backup.manifest import read_backup
from kanban_shards.coordinator.demo.check import Account, check
from kanban_shards.coordinator.errors import LedgerBehind, NoBackup
from kanban_shards.coordinator.hermes.adopt import ASIDE, is_legacy
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.collector import Skipped
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard
from kanban_shards.errors import KanbanError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies
from kanban_shards.storage.locks import FileLock
from tests.powercut.disk import EVERYTHING, NOTHING, STYLES, Disk, Image
from tests.powercut.recording import Step
from tests.powercut.workload import ATTACHED, GIVEN_BACK, HOME, PROFILES, PUT_AWAY
from tests.simulation.world import no_fsync

# What a board has that amy wrote.
_FILES = ("kanban.db", "kanban-ledger.db", "kanban.amy.db")
_CHANGES = ("write", "truncate", "create", "mkdir", "link", "rename", "unlink")


@dataclass
class Told:
    """What had been told of each board when the power was cut: the accounts of the profiles, and the file that was
    removed on purpose and is not made again yet. ``attached``: ids of attachments. ``kept``: how a backup, a board
    that was put away, and one that was given back or adopted are called."""

    accounts: dict[str, dict[str, Account]] = field(
        default_factory=lambda: defaultdict(lambda: {profile: Account() for profile in PROFILES})
    )
    attached: list[tuple[str, int]] = field(default_factory=list)
    losing: set[str] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)

    def take(self, mark: bytes) -> None:
        """Hear what the next mark says."""
        for line in mark.decode().splitlines():
            board, profile, what, *facts = line.split(" ")
            if what == "losing":
                self.losing.add(facts[0])
            elif what == "again":
                self.losing.discard(facts[0])
            elif what in ("backup", "away", "given", "adopted"):
                self.kept[what] = facts[0]
            elif what == "attached":
                self.attached.append((board, int(facts[0])))
            else:
                self.accounts[board][profile].take(" ".join([what, *facts]))


@dataclass
class Cuts:
    """What was found: how many images of each style, and a sentence for each one that is not as it must be."""

    images: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def kill_points(steps: list[Step]) -> list[int]:
    """Behind which steps a kill leaves another image than behind the step before."""
    return [0, *(at for at, step in enumerate(steps, 1) if step.kind in _CHANGES and not is_shared(step.path))]


def kill_at(points: list[int], steps: list[Step], root: Path, folder: Path) -> Cuts:
    """Kill -9 behind these steps: the disk keeps all that was asked of it."""
    return _cut(steps, root, folder, ((at, EVERYTHING) for at in points), random.Random(0))


def cut_at_answers(steps: list[Step], root: Path, folder: Path) -> Cuts:
    """Cut the power right behind each thing that was told: of what was not synced by then, nothing is kept."""
    told = [at for at, step in enumerate(steps, 1) if step.kind == "mark"]
    return _cut(steps, root, folder, ((at, NOTHING) for at in told), random.Random(0))


def cut_at_random(steps: list[Step], root: Path, folder: Path, images: int, chance: random.Random) -> Cuts:
    """Cut the power at ``images`` random points, and keep of what was not synced whatever ``chance`` leaves."""
    where = sorted((chance.randint(0, len(steps)), chance.choice(STYLES)) for _ in range(images))
    return _cut(steps, root, folder, where, chance)


def is_shared(path: Path) -> bool:
    """Whether the file is memory that processes share: after a cut there is none."""
    return path.name.endswith("-shm")


def _cut(steps: list[Step], root: Path, folder: Path, where: Iterable[tuple[int, str]], chance: random.Random) -> Cuts:
    """``where``: ``(number of steps that were made, style)``, in ascending order."""
    cuts, disk, told, made = Cuts(), Disk(root), Told(), 0
    for at, style in where:
        for step in steps[made:at]:
            disk.take(step)
            if step.kind == "mark":
                told.take(step.data)
        made = at
        cuts.images[style] += 1
        for problem in _problems(disk.image(chance, style), folder, told):
            cuts.problems.append(f"cut after step {at}, kept {style}: {problem}")
    return cuts


def _problems(image: Image, folder: Path, told: Told) -> Iterator[str]:
    """What is wrong with an image, by what programs find that open it."""
    shutil.rmtree(folder, ignore_errors=True)
    _lay_out(image, folder)
    with no_fsync():
        try:
            yield from _problems_of_what_was_kept(folder / HOME, told.kept)
        except KanbanError as error:
            yield f"{type(error).__name__}: {error}"
        for slug, accounts in told.accounts.items():
            try:
                yield from _problems_of(folder / HOME, slug, accounts, told)
            except KanbanError as error:
                yield f"{type(error).__name__}: {error}"


def _problems_of(home: Path, slug: str, accounts: dict[str, Account], told: Told) -> Iterator[str]:
    paths = BoardPaths.of(home, slug)
    if not paths.folder.is_dir() and any(account.written for account in accounts.values()):
        yield f"the folder of the board {slug} is lost"
        return
    paths.make_folder()
    _merge(paths, told.losing)
    for profile in PROFILES:
        with Gateway(profile, board=slug, home=home) as gateway:
            gateway.comment(gateway.create("after the cut"), "it goes on")
            gateway.sync()
    yield from check(paths, accounts).problems
    with Board(paths) as board:
        for where, attachment_id in told.attached:
            if where == slug:
                attached = board.attachment(attachment_id)
                kept = paths.attachments.joinpath(*Path(attached.stored_path).parts[-2:]) if attached else None
                if kept is None or not kept.is_file() or kept.read_text() != ATTACHED:
                    yield f"attachment {attachment_id} was acknowledged, and {kept} does not hold it"


def _problems_of_what_was_kept(home: Path, kept: dict[str, str]) -> Iterator[str]:
    given = BoardPaths.of(home, GIVEN_BACK)
    backups, boards = BoardPaths.of(home, "default").backups, given.folder.parent
    if "backup" in kept:
        try:
            if lacks := read_backup(backups / kept["backup"]).lacks():
                yield f"the backup lacks {lacks}"
        except NoBackup as error:
            yield str(error)
    if "away" in kept:
        if (boards / PUT_AWAY).exists():
            yield f"the board {PUT_AWAY} was put away, and is back"
        yield from _lost(boards / ARCHIVE / kept["away"], _FILES)
    if "given" in kept:
        yield from _lost(given.folder / ASIDE / kept["given"], _FILES)
        yield from _lost(given.folder, ["kanban.db"])
    if "adopted" in kept:
        yield from _lost(given.folder, ["kanban.db", "kanban-ledger.db", kept["adopted"]])
        if given.board.exists() and is_legacy(given.board):
            yield f"{given.board} was adopted, and is Hermes's again"
    elif "given" in kept and given.board.exists():
        with closing(copies.open_foreign(given.board)) as board, connections.explained(given.board):
            if board.execute("SELECT title FROM tasks").fetchall() != [("kept",)]:
                yield f"{given.board} was given back, and does not hold the task"


def _lost(folder: Path, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{folder / name} is lost" for name in names if not (folder / name).is_file())


def _lay_out(image: Image, folder: Path) -> None:
    folder.mkdir()
    for path, content in image.items():
        if content is None:
            (folder / path).mkdir()
        elif not is_shared(path):
            (folder / path).write_bytes(content)


def _merge(paths: BoardPaths, losing: set[str]) -> None:
    """The passes that bring the board up to date; a file that had been lost before the cut is made again by command."""
    with closing(locks.take(paths, locks.COMMAND, 5)) as lock:
        try:
            left = _make_passes(paths, lock)
        except LedgerBehind:
            if paths.ledger.name not in losing:
                raise
            repair_ledger(paths, lock)
            left = _make_passes(paths, lock)
        for each in left:
            if each.path.name in losing:
                repair_shard(paths, lock, each.profile)
        for profile in PROFILES:
            if paths.shard(profile).name in losing and not paths.shard(profile).exists():
                repair_shard(paths, lock, profile)


def _make_passes(paths: BoardPaths, lock: FileLock) -> list[Skipped]:
    with Coordinator(paths, lock) as coordinator:
        return coordinator.make_passes().skipped
