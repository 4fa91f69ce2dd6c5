"""``python -m benchmarks.chaos``, for a few seconds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_whatever_is_killed_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--minutes", "0.05", "--profiles", "2", "--seed", "7"],
        cwd=Path(__file__).parents[2], env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    figures = {what.strip(): int(figure.replace(",", "")) for what, figure in
               re.findall(r"^(\S.*?) {2,}([\d,]+)\b", done.stdout, re.M)}  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert figures["faults found"] == 0
    assert figures["changes acknowledged to their authors"] > 20
    assert sum(figure for what, figure in figures.items() if what.startswith("killed")) > 3
    assert list(tmp_path.iterdir()) == []
