"""The processes of one home: gateways, the daemon, the load, and the workers that a gateway starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.hermes.acceptance.chat import Chat

FOLDER = Path(__file__).parent
# A task is not given up however often its worker is killed.
CONFIG = """
kanban:
  dispatch_in_gateway: true
  dispatch_interval_seconds: 1
  auto_decompose: false
  max_in_progress: 3
  failure_limit: 100
security:
  tirith_enabled: false
"""
# A killed worker is seen as crashed after so long.
GRACE_S = 2
END_S = 20.0


@dataclass
class Killed:
    """What was killed with -9, and when."""

    counts: Counter[str] = field(default_factory=Counter)
    gateways: dict[str, list[float]] = field(default_factory=dict)


class Fleet:
    """A home with its profiles, and everything that runs in it."""

    def __init__(self, folder: Path, environment: Path, profiles: list[str], chat: Chat, work_s: float) -> None:
        """``folder``: new, for everything; ``environment``: that of Hermes; ``work_s``: how long a worker works."""
        self.folder = folder
        self.environment = environment
        self.profiles = profiles
        self.chat = chat
        self.home = folder / "home"
        self.root = self.home / ".hermes"
        self.journal = folder / "workers"
        self.killed = Killed()
        self._work_s = work_s
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def make(self) -> None:
        """The profiles, by Hermes's own command, and their configuration."""
        self.root.mkdir(parents=True)
        self.journal.touch()
        others = [profile for profile in self.profiles if profile != "default"]
        for profile in others:
            self.hermes("profile", "create", profile)
        for profile in self.profiles:
            (self.home_of(profile) / "config.yaml").write_text(CONFIG)

    def home_of(self, profile: str) -> Path:
        """Where a profile's things are."""
        return self.root if profile == "default" else self.root / "profiles" / profile

    def environ(self, profile: str) -> dict[str, str]:
        """What the processes of a profile are told."""
        return {
            "PATH": f"{self.environment}/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "NTFY_TOPIC": profile,
            "NTFY_SERVER_URL": self.chat.url,
            "HERMES_BIN": str(FOLDER / "worker.sh"),
            "HERMES_KANBAN_CRASH_GRACE_SECONDS": str(GRACE_S),
            "REAL_HERMES": str(self.environment / "bin/hermes"),
            "JOURNAL": str(self.journal),
            "WORK_S": str(self._work_s),
        }

    def hermes(self, *words: str) -> str:
        """What ``hermes WORDS`` prints."""
        done = subprocess.run(
            [self.environment / "bin/hermes", *words],
            env=self.environ("default"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"hermes {' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def start_gateway(self, profile: str) -> None:
        """The gateway of a profile, with its dispatcher and its notifier; returns at once."""
        self._start(profile, [self.environment / "bin/hermes", "-p", profile, "gateway", "run", "-v"], profile)

    def start_daemon(self) -> None:
        """The daemon of this project."""
        self._start("daemon", [self.environment / "bin/kanban-merge", "--home", self.root, "daemon"], "default")

    def start_churn(self, profile: str, stop: Path) -> None:
        """The load of a profile, until ``stop`` is there."""
        name = f"churn-{profile}"
        with (self.folder / f"{name}.log").open("ab") as log, (self.folder / f"{name}.said").open("ab") as said:
            self._running[name] = subprocess.Popen(
                [self.environment / "bin/python", FOLDER / "churn.py", stop],
                env={**self.environ(profile), "HERMES_HOME": str(self.home_of(profile))},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=log,
                start_new_session=True,
            )

    def wait_for_churn(self) -> None:
        """Until the load has stopped."""
        for name in [name for name in self._running if name.startswith("churn-")]:
            self._running.pop(name).wait(60)

    def log(self, name: str) -> Path:
        """Where a gateway, or the daemon, writes."""
        return self.folder / f"{name}.log"

    def kill(self, name: str) -> None:
        """kill -9 of a gateway or the daemon."""
        self.killed.counts["daemon" if name == "daemon" else "gateway"] += 1
        self.killed.gateways.setdefault(name, []).append(time.time())
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def kill_worker(self, pid: int) -> None:
        """kill -9 of a worker with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
            self.killed.counts["worker"] += 1

    def workers(self) -> list[int]:
        """The workers that are alive."""
        alive = {process.pid for process in self.processes()}
        return [pid for pid in map(int, (line.split()[2] for line in self.lines())) if pid in alive]

    def lines(self) -> list[str]:
        """What workers wrote when they began: task, run, pid, time, and who else was at that task."""
        return self.journal.read_text().splitlines()

    def running(self) -> list[str]:
        """The gateways and the daemon that are alive."""
        return [name for name, process in self._running.items() if process.poll() is None]

    def stop(self) -> None:
        """Ask everybody to end, as an operator does; whoever does not is killed."""
        for process in self._running.values():
            process.terminate()
        end = time.monotonic() + END_S
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))

    def clear(self) -> list[str]:
        """Kill whatever is left of this home, and forget the home. Says what was left."""
        left = list(self.processes())
        said = [" ".join(process.cmdline()) for process in left if process.is_running()]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left)
        for started in self._running.values():
            started.wait()
        shutil.rmtree(self.home, ignore_errors=True)
        return said

    def processes(self) -> Iterator[psutil.Process]:
        """Every process of this home, whoever started it."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("HOME") == str(self.home) and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def _start(self, name: str, argv: list[str | Path], profile: str) -> None:
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv,
                env=self.environ(profile),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
