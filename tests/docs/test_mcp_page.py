"""docs/mcp.md is true: what it has for a configuration is read as its program reads it, and starts a server."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest

mcp = pytest.importorskip("mcp", reason="the extra kanban-shards[mcp] is not installed")

from kanban_shards.mcp.tools import TOOLS  # noqa: E402

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S))
CLAUDE: dict[str, Any] = json.loads(BLOCKS["json"])["mcpServers"]["kanban"]
CODEX: dict[str, Any] = tomllib.loads(BLOCKS["toml"])["mcp_servers"]["kanban"]
HERMES: dict[str, Any] = {
    "command": re.findall(r"^    command: (\S+)$", BLOCKS["yaml"], re.M)[0],
    "args": json.loads(re.findall(r"^    args: (.+)$", BLOCKS["yaml"], re.M)[0]),
}


@pytest.mark.parametrize("config", [CLAUDE, CODEX, HERMES], ids=["claude", "codex", "hermes"])
def test_a_configuration_starts_a_server(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / ".hermes").mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = mcp.StdioServerParameters(
        command=config["command"], args=config["args"], env={"HOME": str(tmp_path), "PATH": path}
    )

    async def use() -> None:
        async with mcp.Client(mcp.stdio_client(server)) as client:
            made = await client.call_tool("create", {"title": "Try the tools"})
            assert not made.is_error
            assert f"as the profile {config['args'][1]}" in client.instructions

    anyio.run(use)
    assert (tmp_path / ".hermes" / f"kanban.{config['args'][1]}.db").is_file()


@pytest.mark.parametrize(("program", "config"), [("claude", CLAUDE), ("codex", CODEX)], ids=["claude", "codex"])
def test_the_command_line_adds_the_same(program: str, config: dict[str, Any]) -> None:
    (words,) = re.findall(rf"`{program} mcp add kanban -- ([^`]+)`", PAGE)
    assert shlex.split(words) == [config["command"], *config["args"]]


def test_the_table_names_every_tool() -> None:
    section = PAGE.partition("## What the agent can do")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == [tool.name for tool in TOOLS]
