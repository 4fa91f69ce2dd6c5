"""A board in a folder that several containers of one machine have: their names and numbers differ, the lock is one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.health.read import STOPPED, STRANGER, WORKING
from kanban_shards.coordinator.merge.coordinator_lock import DAEMON, holder, take
from kanban_shards.coordinator.processes import number_in_its_space
from kanban_shards.errors import Undecided
from kanban_shards.paths import BoardPaths
from tests.processes.test_standby import merging

NAMED = 'hostname box && exec "$@"'
CONTAINERS = {
    "another name": ["unshare", "--user", "--map-root-user", "--uts", "--", "sh", "-c", NAMED, "sh"],
    "numbers of its own": ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"],
    "both": ["unshare", "--user", "--map-root-user", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
             "sh", "-c", NAMED, "sh"],
}  # fmt: skip
MERGE = [sys.executable, "-m", "kanban_shards.coordinator"]


@pytest.fixture(params=CONTAINERS)
def container(request: pytest.FixtureRequest) -> list[str]:
    """How to run a command in a container of that kind."""
    words = CONTAINERS[request.param]
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if tried.returncode:
        pytest.skip("this user may not make such a namespace here")
    return words


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    started: list[subprocess.Popen] = []

    def begin(*words: str) -> subprocess.Popen:
        started.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        with process:
            pass


def status(home: str, within: Sequence[str] = ()) -> dict:
    told = subprocess.run([*within, *MERGE, "--home", home, "status", "--json"], capture_output=True, text=True)
    assert told.returncode in (0, 6), told
    return json.loads(told.stdout)


def test_a_daemon_in_a_container(home: str, paths: BoardPaths, container, start) -> None:
    """Seen from outside it works, and has the number that ends it there."""
    merging(start(*container, *MERGE, "--home", home, "daemon"))
    with Gateway("amy", home=home) as amy:
        amy.claim(amy.create("a task"))
    found = holder(paths)
    assert found.role == DAEMON and found.shares_pids() and found.is_on_this_machine()
    seen = status(home)
    assert (seen["coordinator_state"], seen["problems"]) == (WORKING, [])
    assert seen["coordinator"]["pid"] == found.pid
    assert number_in_its_space(found.pid) in (1, found.pid)


def test_a_daemon_outside(home: str, container, start) -> None:
    """Seen from a container it works, whatever is or is not there under its number."""
    merging(start(*MERGE, "--home", home, "daemon"))
    with Gateway("amy", home=home) as amy:
        amy.claim(amy.create("a task"))
    seen = status(home, container)
    assert (seen["coordinator_state"], seen["problems"]) == (WORKING, [])
    refused = subprocess.run([*container, *MERGE, "--home", home, "daemon"], capture_output=True, text=True)
    assert refused.returncode == 5 and "another host" not in refused.stderr


def test_a_stopped_one_is_seen_from_outside(home: str, paths: BoardPaths, container, start) -> None:
    merging(start(*container, *MERGE, "--home", home, "daemon"))
    with Gateway("amy", home=home, patience_s=0.2) as amy:
        task_id = amy.create("a task")
        pid = holder(paths).pid
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
        try:
            assert status(home)["coordinator_state"] == STOPPED
            with pytest.raises(Undecided, match=f"kill -CONT {pid}"):
                amy.claim(task_id)
        finally:
            subprocess.run(["kill", "-KILL", str(pid)], check=True)


def test_a_note_of_another_containers_process_hides_nobody(paths: BoardPaths) -> None:
    """Who has the lock here, and says to be somewhere else, is not believed where the system names it."""
    script = (
        "import sys, time; from pathlib import Path; from kanban_shards.storage.locks import FileLock\n"
        "lock = FileLock(Path(sys.argv[1])); lock.acquire(0)\n"
        "lock.write_note(Path(sys.argv[1] + '.note').read_text()); print('held', flush=True); time.sleep(60)"
    )
    with closing(take(paths, DAEMON, 0)) as lock:
        note = json.loads(lock.read_note())
    forged = json.dumps({**note, "pid_space": "pid:[1]", "pid": 7})
    paths.coordinator_lock.with_name(paths.coordinator_lock.name + ".note").write_text(forged)
    words = [sys.executable, "-c", script, paths.coordinator_lock]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert (holder(paths).role, holder(paths).pid) == (STRANGER, process.pid)
        process.kill()
