"""Units: how the system's own supervisor runs the daemon, as a systemd unit or a launchd agent.

The text of a service is a function of what it runs and for whom; writing it, enabling it and removing it are apart.
A file that this program did not write is never overwritten or removed.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kanban_shards.boards import boards
from kanban_shards.coordinator.errors import NoService, NotOurService, ServiceNeedsUser, UnknownUser
from kanban_shards.errors import StorageError
from kanban_shards.paths import BoardPaths, expanded
from kanban_shards.storage.filesystems import make_folder, sync_folder
from kanban_shards.storage.folders import write_whole

SIGNATURE = "Written by `kanban-merge service install`; `kanban-merge service uninstall` removes it."
# Longer than any pass, any batch of a catch-up, and the making of a ledger of some million entries.
WATCHDOG_S = 180
STOP_S = 30
OPEN_FILES = 65_536
COMMAND_WAIT_S = 60.0

_UNIT = """\
# {mark}
[Unit]
Description=Merges the shards of {home} into the board

[Service]
Type=notify
ExecStart={command}
WatchdogSec={watchdog_s}
Restart=on-failure
RestartSec=2
# Wrong usage, and files that a person has to see to: starting again helps neither.
RestartPreventExitStatus=2 3
KillMode=mixed
TimeoutStopSec={stop_s}
LimitNOFILE={open_files}
UMask=0077
NoNewPrivileges=yes
RestrictAddressFamilies={families}
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
{more}
[Install]
WantedBy={wanted_by}
"""
# What else the child of a shared board's daemon opens: the way to the server, and which ways there are.
_NETWORK = ("AF_INET", "AF_INET6", "AF_NETLINK")
# These need a mount namespace, which a user's own systemd may not make on every system.
_FOR_A_SYSTEM_UNIT = """\
User={user}
ProtectSystem=strict
ReadWritePaths={home}
PrivateTmp=yes
PrivateDevices=yes
{network}ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""


@dataclass(frozen=True)
class Service:
    """A daemon of one board, or of every board of ``home``, run by the system. ``user``: whose, if it is the whole
    system's and not this user's own; ``platform`` is one of sys.platform's; ``backup_every``: how often the daemon
    makes a backup, as its option says it."""

    home: Path
    board: str | None
    user: str | None
    platform: str = sys.platform
    backup_every: str | None = None

    @property
    def name(self) -> str:
        """Its name, different for each board of each home."""
        words = ["kanban-merge"]
        if self.board is not None:
            words.append(self.board)
        if self.home != expanded("~/.hermes"):
            words.append(hashlib.blake2b(os.fsencode(self.home), digest_size=4).hexdigest())
        return "-".join(words)

    @property
    def opens_network(self) -> bool:
        """Whether other hosts share a board of it, so that its daemon has a child that asks a server."""
        served = boards(self.home) if self.board is None else [BoardPaths.of(self.home, self.board)]
        return any(paths.is_shared for paths in served)

    @property
    def is_launchd(self) -> bool:
        """Whether launchd runs it, and not systemd."""
        return self.platform == "darwin"

    @property
    def path(self) -> Path:
        """The file that describes it."""
        if self.is_launchd:
            folder = Path("/Library/LaunchDaemons") if self.user else expanded("~/Library/LaunchAgents")
            return folder / f"{self.name}.plist"
        if self.user:
            return Path("/etc/systemd/system") / f"{self.name}.service"
        config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        return expanded(config) / "systemd" / "user" / f"{self.name}.service"

    @property
    def text(self) -> str:
        """What is in that file."""
        return self._plist() if self.is_launchd else self._unit()

    @property
    def starting(self) -> list[list[str]]:
        """The commands that have the system run it, now and after each start."""
        if self.is_launchd:
            return [["launchctl", "bootout", f"{self._domain}/{self.name}"],
                    ["launchctl", "bootstrap", self._domain, str(self.path)]]  # fmt: skip
        return [self._systemctl("daemon-reload"), self._systemctl("enable", f"{self.name}.service"),
                self._systemctl("restart", f"{self.name}.service")]  # fmt: skip

    @property
    def stopping(self) -> list[list[str]]:
        """The commands that end that."""
        if self.is_launchd:
            return [["launchctl", "bootout", f"{self._domain}/{self.name}"]]
        return [self._systemctl("disable", "--now", f"{self.name}.service")]

    def is_installed(self) -> bool:
        """Whether its file is there. Raises NotOurService if it is somebody else's, StorageError."""
        try:
            found = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(path=self.path, problem=f"it cannot be read: {error.strerror}") from error
        if SIGNATURE not in found:
            raise NotOurService(path=self.path)
        return True

    def write(self) -> None:
        """Write its file, whole or not at all. Raises NotOurService, StorageError."""
        self.is_installed()
        try:
            make_folder(self.path.parent)
        except OSError as error:
            raise StorageError(path=self.path, problem=f"it cannot be written: {error.strerror}") from error
        write_whole(self.path, self.text, for_all=True)

    def remove(self) -> None:
        """Remove its file. Raises NoService, NotOurService, StorageError."""
        if not self.is_installed():
            raise NoService(name=self.name, path=self.path)
        try:
            self.path.unlink()
            sync_folder(self.path.parent)
        except OSError as error:
            raise StorageError(path=self.path, problem=f"it cannot be removed: {error.strerror}") from error

    @property
    def _command(self) -> list[str]:
        which = [] if self.board is None else ["--board", self.board]
        every = ["--all-boards"] if self.board is None else []
        # -P: do not import our packages from the working directory.
        merge = [sys.executable, "-P", "-m", "kanban_shards.coordinator", "--home", str(self.home), *which]
        backups = [] if self.backup_every is None else ["--backup-every", self.backup_every]
        return [*merge, "daemon", "--standby", *every, *backups]

    @property
    def _domain(self) -> str:
        return "system" if self.user else f"gui/{os.getuid()}"

    def _systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *([] if self.user else ["--user"]), *words]

    def _unit(self) -> str:
        opens_network = self.opens_network
        network = "" if opens_network else "PrivateNetwork=yes\n"
        system = {"user": self.user, "home": quoted(str(self.home)), "network": network}
        return _UNIT.format(
            mark=SIGNATURE,
            home=quoted(str(self.home)).strip('"'),
            command=" ".join(quoted(word).replace("$", "$$") for word in self._command),
            watchdog_s=WATCHDOG_S,
            stop_s=STOP_S,
            open_files=OPEN_FILES,
            families=" ".join(("AF_UNIX", *(_NETWORK if opens_network else ()))),
            more=_FOR_A_SYSTEM_UNIT.format(**system) if self.user else "",
            wanted_by="multi-user.target" if self.user else "default.target",
        )

    def _plist(self) -> str:
        log = "/var/log" if self.user else str(expanded("~/Library/Logs"))
        told = plistlib.dumps(
            {
                "Label": self.name,
                "ProgramArguments": self._command,
                "RunAtLoad": True,
                "KeepAlive": {"SuccessfulExit": False},
                "ThrottleInterval": 10,
                "ExitTimeOut": STOP_S,
                "ProcessType": "Background",
                "Umask": 0o077,
                "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
                "StandardErrorPath": f"{log}/{self.name}.log",
                **({"UserName": self.user} if self.user else {}),
            },
            sort_keys=False,
        ).decode()
        return told.replace("<plist", f"<!-- {SIGNATURE} -->\n<plist", 1)


def service_of(paths: BoardPaths, home: Path, all_boards: bool, user: str | None, system: bool) -> Service:
    """The service of a board, or of all of a home. Raises ServiceNeedsUser."""
    if system and not user:
        raise ServiceNeedsUser
    return Service(home.resolve(), None if all_boards else paths.slug, user if system else None)


def home_of_user(name: str) -> Path:
    """The Hermes home that the user has without any option or variable. Raises UnknownUser."""
    try:
        return Path(pwd.getpwnam(name).pw_dir) / ".hermes"
    except (KeyError, ValueError) as error:  # ValueError: it holds a NUL
        raise UnknownUser(name=name) from error


def run(commands: list[list[str]]) -> str | None:
    """Run the commands in turn; returns None, or why the one that failed and those after it must be run by hand."""
    if shutil.which(commands[0][0]) is None:
        return f"there is no {commands[0][0]} on this system"
    for number, command in enumerate(commands):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False)
        except subprocess.TimeoutExpired:
            return f"`{' '.join(command)}` did not end within {COMMAND_WAIT_S:g} seconds"
        is_last = number == len(commands) - 1
        if done.returncode and (is_last or command[:2] != ["launchctl", "bootout"]):  # nothing was loaded before
            return done.stderr.strip() or f"`{' '.join(command)}` ended with exit code {done.returncode}"
    return None


def quoted(word: str) -> str:
    """A word as systemd reads it in a unit: specifiers doubled, and in quotes where it is more than plain letters."""
    escaped = "".join(_ESCAPED.get(letter) or _as_code(letter) for letter in word)
    is_plain = word and all(letter.isalnum() or letter in "-_./:=%@+," for letter in word)
    return escaped if is_plain else f'"{escaped}"'


def _as_code(letter: str) -> str:
    return letter if ord(letter) >= 32 else f"\\x{ord(letter):02x}"


_ESCAPED = {"%": "%%", "\\": "\\\\", '"': '\\"'}
