"""What holds of a bridged Hermes and of no other: whose shards are written, what is refused, how trouble is said."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from pathlib import Path
from types import ModuleType

from tests.hermes.scenes.on_both import CHAT, CannotBePlayed, board, kinds, raises


def ledger_of(home: Path):
    """Everything that was written, in its order."""
    from kanban_shards.paths import BoardPaths

    return BoardPaths.find(home=home / ".hermes")


def written_by(home: Path) -> set[str]:
    """The profiles that have a shard."""
    return {profile for profile, _ in ledger_of(home).shards()}


def clean(home: Path) -> None:
    """The board is a replay of its ledger."""
    from kanban_shards.coordinator.recovery.verify import verify

    found = verify(ledger_of(home))
    assert found.clean, found.findings


def a_profile_writes_its_own_shard(kb, home):
    (home / ".hermes/profiles/bingge").mkdir(parents=True)
    with board(kb) as conn:
        kb.create_task(conn, title="by default")
    os.environ["HERMES_HOME"] = str(home / ".hermes/profiles/bingge")
    with board(kb) as conn:
        kb.create_task(conn, title="by bingge")
        assert len(kb.list_tasks(conn)) == 2
    assert written_by(home) == {"default", "bingge"}
    clean(home)


def one_gateway_for_several_profiles(kb, home):
    """Turns of three profiles at the same time, in threads that inherit the context, as a multiplexed gateway's do."""
    from hermes_constants import reset_hermes_home_override, set_hermes_home_override

    names = ("bingge", "pixiel", "mafei")
    for name in names:
        (home / ".hermes/profiles" / name).mkdir(parents=True)
    os.environ["HERMES_KANBAN_HOME"] = str(home / ".hermes")

    def turn(name: str) -> None:
        for number in range(5):
            with board(kb) as conn:
                task_id = kb.create_task(conn, title=f"{name} {number}")
                kb.add_comment(conn, task_id, name, "x")

    async def turns(name: str) -> None:
        token = set_hermes_home_override(str(home / ".hermes/profiles" / name))
        try:
            await asyncio.to_thread(turn, name)
        finally:
            reset_hermes_home_override(token)

    async def main() -> None:
        await asyncio.gather(*map(turns, names))

    asyncio.run(main())
    assert written_by(home) == set(names)
    from kanban_shards import Board

    with Board(ledger_of(home)) as found:
        owners = [(task.title.split()[0], task.owner) for task in found.tasks()]
    assert len(owners) == 15
    assert all(said == owner for said, owner in owners), owners
    clean(home)


def the_first_opening_is_a_race(kb, home):
    """Many processes at once, of which one makes the board."""
    children = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            try:
                with board(kb) as conn:
                    kb.create_task(conn, title="x")
                    assert kb.list_tasks(conn)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
    with board(kb) as conn:
        assert len(kb.list_tasks(conn)) == 6


def a_write_of_somebody_elses_is_refused(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x")
        error = raises(sqlite3.OperationalError, "DELETE FROM tasks", conn.execute, "DELETE FROM tasks")
        assert "nothing was written" in str(error)
        assert kb.get_task(conn, task_id)
    foreign = sqlite3.connect(home / ".hermes/kanban.db")
    raises(TypeError, "was not opened by", kb.create_task, foreign, title="y")
    foreign.close()


def a_board_that_hermes_wrote(kb, home):
    """One that was not adopted is left alone, with the sentence that says how."""
    (home / ".hermes").mkdir()
    path = home / ".hermes/kanban.db"
    made = sqlite3.connect(path)
    made.executescript(kb.SCHEMA_SQL)
    made.close()
    before = path.read_bytes()
    raises(sqlite3.DatabaseError, "kanban-merge adopt", kb.connect)
    raises(RuntimeError, "kanban-merge adopt", kb.init_db)
    assert path.read_bytes() == before


def a_board_that_is_damaged(kb, home):
    with board(kb) as conn:
        kb.create_task(conn, title="x")
    from kanban_shards.hermes import identity

    identity.close_kept()
    path = home / ".hermes/kanban.db"
    for name in ("kanban.db-wal", "kanban.db-shm"):
        (home / ".hermes" / name).unlink(missing_ok=True)
    path.write_bytes(b"TLS record" * 2_000)
    error = raises(sqlite3.DatabaseError, "file is not a database", kb.connect)
    assert "kanban-merge rebuild" in str(error)


def a_snapshot_that_hermes_puts_back(kb, home):
    """Hermes replaces the board under whoever has it open, and leaves the journal of the other one beside it. Nothing
    that was acknowledged is lost by that, and the board is the ledger's again."""
    from hermes_cli import backup

    from kanban_shards.coordinator.recovery.rebuild import rebuild
    from kanban_shards.hermes import identity
    from kanban_shards.inline_merge import holding_coordinator_lock

    with board(kb) as conn:
        made = [kb.create_task(conn, title=f"before {number}", body="x" * 500) for number in range(20)]
        snapshot = backup.create_quick_snapshot()
        made += [kb.create_task(conn, title=f"after {number}", body="y" * 2_000) for number in range(60)]
    identity.close_kept()
    assert backup.restore_quick_snapshot(snapshot)
    try:
        with board(kb) as conn:
            kb.list_tasks(conn)
            conn.execute("SELECT * FROM task_events ORDER BY payload").fetchall()
    except sqlite3.DatabaseError as error:
        assert "kanban-merge rebuild" in str(error), error
    identity.close_kept()
    with holding_coordinator_lock(ledger_of(home)) as lock:
        rebuild(ledger_of(home), lock)
    with board(kb) as conn:
        assert {task.id for task in kb.list_tasks(conn)} == set(made)
    clean(home)


def another_name_than_kanban_db(kb, home):
    os.environ["HERMES_KANBAN_DB"] = str(home / "tasks.sqlite")
    raises(sqlite3.OperationalError, "must end in kanban.db", kb.connect)
    assert not (home / "tasks.sqlite").exists()


def words_that_no_change_may_have(kb, home):
    """Each is a ValueError, which Hermes says as one sentence wherever it calls."""
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x")
        raises(ValueError, "", kb.create_task, conn, title="x", max_runtime_seconds=-1)
        raises(ValueError, "", kb.add_comment, conn, task_id, "me", "x" * 20_000_000)
        raises(ValueError, "", kb.complete_task, conn, task_id, metadata={"n": 10**40})
        assert kb.get_task(conn, task_id).status == "ready"


def nobody_decides_for_somebody_who_was_faster(kb, home):
    """A run that a third profile never had is not kept alive by it."""
    (home / ".hermes/profiles/bingge").mkdir(parents=True)
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x", assignee="mafei")
        kb.claim_task(conn, task_id)
    os.environ["HERMES_HOME"] = str(home / ".hermes/profiles/bingge")
    with board(kb) as conn:
        assert not kb.heartbeat_worker(conn, task_id)
        assert kb.block_task(conn, task_id, reason="an operator looked")
        assert kb.get_task(conn, task_id).status == "blocked"


def what_was_made_just_now_is_claimed_at_once(kb, home):
    """Without waiting for it first: both are decided in one pass, and as what the task is."""
    from kanban_shards.hermes import runs

    def waits(paths):
        raise AssertionError("a claim waits for nothing but its own verdict")

    with board(kb) as conn:
        for assignee, runs_as in (("mafei", "mafei"), (None, "default"), ("a lane", "default")):
            task_id = kb.create_task(conn, title="x", assignee=assignee)
            kb.add_notify_sub(conn, task_id=task_id, **CHAT, notifier_profile="default")
            writer_of, runs.writer_of = runs.writer_of, waits
            try:
                claimed = kb.claim_task(conn, task_id)
            finally:
                runs.writer_of = writer_of
            assert (claimed.id, claimed.status, claimed.assignee) == (task_id, "running", assignee)
            assert kb.get_run(conn, claimed.current_run_id).profile == runs_as
            assert kb.claim_task(conn, task_id) is None
        triage = kb.create_task(conn, title="x", triage=True)
        child = kb.create_task(conn, title="x", parents=[triage])
        assert [kb.claim_task(conn, each) for each in (triage, child)] == [None, None]
    clean(home)


def a_board_is_put_away_while_others_have_it_open(kb, home):
    """A process that has written there goes on, with whatever lies there now."""
    kb.create_board("two")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with board(kb, board="two") as conn:
                kb.create_task(conn, title="first life")
            os.write(write, b"1")
            while (home / ".hermes/kanban/boards/two/first").exists() is False:
                time.sleep(0.02)
            with board(kb, board="two") as conn:
                assert [each.title for each in kb.list_tasks(conn)] == ["second life"]
                kb.create_task(conn, title="by the other")
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.read(read, 1)
    kept = Path(kb.remove_board("two")["new_path"])
    kb.create_board("two")
    with board(kb, board="two") as conn:
        kb.create_task(conn, title="second life")
        (home / ".hermes/kanban/boards/two/first").touch()
        assert os.waitpid(pid, 0)[1] == 0
        assert sorted(each.title for each in kb.list_tasks(conn)) == ["by the other", "second life"]
    kept_board = sqlite3.connect(f"file:{kept}/kanban.db?mode=ro", uri=True)
    assert kept_board.execute("SELECT title FROM tasks").fetchall() == [("first life",)]
    kept_board.close()


def a_board_is_renamed_while_others_have_it_open(kb, home):
    """A process that has written there makes no second board in the old place, and works on it under the new name."""
    kb.create_board("two")
    folder = home / ".hermes/kanban/boards"
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with board(kb, board="two") as conn:
                task_id = kb.create_task(conn, title="before")
                os.write(write, b"1")
                while (folder / "two").exists():
                    time.sleep(0.02)
                raises(sqlite3.OperationalError, "There is no board named two any more", kb.claim_task, conn, task_id)
            raises(sqlite3.OperationalError, "renamed or put away", kb.connect, board="two")
            with board(kb, board="three") as conn:
                assert kb.claim_task(conn, task_id)
                kb.create_task(conn, title="by the other")
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.read(read, 1)
    (folder / "two").rename(folder / "three")
    assert os.waitpid(pid, 0)[1] == 0
    assert [each["slug"] for each in kb.list_boards()] == ["default", "three"]
    with board(kb, board="three") as conn:
        kb.create_task(conn, title="after")
        assert sorted(each.title for each in kb.list_tasks(conn)) == ["after", "before", "by the other"]
    from kanban_shards.coordinator.recovery.verify import verify
    from kanban_shards.paths import BoardPaths

    assert verify(BoardPaths.find(home=home / ".hermes", board="three")).clean


def a_board_that_a_daemon_serves_is_not_put_away(kb, home):
    import subprocess

    kb.create_board("two")
    argv = [sys.executable, "-c", DAEMON, str(home / ".hermes/kanban/boards/two")]
    daemon = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert daemon.stdout.readline() == "held\n"
    raises(ValueError, "lock", kb.remove_board, "two")
    daemon.kill()
    daemon.communicate()
    assert kb.remove_board("two")["action"] == "archived"


# Holds a board's coordinator lock, as a daemon does.
DAEMON = """
import fcntl, sys, time
file = open(sys.argv[1] + "/kanban-coordinator.lock", "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def a_sandbox_in_which_the_board_alone_can_be_written(kb, home):
    """As Codex runs a worker: of the home, the board's folder alone is writable, and there is no network."""
    import shutil
    import subprocess

    kb.create_board("two")
    with board(kb, board="two") as conn:
        task_id = kb.create_task(conn, title="x", assignee="default")
        run_id = kb.claim_task(conn, task_id).current_run_id
    folder = home / ".hermes/kanban/boards/two"
    unshare = shutil.which("unshare")
    closed = f"mount --bind {home} {home} && mount -o remount,ro,bind {home}"
    opened = f"mount --bind {folder} {folder} && mount -o remount,rw,bind {folder}"
    inside = [unshare or "unshare", "-rmn", "sh", "-c"]
    if not unshare or subprocess.run([*inside, closed], capture_output=True).returncode:
        raise CannotBePlayed("nobody may make a sandbox on this machine")
    from kanban_shards.hermes import identity

    identity.close_kept()
    environ = {**os.environ, "HERMES_KANBAN_DB": str(folder / "kanban.db"), "HERMES_HOME": str(home / ".hermes")}
    code = SANDBOXED.format(home=home, task=task_id, run=run_id)
    script = f"{closed} && {opened} && exec {sys.executable} -c '{code}'"
    done = subprocess.run([*inside, script], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    with board(kb, board="two") as conn:
        assert kb.get_task(conn, task_id).status == "done"
        assert [each.body for each in kb.list_comments(conn, task_id)] == ["from inside"]


SANDBOXED = """
import os, site
site.addsitedir(os.environ["SCENES_SITE"])
from kanban_shards.hermes import startup
startup.start()
from hermes_cli import kanban_db as kb
try:
    open("{home}/written", "w")
except OSError:
    pass
else:
    raise SystemExit("this is no sandbox")
with kb.connect_closing() as conn:
    kb.add_comment(conn, "{task}", "me", "from inside")
    assert kb.heartbeat_worker(conn, "{task}", expected_run_id={run})
    assert kb.complete_task(conn, "{task}", summary="s", expected_run_id={run})
"""


# --- who ends a run ----------------------------------------------------------------------------------------------


def dispatched(kb, conn, home, worker, ttl=1):
    """A task that a tick of this profile's dispatcher claimed, and started: as the process of the number ``worker``, or
    as ``worker`` starts one."""
    os.environ["HERMES_KANBAN_CRASH_GRACE_SECONDS"] = "0"
    (home / ".hermes/profiles/mafei").mkdir(parents=True, exist_ok=True)
    os.environ["HERMES_KANBAN_HOME"] = str(home / ".hermes")
    task_id = kb.create_task(conn, title="x", assignee="mafei")
    kb.dispatch_once(conn, spawn_fn=worker if callable(worker) else lambda *_: worker, ttl_seconds=ttl)
    assert kb.get_task(conn, task_id).status == "running"
    return task_id


def at_work(kb, conn, home):
    """As ``dispatched``, with a process as Hermes starts it for that task; returns both."""
    import subprocess

    started = []

    def start(task, *_):
        environ = {**os.environ, "HERMES_KANBAN_TASK": task.id}
        started.append(subprocess.Popen(["sleep", "60"], env=environ))
        return started[0].pid

    task_id = dispatched(kb, conn, home, start)
    return task_id, started[0]


def a_worker_in_one_long_call(kb, home):
    """With no dispatcher for longer than a lease: nobody who reads ends its run, and a new dispatcher sees it alive."""
    started = []
    with board(kb) as conn:
        task_id = dispatched(kb, conn, home, os.getpid())
        run_id = kb.get_task(conn, task_id).current_run_id
        time.sleep(2.1)
        kb.recompute_ready(conn)
        assert kb.get_task(conn, task_id).status == "running"
        found = kb.dispatch_once(conn, spawn_fn=lambda *_: started.append(1))
        task = kb.get_task(conn, task_id)
        assert (found.reclaimed, started, task.status, task.current_run_id) == (0, [], "running", run_id)
        assert task.claim_expires > time.time() - 1
        assert "claim_extended" in kinds(kb, conn, task_id)


def a_dispatcher_that_takes_over(kb, home):
    """Another profile's, which finds a worker of the former one dead, says so in that one's name."""
    import subprocess

    worker = subprocess.Popen(["sleep", "60"])
    with board(kb) as conn:
        task_id = dispatched(kb, conn, home, worker.pid)
    worker.kill()
    worker.wait()
    (home / ".hermes/profiles/bingge").mkdir(parents=True)
    os.environ["HERMES_HOME"] = str(home / ".hermes/profiles/bingge")
    with board(kb) as conn:
        assert kb.detect_crashed_workers(conn) == [task_id]
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 1)
    clean(home)


def a_number_that_was_given_again(kb, home):
    """A process that has the number of a worker that is gone is none, and is not ended for it."""
    import subprocess

    other = subprocess.Popen(["sleep", "60"])
    with board(kb) as conn:
        task_id = dispatched(kb, conn, home, other.pid, ttl=60)
        from kanban_shards import supervision

        began = supervision.began
        supervision.began = lambda pid: None if pid == other.pid else began(pid)
        assert kb.reclaim_task(conn, task_id)
        assert other.poll() is None
        other.kill()
        other.wait()


def a_worker_whose_run_is_over(kb, home):
    """Lives on for a while: no second one is started beside it."""

    started = []
    with board(kb) as conn:
        task_id, worker = at_work(kb, conn, home)
        from kanban_shards.changes.kinds import Reclaim
        from kanban_shards.hermes import identity, supervising

        identity.writer_of(conn.paths).ask(task_id, Reclaim(reason="by somebody who sees no processes"))
        assert kb.dispatch_once(conn, spawn_fn=lambda *_: started.append(1)).spawned == []
        assert (started, worker.poll()) == ([], None)
        supervising.ENDING_S = 0
        kb.dispatch_once(conn, spawn_fn=lambda *_: os.getpid())
        assert worker.wait(timeout=10) != 0
        assert kb.get_task(conn, task_id).worker_pid == os.getpid()


def a_process_that_is_no_worker(kb, home):
    """Whoever claims says which process works: one that was not started for the task is not ended for that."""
    import subprocess

    other = subprocess.Popen(["sleep", "60"])
    try:
        with board(kb) as conn:
            from kanban_shards.hermes import supervising

            supervising.ENDING_S, supervising.SILENT_S = 0, -1
            task_id = dispatched(kb, conn, home, other.pid)
            assert kb.reclaim_task(conn, task_id)
            assert len(kb.dispatch_once(conn, spawn_fn=lambda *_: other.pid, ttl_seconds=1).spawned) == 1
            time.sleep(2.1)
            assert kb.release_stale_claims(conn) == 1
            kb.dispatch_once(conn, spawn_fn=lambda *_: other.pid)
            assert kb.archive_task(conn, task_id)
            limited = kb.create_task(conn, title="y", assignee="mafei", max_runtime_seconds=1)
            kb.dispatch_once(conn, spawn_fn=lambda *_: other.pid)
            time.sleep(2.1)
            assert kb.enforce_max_runtime(conn) == [limited]
            assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def a_worker_that_is_stuck(kb, home):
    """Alive, and silent for longer than an hour: it is ended, and the task is ready again."""

    with board(kb) as conn:
        task_id, worker = at_work(kb, conn, home)
        assert kb.heartbeat_worker(conn, task_id) is True
        from kanban_shards.hermes import supervising

        supervising.SILENT_S = 0
        time.sleep(2.1)
        assert kb.release_stale_claims(conn) == 1
        assert worker.wait(timeout=10) != 0
        assert kb.get_task(conn, task_id).status == "ready"
        assert kb.list_runs(conn, task_id)[0].outcome == "reclaimed"


def a_worker_that_was_never_started(kb, home):
    """Its dispatcher was killed between the claim and that: the run is over with its lease."""
    with board(kb) as conn:
        task_id = dispatched(kb, conn, home, None)
        assert kb.get_task(conn, task_id).worker_pid is None
        time.sleep(2.1)
        assert kb.release_stale_claims(conn) == 1
        assert kb.get_task(conn, task_id).status == "ready"


# --- chats -------------------------------------------------------------------------------------------------------


def as_watcher(function, *given, **more):
    """Call as the code of a gateway does."""
    watcher = ModuleType("gateway.kanban_watchers")
    exec("def call(function, given, more): return function(*given, **more)", watcher.__dict__)
    return watcher.call(function, given, more)


def a_gateway_tells_its_own_chats(kb, home):
    """Its own profile's subscriptions are nobody's to its watcher, which delivers those; another's stay another's."""
    (home / ".hermes/profiles/bingge").mkdir(parents=True)
    os.environ["HERMES_HOME"] = str(home / ".hermes/profiles/bingge")
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x")
        for chat, profile in (("own", "bingge"), ("other", "mafei"), ("default", "default")):
            kb.add_notify_sub(conn, task_id=task_id, platform="ntfy", chat_id=chat, notifier_profile=profile)
        seen = {sub["chat_id"]: sub["notifier_profile"] for sub in as_watcher(kb.list_notify_subs, conn)}
        assert seen == {"own": "", "other": "mafei", "default": "default"}
        shown = {sub["chat_id"]: sub["notifier_profile"] for sub in kb.list_notify_subs(conn)}
        assert shown == {"own": "bingge", "other": "mafei", "default": "default"}


def the_gateway_of_the_default_profile(kb, home):
    """Hermes delivers what is stamped with it as it is."""
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x")
        kb.add_notify_sub(conn, task_id=task_id, **CHAT, notifier_profile="default")
        assert as_watcher(kb.list_notify_subs, conn)[0]["notifier_profile"] == "default"


def what_could_not_be_told_is_kept(kb, home):
    """A chat that cannot be reached three times is not dropped: what it missed is a dead letter."""
    from kanban_shards import Board

    kinds_told = ("completed", "blocked")
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x")
        kb.add_notify_sub(conn, task_id=task_id, **CHAT, notifier_profile="default")
        kb.block_task(conn, task_id, reason="why")
        for attempt in range(1, 4):
            old, new, events = kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=kinds_told)
            assert [event.kind for event in events] == ["blocked"]
            if attempt < 3:
                as_watcher(kb.rewind_notify_cursor, conn, task_id=task_id, **CHAT, claimed_cursor=new, old_cursor=old)
        as_watcher(kb.remove_notify_sub, conn, task_id=task_id, **CHAT)
        assert len(kb.list_notify_subs(conn)) == 1
        with Board(ledger_of(home)) as found:
            (letter,) = found.dead_letters()
            assert (letter.task_id, letter.chat_id, letter.attempts) == (task_id, "42", 3)
            assert [found.event(each).kind for each in letter.event_ids] == ["blocked"]
        assert kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=kinds_told)[2] == []
        asked_for_once_more(kb, conn, letter)
        kb.complete_task(conn, task_id, summary="after all")
        _, new, events = kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=kinds_told)
        assert [event.kind for event in events] == ["completed"]
        as_watcher(kb.advance_notify_cursor, conn, task_id=task_id, **CHAT, new_cursor=new)
        as_watcher(kb.remove_notify_sub, conn, task_id=task_id, **CHAT)
        assert kb.list_notify_subs(conn) == []
    clean(home)


def asked_for_once_more(kb, conn, letter):
    """Then the dead letter is told by Hermes's watcher: as often as it takes, and once."""
    from kanban_shards import Board
    from kanban_shards.changes.kinds import Resend
    from kanban_shards.hermes import identity

    chat = {"task_id": letter.task_id, **CHAT}
    identity.writer_of(conn.paths).ask(letter.task_id, Resend(letter_id=letter.id))
    old, new, events = kb.claim_unseen_events_for_sub(conn, **chat, kinds=None)
    assert [event.id for event in events] == letter.event_ids == [new]
    assert kb.claim_unseen_events_for_sub(conn, **chat, kinds=None)[2] == []
    assert as_watcher(kb.rewind_notify_cursor, conn, **chat, claimed_cursor=new, old_cursor=old)
    assert kb.claim_unseen_events_for_sub(conn, **chat, kinds=None) == (old, new, events)
    as_watcher(kb.advance_notify_cursor, conn, **chat, new_cursor=new)
    with Board(conn.paths) as found:
        assert found.dead_letters() == []
    assert kb.claim_unseen_events_for_sub(conn, **chat, kinds=None)[2] == []


def two_gateways_of_one_profile_tell_once(kb, home):
    """What one has taken up, another process does not, until it is laid down."""
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x")
        kb.add_notify_sub(conn, task_id=task_id, **CHAT, notifier_profile="default")
        kb.complete_task(conn, task_id, summary="s")
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            with board(kb) as other:
                got = kb.claim_unseen_events_for_sub(other, task_id=task_id, **CHAT, kinds=("completed",))
            os.write(write, str(len(got[2])).encode())
            os._exit(0)
        assert os.read(read, 10) == b"1"
        os.waitpid(pid, 0)
        assert kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=("completed",))[2] == []


def what_lists_tasks_makes_no_pass(kb, home):
    """Where nothing is unmerged; and makes one where another profile wrote and is gone."""
    from kanban_shards import Gateway
    from kanban_shards.hermes import identity

    with board(kb) as conn:
        task_id = kb.create_task(conn, title="x")
        identity.close_kept()
        for _ in range(3):
            kb.recompute_ready(conn)
        assert not identity._writers
        gateway = Gateway("mafei", paths=ledger_of(home))
        gateway._writer._settling.sweep = lambda: None
        gateway._writer._settling.close()
        gateway.comment(task_id, "hello")
        kb.recompute_ready(conn)
        assert "commented" in kinds(kb, conn, task_id)
        gateway.close()
