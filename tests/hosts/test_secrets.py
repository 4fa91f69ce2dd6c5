"""No secret is in an argument, in a file of ours, in a log or in an answer. The server wants a password, and a
host that has it in libpq's own file shares a board with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.far.server import Server
from tests.hosts.machines import PASSWORD, Machine, machines, settled

ROLE = "keeper"


@pytest.fixture
def server(postgres: Server):
    """The session's server, which lets a role in by its password alone."""
    access = postgres.data / "pg_hba.conf"
    usual = access.read_text()
    access.write_text(f"local all {ROLE} scram-sha-256\n{usual}")
    postgres.sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
    postgres.sql("SELECT pg_reload_conf()")
    yield postgres
    access.write_text(usual)
    postgres.sql("SELECT pg_reload_conf()")


def test_no_secret_is_told(server: Server, tmp_path: Path) -> None:
    database = server.database()
    server.sql(f"ALTER DATABASE {database} OWNER TO {ROLE}")
    with machines(tmp_path, server, "laptop", database=database, user=ROLE) as [host]:
        said = [host.share("--dry-run", "--json"), host.share("--json")]
        host.start()
        with host.gateway("ann") as ann:
            ann.create("a task")
            settled([host])
        assert_untold(arguments(), "an argument")
        host.link.cut()
        said += [host.merge(verb, "--json", ok=None) for verb in ("status", "doctor", "metrics")]
        host.link.heal()
        settled([host])
        host.kill()
        host.password_file.write_text("")
        said += [host.merge("share", "--again", "--json", ok=None), host.merge("unshare", ok=None)]
        said += [host.share(*words, ok=None) for words in (["--again"], ["--json"])]
        said.append(host.merge("share", f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1/kanban", "--json", ok=2))
        said.append(host.merge("share", f"host=127.0.0.1 password={PASSWORD}", ok=2))
        said.append(host.merge("unshare", "--anyway", "--json"))
        assert_untold([each.stdout + each.stderr for each in said], "an answer")
        assert any("password" in each.stderr + each.stdout for each in said), "the want of one is told"
        files = [path.read_bytes().decode(errors="replace") for path in everything(host)]
        assert len(files) > 5
        assert_untold(files, "a file")


def arguments() -> list[str]:
    """Arguments and environments of all processes that this user may look at."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                found.append((folder / name).read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return found


def everything(host: Machine) -> list[Path]:
    """All files of the host but libpq's own password file."""
    return [path for path in host.folder.rglob("*") if path.is_file() and path != host.password_file]


def assert_untold(texts: list[str], what: str) -> None:
    assert not [text for text in texts if PASSWORD in text], f"the password is in {what}"
