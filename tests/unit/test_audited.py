"""Laws 1 and 2 while every public call is made: nothing but SQLite touches a database, and no lock is lost or kept.

Each check is shown to fail when its law is broken.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from tests.tree import MODULES, ROOT
from tests.unit import audited

AUDITED = Path(audited.__file__)
# No network, no unpickling, no shell, no evaluated text; and what would load them.
FORBIDDEN_MODULES = {
    "pickle", "marshal", "shelve", "dill", "yaml", "socketserver", "http", "urllib", "ftplib", "smtplib", "ssl",
    "asyncio", "requests", "httpx", "pty", "code", "codeop", "ctypes", "multiprocessing",
}  # fmt: skip
# What is no crime there: setfsuid; how an address is spelled; the side of the page that speaks HTTP and opens no board.
KNOWN = {
    "coordinator/hermes/interpreters.py": {"urllib.parse"},
    "shards/storage/owners.py": {"ctypes"},
    "shards/filters.py": {"urllib.parse"},
    "shards/web/then.py": {"urllib.parse"},
    "shards/web/app.py": {"asyncio", "urllib.parse"},
    "shards/web/link.py": {"asyncio", "asyncio.subprocess"},
    "shards/web/serving.py": {"listen"},
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "system", "popen", "fork", "enable_load_extension"}


def test_every_public_call(home: str) -> None:
    said = _audited(home)
    assert said["noticed"] == [], "only SQLite touches a database"
    assert said["lost"] == {}, "no call loses a lock on an open file"
    assert said["kept"] == {}, "no call keeps a flock"
    assert said["left"] == [], "closed means closed"
    assert audited.public(Gateway) - {"close"} <= set(said["calls"]), "each is called"
    skipped = {"open", "close", "reading", "bell", "follow"}
    assert {f"Board.{name}" for name in audited.public(Board) - skipped} <= set(said["calls"])


@pytest.mark.parametrize(
    ("crime", "event", "loses"),
    [
        ("open", "open of kanban.db by unit/audited.py", True),
        ("copy", "shutil.copyfile of kanban.db by unit/audited.py", True),
        ("connect", "sqlite3.connect of kanban.db by unit/audited.py", False),
        ("rename", "os.link of kanban.db by unit/audited.py", False),
    ],
)
def test_a_crime_is_noticed(home: str, crime: str, event: str, loses: bool) -> None:
    """A raw open or copy of the live board takes the open reader's locks with it, here as in the field."""
    said = _audited(home, crime)
    assert event in said["noticed"]
    assert bool(said["lost"]) == (loses and audited.LOCKS.exists())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_port_no_pickle_no_shell(path: Path) -> None:
    """docs/security.md: nothing that is read is run, and nothing listens but datagram sockets in the board's folder,
    and the page where it is asked for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert set(_crimes(tree)) == KNOWN.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize(
    "crime",
    [
        "import pickle", "from http.server import HTTPServer", "eval(text)", "os.system(text)",
        "subprocess.run(text, shell=True)", "socket.socket(socket.AF_INET)", "connection.execute('SELECT ' + text)",
        "connection.execute(f'SELECT {text!r}')", "connection.execute('SELECT %s' % text)",
        "connection.execute('SELECT {}'.format(text))",
    ],
)  # fmt: skip
def test_such_a_crime_is_found(crime: str) -> None:
    assert _crimes(ast.parse(crime))


# Names that stand in an SQL text for words of this program, constants besides: tables and columns of its own, never a
# value that was read. (``name`` is a table of the schema that this program made.)
OWN_WORDS = {
    "table", "columns", "assignments", "key", "where", "condition", "conditions", "sql", "index", "names", "order",
    "placeholders", "marks", "role", "column", "event", "name", "target", "verb", "told", "wanted",
}  # fmt: skip


def _crimes(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(node.module)
        elif isinstance(node, ast.Attribute) and node.attr in ("AF_INET", "AF_INET6", "create_connection", "listen"):
            found.append(node.attr)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            bare = isinstance(node.func, ast.Name) or getattr(getattr(node.func, "value", None), "id", "") == "os"
            if (name in FORBIDDEN_CALLS and bare) or any(word.arg == "shell" for word in node.keywords):
                found.append(name)
            if name in ("execute", "executemany", "executescript") and node.args and _from_data(node.args[0]):
                found.append(ast.unparse(node.args[0]))
    return found


def _from_data(sql: ast.AST) -> bool:
    """Whether an SQL text is put together of something else than words of this program."""
    if isinstance(sql, ast.BinOp) or (isinstance(sql, ast.Call) and getattr(sql.func, "attr", "") == "format"):
        return True
    return isinstance(sql, ast.JoinedStr) and any(
        isinstance(part, ast.FormattedValue) and (part.conversion != -1 or not _is_own(part.value))
        for part in sql.values
    )


def _is_own(value: ast.AST) -> bool:
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") in ("len", "int", "_quoted"):
        return True  # a number, also of question marks; a name of another program's table, in quotation marks
    if isinstance(value, ast.Name):
        return value.id in OWN_WORDS or value.id.isupper()
    return all(map(_is_own, ast.iter_child_nodes(value)))


def _audited(home: str, *crime: str) -> dict:
    ended = subprocess.run([sys.executable, AUDITED, home, *crime], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
