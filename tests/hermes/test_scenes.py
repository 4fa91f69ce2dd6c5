"""Hermes's own functions, released and bridged: the same scenes hold on both (``scenes/``)."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hermes.scenes import bridged_only, on_both

pytestmark = pytest.mark.hermes

DRIVER = Path(__file__).parent / "scenes" / "driver.py"
MODULES = ("on_both", "bridged_only")
Play = Callable[[str, str], None]


def scenes_of(module: object) -> list[str]:
    """The names of its scenes: functions of Hermes's module and a home."""
    return [name for name, value in vars(module).items() if getattr(value, "__code__", None) and _is_scene(value)]


def _is_scene(function) -> bool:
    return function.__code__.co_varnames[: function.__code__.co_argcount] == ("kb", "home")


@pytest.fixture(scope="module")
def theatre(hermes_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Play]]:
    """``theatre(side)``: what plays a scene, of a module and by name, on the ``released`` Hermes or the ``bridged``."""
    opened: dict[str, subprocess.Popen] = {}
    homes = tmp_path_factory.mktemp("homes")

    def begin(side: str) -> Play:
        if side not in opened:
            folder = sysconfig.get_path("purelib") if side == "bridged" else "-"
            command = [hermes_environment / "bin/python", DRIVER, folder, *MODULES]
            environ = {"PATH": f"{hermes_environment}/bin:{os.environ['PATH']}", "HOME": str(homes)}
            opened[side] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
            )
        process = opened[side]

        def play(module: str, scene: str) -> None:
            home = homes / f"{side}-{scene}"
            home.mkdir()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{module} {scene} {home}\n")
            process.stdin.flush()
            said = json.loads(process.stdout.readline()) or ""
            if on_both.CannotBePlayed.__name__ in said:
                pytest.skip(said.splitlines()[-1])
            if said:
                pytest.fail(said, pytrace=False)

        return play

    yield begin
    for process in opened.values():
        process.communicate(timeout=30)


@pytest.mark.parametrize("side", ["released", "bridged"])
@pytest.mark.parametrize("scene", scenes_of(on_both))
def test_it_holds_on_both(theatre: Callable[[str], Play], side: str, scene: str) -> None:
    theatre(side)("on_both", scene)


@pytest.mark.parametrize("scene", scenes_of(bridged_only))
def test_it_holds_of_the_bridge(theatre: Callable[[str], Play], scene: str) -> None:
    theatre("bridged")("bridged_only", scene)
