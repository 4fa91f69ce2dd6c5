"""Which Hermes can be bridged, by version and signatures."""

from __future__ import annotations

import ast
from types import FunctionType, ModuleType

import pytest

from kanban_shards.errors import HermesDiffers, HermesNotKnown
from kanban_shards.hermes import versions
from kanban_shards.hermes.upstream import Upstream
from tests.unit.shards.hermes.imitation import source_of


@pytest.mark.parametrize("minor", versions.DIFFERENCES)
@pytest.mark.parametrize("patch", ["", ".0", ".7", ".0rc1"])
def test_any_release_of_a_known_minor_version_with_its_signatures(minor: str, patch: str) -> None:
    versions.check_source(minor + patch, source_of(minor), "here")


@pytest.mark.parametrize("version", ["0.15.2", "0.20.0", "1.0", "0.190.0", "10.16", "", "of no version", "0.19x"])
def test_no_other_version_whatever_its_signatures(version: str) -> None:
    with pytest.raises(HermesNotKnown, match=r"which knows 0\.16 to 0\.19, and stops before it writes"):
        versions.check_source(version, source_of("0.19"), "here")


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "conn, task_id, author",
        "conn, task_id, author, body, extra=",
        "conn, task_id, author, body=",
        "conn, task_id, author, text",
        "conn, task_id, author, *body",
        "conn, task_id, author, **body",
        "conn, task_id, author, *, body",
    ],
)
def test_one_signature_that_differs_is_named(signature: str | None) -> None:
    source = source_of("0.19", add_comment=signature)
    with pytest.raises(HermesDiffers, match=r"not those of that release \(add_comment\)"):
        versions.check_source("0.19.0", source, "here")
    with pytest.raises(HermesDiffers, match=r"\(add_comment\)"):
        versions.check_signatures("0.19.0", dict(versions._of_functions(loaded(source))), "here")


def test_a_signature_of_another_release_is_refused() -> None:
    with pytest.raises(HermesDiffers, match=r"\b_record_task_failure\)"):
        versions.check_source("0.18.2", source_of("0.19"), "here")
    with pytest.raises(HermesDiffers, match=r"\(set_branch_name\)"):
        versions.check_source("0.17.0", source_of("0.17", set_branch_name="conn, task_id, branch_name"), "here")


@pytest.mark.parametrize("source", ["", "def connect(", "\0", "x = " + "(" * 5000, "import os\nos.abort()\n"])
def test_a_source_that_says_nothing_is_refused_and_never_run(source: str) -> None:
    with pytest.raises(HermesDiffers, match="add_comment"):
        versions.check_source("0.19.0", source, "here")


@pytest.mark.parametrize(
    "signature",
    ["", "a", "a, b=", "a=, b=", "*, a", "a, *, b, c=", "a, *rest", "a, *rest, b=, **more", "**more", "*rest, a"],
)
def test_a_loaded_function_reads_as_its_source_does(signature: str) -> None:
    source = f"def each({signature.replace('=', '=None')}):\n    local = 1\n    return local\n"
    assert dict(versions._of_source(source)) == {"each": signature}
    assert dict(versions._of_functions(loaded(source))) == {"each": signature}


def test_a_context_manager_is_the_function_that_it_was_made_of() -> None:
    assert dict(versions._of_functions(loaded(source_of("0.19"))))["write_txn"] == "conn"


@pytest.mark.parametrize(
    ("source", "version"),
    [
        ('"""Hermes."""\nimport os\n\n__version__ = "0.19.0"\n', "0.19.0"),
        ("__version__='0.18.2'\n", "0.18.2"),
        ("", "of no version"),
        ('    __version__ = "0.19.0"\n', "of no version"),
    ],
)
def test_the_version_is_read_from_the_source(source: str, version: str) -> None:
    assert versions.version_in(source) == version


def test_each_function_that_is_called_is_in_the_table() -> None:
    """A version without it, or with another, would fail where it is called, and not when it is loaded."""
    called = {name for name, value in vars(Upstream).items() if isinstance(value, FunctionType)}
    ours = {"__init__", "__subclasshook__"}  # what typing adds
    assert called - {*versions.SIGNATURES} <= ours


def test_the_table_is_written_in_one_way() -> None:
    for signature in versions.SIGNATURES.values():
        (function,) = ast.parse(f"def each({signature.replace('=', '=None')}): pass").body
        assert isinstance(function, ast.FunctionDef)
        assert versions._of_arguments(function.args) == signature


def loaded(source: str) -> ModuleType:
    module = ModuleType("loaded")
    exec(source, module.__dict__)
    return module
