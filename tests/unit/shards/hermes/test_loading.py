"""The module is bridged wherever and however it is imported, or its process ends; and no other Python notices.

In processes of their own, with a ``hermes_cli`` that has the right functions, and a ``patch`` that leaves its mark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kanban_shards.hermes import startup
from tests.unit.shards.hermes import imitation

START = """
import sys, types
patching = types.ModuleType("kanban_shards.hermes.patch")
def patch(module):
    module.PATCHED = getattr(module, "PATCHED", 0) + 1
    module.connect = lambda *words, **named: "bridged"
patching.patch = patch
sys.modules["kanban_shards.hermes.patch"] = patching
from kanban_shards.hermes import startup
startup.start()
"""
# A second tool that wraps the loader of a module, and finds it by asking everybody.
OTHER = """
import importlib.util
class Other:
    asking = False
    def find_spec(self, name, path=None, target=None):
        if name != "hermes_cli.kanban_db" or self.asking:
            return None
        self.asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        spec.loader = Wrapping(spec.loader)
        return spec
class Wrapping:
    def __init__(self, loader):
        self.loader = loader
    def create_module(self, spec):
        return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        module.WRAPPED = True
"""


@pytest.fixture
def hermes(tmp_path: Path) -> Path:
    """A folder with a Hermes 0.19.0 that has no more than its functions' signatures."""
    return imitation.make(tmp_path / "site", "0.19.0")


def run(folder: Path, code: str, **environ: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", START + code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def answer(folder: Path, code: str, **environ: str) -> object:
    """What the code, once it has imported json, prints as such."""
    ended = run(folder, "import json\n" + code, **environ)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    "way",
    [
        "from hermes_cli import kanban_db as kb",
        "import hermes_cli.kanban_db as kb",
        "import importlib; kb = importlib.import_module('hermes_cli.kanban_db')",
        "import importlib.util; spec = importlib.util.find_spec('hermes_cli.kanban_db')\n"
        "kb = importlib.util.module_from_spec(spec); spec.loader.exec_module(kb)",
        "startup.start(); startup.start()\nfrom hermes_cli import kanban_db as kb",
    ],
)
def test_it_is_bridged_once_however_it_is_imported(hermes: Path, way: str) -> None:
    assert answer(hermes, f"{way}\nprint(json.dumps([kb.connect(), kb.PATCHED]))") == ["bridged", 1]


def test_again_when_it_is_loaded_again(hermes: Path) -> None:
    code = """
import importlib
from hermes_cli import kanban_db as kb
importlib.reload(kb)
del sys.modules["hermes_cli.kanban_db"]
again = importlib.import_module("hermes_cli.kanban_db")
print(json.dumps([kb.connect(), kb.PATCHED, again is kb, again.connect()]))
"""
    assert answer(hermes, code) == ["bridged", 2, False, "bridged"]


def test_the_loader_keeps_what_it_has(hermes: Path) -> None:
    code = """
import inspect
from hermes_cli import kanban_db as kb
loader = kb.__spec__.loader
print(json.dumps([loader.path, loader.is_package(kb.__name__), loader.get_source(kb.__name__) == inspect.getsource(kb),
                  kb.__file__, kb.KANBAN_SHARDS]))
"""
    file = str(hermes / "hermes_cli" / "kanban_db.py")
    assert answer(hermes, code) == [file, False, True, file, str(Path(startup.__file__).parents[1])]


@pytest.mark.parametrize("place", ["insert(0, Other())", "append(Other())", "insert(1, Other())"])
def test_beside_another_tool_that_wraps_loaders(hermes: Path, place: str) -> None:
    code = f"""{OTHER}
sys.meta_path.{place}
from hermes_cli import kanban_db as kb
print(json.dumps([kb.connect(), kb.PATCHED, getattr(kb, "WRAPPED", None)]))
"""
    before_all_others = place != "append(Other())"
    assert answer(hermes, code) == ["bridged", 1, True if before_all_others else None]


def test_two_of_its_kind_do_not_ask_each_other_for_ever(hermes: Path) -> None:
    code = """
sys.meta_path.insert(0, startup.Finder())
from hermes_cli import kanban_db as kb
print(json.dumps([kb.connect(), kb.PATCHED]))
"""
    assert answer(hermes, code) == ["bridged", 1]


def test_threads_that_import_it_together(hermes: Path) -> None:
    code = """
import threading, importlib
seen = []
def load():
    barrier.wait(10)
    kb = importlib.import_module("hermes_cli.kanban_db")
    seen.append([kb.connect(), kb.PATCHED])
barrier = threading.Barrier(8)
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
print(json.dumps(seen))
"""
    assert answer(hermes, code) == [["bridged", 1]] * 8


def test_the_switch_leaves_hermes_as_it_is(hermes: Path) -> None:
    code = "from hermes_cli import kanban_db as kb\nprint(json.dumps([kb.connect(), hasattr(kb, 'PATCHED')]))"
    assert answer(hermes, code, KANBAN_SHARDS_HERMES="0") == ["upstream", False]
    assert answer(hermes, code, KANBAN_SHARDS_HERMES="1") == ["bridged", True]


def test_nothing_is_loaded_before_it(hermes: Path) -> None:
    """Of this program, its two packages and the start module; of the rest, nothing that Python had not."""
    code = """
import sys
before = {*sys.modules}
import kanban_shards.hermes.startup
kanban_shards.hermes.startup.start()
print(*sorted({*sys.modules} - before))
import hermes_cli
print(*sorted(name for name in {*sys.modules} - before if "kanban" in name or "hermes" in name))
"""
    output = subprocess.check_output([sys.executable, "-c", code], env={"PYTHONPATH": str(hermes)}, text=True)
    ours = ["kanban_shards", "kanban_shards.hermes", "kanban_shards.hermes.startup"]
    first, second = output.splitlines()
    assert first.split() == ours
    assert second.split() == ["hermes_cli", *ours]


def test_a_python_starts_less_than_a_millisecond_later() -> None:
    """Of CPU, and the quickest of several, because others keep this machine busy."""
    code = """
import time
began = time.process_time()
import kanban_shards.hermes.startup
kanban_shards.hermes.startup.start()
print(time.process_time() - began)
"""
    took = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(12)]
    assert min(took) < 0.001


@pytest.mark.parametrize(
    ("version", "other", "sentence"),
    [
        ("0.20.0", {}, "Hermes 0.20.0 in {prefix} cannot work on boards of kanban-shards, which knows 0.16 to 0.19"),
        ("0.15.2", {}, "Hermes 0.15.2 in {prefix} cannot work on boards of kanban-shards"),
        ("0.19.3", {"claim_task": "conn, task_id"}, "functions that are not those of that release (claim_task)"),
    ],
)
def test_an_unknown_hermes_ends_with_one_sentence(tmp_path: Path, version: str, other: dict, sentence: str) -> None:
    folder = imitation.make(tmp_path / "site", version, **other)
    check_ended(run(folder, GOING_ON), sentence.format(prefix=sys.prefix))


# As Hermes imports it: whatever that raises is caught, in threads of its own, too.
GOING_ON = """
import threading
print("before", flush=True)
def load():
    try:
        from hermes_cli import kanban_db
    except BaseException:
        pass
    print("went on")
thread = threading.Thread(target=load)
thread.start()
thread.join(30)
print("went on")
"""


def check_ended(ended: subprocess.CompletedProcess, sentence: str) -> None:
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == "before\n"
    (line,) = ended.stderr.splitlines()
    assert line.startswith("kanban-shards: ")
    assert sentence in line
    assert line.endswith(".")


@pytest.mark.parametrize("error", ["RuntimeError('bad\\nluck')", "KeyboardInterrupt()", "SystemExit(0)"])
def test_a_patch_that_fails_ends_the_process(hermes: Path, error: str) -> None:
    code = f"def patch(module): raise {error}\npatching.patch = patch\n{GOING_ON}"
    check_ended(run(hermes, code), "Hermes stops, because it could not be bridged")


def test_half_a_package_ends_the_process(hermes: Path) -> None:
    code = f"sys.modules['kanban_shards.hermes.loading'] = None\n{GOING_ON}"
    check_ended(run(hermes, code), "Hermes stops, because kanban-shards cannot be loaded")


def test_the_sentence_is_in_the_logs_too(hermes: Path, tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    code = f"import logging\nlogging.basicConfig(filename={str(log)!r})\ndef patch(module): raise ValueError('no')\n"
    ended = run(hermes, f"{code}patching.patch = patch\n{GOING_ON}")
    check_ended(ended, "could not be bridged")
    assert ended.stderr.strip() in log.read_text()


def test_what_hermes_itself_raises_stays_its_own(tmp_path: Path) -> None:
    folder = imitation.make(tmp_path / "site", "0.19.0")
    (folder / "hermes_cli" / "kanban_db.py").write_text("raise ImportError('no such toolset')")
    ended = run(folder, "try:\n    import hermes_cli.kanban_db\nexcept ImportError as error:\n    print(error)")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "no such toolset\n", "")


def test_a_hermes_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    ended = run(tmp_path, "import importlib.util\nprint(importlib.util.find_spec('hermes_cli'))")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "None\n", "")
