"""``kanban mcp``: real servers over real pipes, spoken to by the official client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, get_args

import anyio
import psutil
import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes import fields
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.coordinator.rules.refusal import REASONS
from kanban_shards.mcp import inputs
from kanban_shards.mcp.refusals import WHAT_TO_DO
from kanban_shards.mcp.tools import TOOLS
from kanban_shards.paths import BoardPaths

mcp = pytest.importorskip("mcp", reason="the extra kanban-shards[mcp] is not installed")

SERVED = "tests.processes.served"
FACTS = "kanban-shards/error"
# Longer than anything here takes, and shorter than pytest waits.
PATIENCE_S = 60.0
Call = Callable[..., Awaitable[Any]]


class Agent:
    """One client with a server of its own."""

    def __init__(self, client: Any, pid: int) -> None:
        self.client = client
        self.pid = pid

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a tool that does what it is asked."""
        result = await self.client.call_tool(name, arguments)
        assert not result.is_error, result.content
        assert json.loads(result.content[0].text) == result.structured_content
        return result.structured_content

    async def refused(self, name: str, **arguments: Any) -> tuple[str, str]:
        """The word for programs and the sentence for the model, of a call that fails. It is a result all the same."""
        result = await self.client.call_tool(name, arguments)
        assert result.is_error
        (said,) = result.content
        assert result.structured_content is None
        assert "\n" not in said.text and said.text.endswith("."), said.text
        return result.meta[FACTS]["error"], said.text


def command(home: str, profile: str, *words: str) -> list[str]:
    """The words that start a server."""
    return [sys.executable, "-m", "kanban_shards", "--home", home, "--profile", profile, "mcp", *words]


@asynccontextmanager
async def agent(home: str, profile: str, *words: str) -> AsyncIterator[Agent]:
    """An agent that works as ``profile``; ``words``: options of the server."""
    async with connected(command(home, profile, *words)) as opened:
        yield opened


@asynccontextmanager
async def connected(started: list[str]) -> AsyncIterator[Agent]:
    """The client of a server that is started by the words ``started``."""
    before = _children()
    parameters = mcp.StdioServerParameters(command=started[0], args=started[1:], cwd=str(Path(__file__).parents[2]))
    async with mcp.Client(mcp.stdio_client(parameters)) as client:
        (pid,) = _children() - before
        yield Agent(client, pid)


@contextmanager
def raw(home: str, profile: str = "amy", *words: str) -> Iterator[subprocess.Popen[str]]:
    """A server with nobody but the test at its pipes."""
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen(command(home, profile, *words), text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def _children() -> set[int]:
    return {each.pid for each in psutil.Process().children()}


async def until(true: Callable[[], bool]) -> None:
    """Return as soon as ``true()``."""
    with anyio.fail_after(PATIENCE_S):
        while not true():
            await anyio.sleep(0.05)


# --- what an agent does ----------------------------------------------------------------------------------------------


def test_an_agents_day(home: str) -> None:
    async def day() -> None:
        async with agent(home, "amy") as amy:
            assert amy.client.server_info.name == "kanban-shards"
            assert "as the profile amy" in amy.client.instructions
            made = await amy.call("create", title="Write it", body="Ten pages.", assignee="amy", priority=5)
            assert made["is_new"] and made["status"] == "ready"
            drawn = await amy.call("create", title="Draw it", parents=[made["task_id"]])
            assert drawn["status"] == "todo"
            listed = await amy.call("list", mine=True)
            assert [task["id"] for task in listed["tasks"]] == [made["task_id"]] and "after" not in listed
            assert (await amy.call("search", text="TEN PAGES"))["tasks"] == listed["tasks"]
            assert (await amy.call("search", text="draw", status=["ready", "blocked"]))["tasks"] == []

            claimed = (await amy.call("claim_next"))["claimed"]
            assert claimed["task"]["id"] == made["task_id"] and claimed["task"]["status"] == "running"
            assert "Ten pages." in claimed["context"]
            assert Path(claimed["workspace"]).is_dir()
            alive = await amy.call("heartbeat", task_id=made["task_id"], note="half of it")
            assert alive["run_id"] == claimed["run_id"]
            await amy.call("comment", task_id=made["task_id"], text="as asked")
            done = await amy.call("complete", task_id=made["task_id"], summary="ten pages", metadata={"pages": 10})
            assert done == {"task_id": made["task_id"], "status": "done", "run_id": claimed["run_id"]}

            shown = await amy.call("show", task_id=made["task_id"])
            assert [said["text"] for said in shown["comments"]] == ["as asked"]
            assert any("completed" in event["what"] for event in shown["events"])
            assert [run["outcome"] for run in shown["runs"]] == ["completed"]
            assert [child["status"] for child in shown["children"]] == ["ready"]
            claimed = (await amy.call("claim_next"))["claimed"]
            assert "ten pages" in claimed["context"], "what the parent handed over"
            blocked = await amy.call("block", task_id=drawn["task_id"], reason="which colors?", kind="needs_input")
            assert blocked["status"] == "blocked"
            assert (await amy.call("unblock", task_id=drawn["task_id"], reason="last year's"))["status"] == "ready"
            await amy.call("claim", task_id=drawn["task_id"])
            assert (await amy.call("release", task_id=drawn["task_id"]))["status"] == "ready"
            other = await amy.call("create", title="Print it")
            linked = await amy.call("link", parent_id=drawn["task_id"], child_id=other["task_id"])
            assert linked["child_status"] == "todo"

    anyio.run(day)
    with Board.open(home=home) as board:
        kinds = [event.kind for event in board.events()]
        assert {"completed", "commented", "blocked", "unblocked", "linked"} <= set(kinds)
        assert {task.owner for task in board.tasks()} == {"amy"}, "all of it was done as the profile of the command"
    assert verify(BoardPaths.find(home=home)).clean


def test_every_tool_says_what_it_takes_and_gives(home: str) -> None:
    async def look() -> None:
        async with agent(home, "amy") as amy:
            tools = (await amy.client.list_tools()).tools
            assert [tool.name for tool in tools] == [tool.name for tool in TOOLS]
            for tool in tools:
                assert tool.description.endswith(".")
                assert tool.input_schema["additionalProperties"] is False
                assert tool.output_schema["type"] == "object"
                for name, told in tool.input_schema["properties"].items():
                    assert told["description"], f"{tool.name}.{name}"
            assert {tool.name for tool in tools if tool.annotations.read_only_hint} == {"list", "show", "search"}

    anyio.run(look)


def test_the_limits_are_those_of_a_change() -> None:
    title, text = (get_args(each)[1].max_length for each in (fields.Title, fields.Text))
    schema = inputs.Create.model_json_schema()["properties"]
    assert schema["title"]["maxLength"] == title
    assert schema["body"]["anyOf"][0]["maxLength"] == text


def test_long_texts_and_lists_are_cut_and_say_so(home: str) -> None:
    with Gateway("bob", home=home) as bob:
        task = bob.create("Long \x1b[31m\n title", body="x" * 100_000)
        for number in range(40):
            bob.comment(task, f"comment {number}")
        for number in range(30):
            bob.create(f"Task {number}")

    async def look() -> None:
        async with agent(home, "amy") as amy:
            shown = await amy.call("show", task_id=task)
            assert len(shown["body"]) < 10_000 and shown["body"].endswith("bytes more)")
            assert shown["comments"][-1]["text"] == "comment 39" and shown["left_out"]["comments"] == 10
            whole = await amy.call("show", task_id=task, text_bytes=200_000)
            assert len(whole["body"]) == 100_000
            listed = await amy.call("list")
            assert len(listed["tasks"]) == 20
            rest = await amy.call("list", after=listed["after"])
            assert len(rest["tasks"]) == 11 and "after" not in rest
            assert len({task["id"] for task in (*listed["tasks"], *rest["tasks"])}) == 31
            assert len((await amy.call("list", limit=31, status=["ready", "todo"]))["tasks"]) == 31

    anyio.run(look)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_refusal_is_a_result_that_says_what_to_do(home: str) -> None:
    with Gateway("bob", home=home) as bob:
        taken, parent = bob.create("Taken"), bob.create("Parent", assignee="bob")
        child = bob.create("Child", parents=[parent])
        bob.claim(taken)

    async def ask() -> None:
        async with agent(home, "amy") as amy:
            word, said = await amy.refused("claim", task_id=taken)
            assert word == "wrong_status" and "run 1 by bob" in said and "`claim_next`" in said
            word, said = await amy.refused("claim", task_id=child)
            assert word == "wrong_status" or word == "parents_open"
            word, said = await amy.refused("link", parent_id=child, child_id=parent)
            assert word == "cycle" and "`show`" in said
            word, said = await amy.refused("heartbeat", task_id=taken, run_id=1)
            assert word == "not_your_run" and "`comment`" in said
            word, said = await amy.refused("complete", task_id=taken)
            assert word == "RunNotClaimedHere" and "run_id=1" in said
            assert (await amy.refused("complete", task_id=taken, run_id=77))[0] == "UnknownRun"
            assert (await amy.refused("complete", task_id=parent, run_id=1))[0] == "UnknownRun", "another task's"
            assert (await amy.refused("show", task_id="t_00000000"))[0] == "UnknownTask"
            assert (await amy.refused("release", task_id=parent))[0] == "NoOpenRun"
            assert (await amy.refused("dance"))[0] == "NoSuchTool"

    anyio.run(ask)
    with Board.open(home=home) as board:
        assert board.run(1).ended_at is None, "nobody's run was ended by chance"


def test_every_reason_has_its_next_step() -> None:
    """But those that no tool can meet."""
    assert set(WHAT_TO_DO) == REASONS - {"no_subscription", "not_your_chat"}


BAD_INPUT: list[tuple[str, dict[str, Any], str]] = [
    ("create", {}, "'title' is missing"),
    ("create", {"title": ""}, "'title'"),
    ("create", {"title": "x" * 10_001}, "'title'"),
    ("create", {"title": "x", "priority": "soon"}, "'priority'"),
    ("create", {"title": "x", "priority": 2**40}, "'priority'"),
    ("create", {"title": "x", "color": "red"}, "it takes no 'color'"),
    ("create", {"title": "x", "parents": ["t_1"]}, "'parents.0'"),
    ("create", {"title": "x", "parents": "t_00000000"}, "'parents'"),
    ("create", {"title": 7, "body": []}, "'title': input should be a valid string, and 'body'"),
    ("create", {"title": "x", "assignee": "no such/name"}, "'no such/name' cannot name a profile"),
    ("create", {"title": "x", "body": "x" * (2**20 + 1)}, "'body'"),
    ("list", {"limit": 0}, "'limit'"),
    ("list", {"limit": 101}, "'limit'"),
    ("list", {"status": ["gone"]}, "'status.0'"),
    ("list", {"after": "nonsense"}, "'after' is none"),
    ("search", {}, "'text' is missing"),
    ("search", {"text": "x", "after": "WzFd"}, "'after' is none"),
    ("show", {"task_id": "../kanban.db"}, "'task_id'"),
    ("show", {"task_id": "t_00000000\n"}, "'task_id'"),
    ("complete", {"task_id": "t_00000000", "metadata": "x"}, "'metadata'"),
    ("heartbeat", {"task_id": "t_00000000", "run_id": -1}, "'run_id'"),
]


def test_bad_input_gets_one_sentence(home: str) -> None:
    async def ask() -> None:
        async with agent(home, "amy") as amy:
            for tool, arguments, named in BAD_INPUT:
                _, said = await amy.refused(tool, **arguments)
                assert named in said
                assert "pydantic" not in said and "Traceback" not in said

    Gateway("bob", home=home).merge_now()
    anyio.run(ask)
    with Board.open(home=home) as board:
        assert board.position() == 0, "nothing was written"


def test_a_board_that_cannot_be_read_is_a_sentence(home: str, paths: BoardPaths) -> None:
    async def ask(word: str, part: str) -> None:
        async with agent(home, "amy") as amy:
            found, said = await amy.refused("list")
            assert found == word and part in said

    anyio.run(ask, "BoardMissing", "There is no board")
    with Gateway("bob", home=home) as bob:
        bob.make("x")
    sound = paths.board.read_bytes()
    paths.board.write_bytes(sound[:100] + b"\xff" * (len(sound) - 100))
    anyio.run(ask, "Damaged", "is damaged")
    paths.board.write_bytes(sound[:60] + (9_999).to_bytes(4) + sound[64:])  # user_version
    anyio.run(ask, "NewerSchema", "update this program")


def test_what_keeps_a_server_from_starting_is_said_before_it_serves(home: str) -> None:
    def ended(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "kanban_shards", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.stdout == ""
        return done.returncode, done.stderr

    code, said = ended("--home", home, "mcp")
    assert code == 2 and "Say as whom the agent works: kanban --profile NAME mcp." in said
    code, said = ended("--home", home, "--profile", "no/name", "mcp")
    assert code == 2 and "cannot name a profile" in said
    code, said = ended("--home", home, "--board", "nowhere", "--profile", "amy", "mcp")
    assert code == 3 and "There is no board named nowhere" in said
    code, said = ended("--home", home, "--profile", "amy", "mcp", "--ttl", "0")
    assert code == 2


def test_a_missing_extra_is_one_sentence(home: str) -> None:
    without = "import sys; sys.modules['mcp'] = None; from kanban_shards.cli.main import main; main()"
    words = ["--home", home, "--profile", "amy", "mcp"]
    done = subprocess.run([sys.executable, "-c", without, *words], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert "pip install 'kanban-shards[mcp]'" in done.stderr and done.stderr.count("\n") == 1


# --- several at once, and how a run ends -----------------------------------------------------------------------------


def test_two_servers_race_for_one_claim(home: str, assert_clean: Callable[[], None]) -> None:
    rounds = 10

    async def race() -> None:
        async with agent(home, "amy") as amy, agent(home, "bob") as bob:
            for number in range(rounds):
                task_id = (await amy.call("create", title=f"Round {number}"))["task_id"]
                results: dict[str, Any] = {}

                async def claim(name: str, client: Any, task_id: str, results: dict[str, Any]) -> None:
                    results[name] = await client.call_tool("claim", {"task_id": task_id})

                async with anyio.create_task_group() as both:
                    both.start_soon(claim, "amy", amy.client, task_id, results)
                    both.start_soon(claim, "bob", bob.client, task_id, results)
                (winner,) = (name for name, result in results.items() if not result.is_error)
                (loser,) = {"amy", "bob"} - {winner}
                assert f"by {winner}" in results[loser].content[0].text
                await {"amy": amy, "bob": bob}[winner].call("complete", task_id=task_id)

    anyio.run(race)
    with Board.open(home=home) as board:
        assert len(board.tasks(status="done")) == rounds
    assert_clean()


def test_one_client_calls_several_tools_at_once(home: str) -> None:
    async def all_at_once() -> None:
        made: list[str] = []

        async with agent(home, "amy") as amy:

            async def create(number: int) -> None:
                made.append((await amy.call("create", title=f"Task {number}"))["task_id"])

            async with anyio.create_task_group() as group:
                for number in range(12):
                    group.start_soon(create, number)
            listed = await amy.call("list", limit=100)
            assert {task["id"] for task in listed["tasks"]} == set(made) and len(set(made)) == 12

    anyio.run(all_at_once)


def test_two_agents_of_one_profile_do_not_end_each_others_runs(home: str) -> None:
    async def work() -> None:
        async with agent(home, "amy") as first, agent(home, "amy") as second:
            task_id = (await first.call("create", title="One"))["task_id"]
            run_id = (await first.call("claim", task_id=task_id))["run_id"]
            assert (await second.refused("complete", task_id=task_id))[0] == "RunNotClaimedHere"
            assert (await second.refused("block", task_id=task_id, reason="x"))[0] == "RunNotClaimedHere"
            assert (await second.refused("release", task_id=task_id))[0] == "RunNotClaimedHere"
            done = await second.call("complete", task_id=task_id, run_id=run_id)
            assert done["status"] == "done", "said on purpose, it counts"
            word, said = await first.refused("complete", task_id=task_id)
            assert word == "late" and "Stop working" in said
            assert (await first.refused("complete", task_id=task_id))[0] == "wrong_status", "it is held no longer"

    anyio.run(work)


def test_a_run_is_kept_alive_while_the_client_lives_and_ends_with_the_server(home: str) -> None:
    """Heartbeats hold it over several leases; kill -9, and the lease runs out."""
    lease_s = 2

    async def live() -> str:
        async with agent(home, "bob", "--ttl", str(lease_s)) as bob:
            task_id = (await bob.call("create", title="Long work"))["task_id"]
            run_id = (await bob.call("claim", task_id=task_id))["run_id"]
            with Gateway("cleo", home=home) as cleo:
                began = time.monotonic()
                while time.monotonic() - began < 3 * lease_s:
                    cleo.merge_now()  # which ends every run whose lease is over
                    run = cleo.board.run(run_id)
                    assert run.ended_at is None, run
                    await anyio.sleep(0.2)
                os.kill(bob.pid, signal.SIGKILL)
                killed = time.monotonic()

                def is_over() -> bool:
                    cleo.merge_now()
                    return cleo.board.run(run_id).ended_at is not None

                await until(is_over)
                assert time.monotonic() - killed < 3 * lease_s
                assert cleo.board.task(task_id).status == "ready"
                assert cleo.claim(task_id)
        return task_id

    anyio.run(live)


def test_a_server_that_was_started_anew_goes_on_with_the_run(home: str) -> None:
    async def go_on() -> None:
        async with agent(home, "amy", "--ttl", "30") as amy:
            task_id = (await amy.call("create", title="Long work"))["task_id"]
            run_id = (await amy.call("claim", task_id=task_id))["run_id"]
        async with agent(home, "amy", "--ttl", "30") as amy:
            assert (await amy.call("heartbeat", task_id=task_id, run_id=run_id))["run_id"] == run_id
            assert (await amy.call("complete", task_id=task_id))["run_id"] == run_id

    anyio.run(go_on)


def test_the_server_ends_when_its_client_closes_the_pipe(home: str) -> None:
    with raw(home) as server:
        output, errors = server.communicate(timeout=PATIENCE_S)
        assert (server.returncode, output, errors) == (0, "", "")


def test_a_call_that_is_under_way_when_the_client_goes_is_whole(home: str) -> None:
    with raw(home) as server:
        _shake_hands(server)
        _send(server, id=2, method="tools/call", params={"name": "create", "arguments": {"title": "Last words"}})
        output, errors = server.communicate(timeout=PATIENCE_S)
        assert (server.returncode, errors) == (0, "")
        for line in output.splitlines():
            assert json.loads(line)["jsonrpc"] == "2.0"
    assert verify(BoardPaths.find(home=home)).clean
    with Gateway("bob", home=home) as bob:
        bob.merge_now()
        assert [task.title for task in bob.board.tasks()] in ([], ["Last words"])


def test_an_older_client_gets_nothing_but_the_protocol(home: str) -> None:
    """A handshake of 2025, lines that are no message, and every line of the answer is one."""
    with raw(home) as server:
        answer = _shake_hands(server)
        assert answer["result"]["protocolVersion"] == "2025-06-18"
        server.stdin.write("this is no message\n\x00\xff\n{}\n")
        _send(server, id=2, method="tools/call", params={"name": "create", "arguments": {"title": "x\u001b[31m"}})
        while (answer := json.loads(server.stdout.readline())).get("id") != 2:
            assert answer["jsonrpc"] == "2.0"
        assert answer["result"]["structuredContent"]["is_new"]
        server.stdin.close()
        for line in server.stdout:
            assert json.loads(line)["jsonrpc"] == "2.0"
        assert server.wait(PATIENCE_S) == 0


def test_an_interrupt_ends_it(home: str) -> None:
    with raw(home) as server:
        _shake_hands(server)
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE_S) == -signal.SIGINT
        assert server.stderr.read() == ""


# --- law 1 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["audited", "meddled"])
def test_law_1_holds_in_the_process_that_serves(
    home: str, how: str, tmp_path: Path, assert_clean: Callable[[], None]
) -> None:
    """Nothing but SQLite touches a database file there; and a stranger in it, who opens and closes the shard all the
    time, does no harm."""
    said = tmp_path / "said"
    served = [sys.executable, "-m", SERVED, home, "amy", how, "mcp", str(said)]

    with Gateway("cleo", home=home) as cleo:  # so that the board is there before anybody watches
        cleo.merge_now()

    async def work() -> None:
        async with connected(served) as amy, agent(home, "bob") as bob:
            for number in range(8):
                first = (await amy.call("create", title=f"Task {number}"))["task_id"]
                second = (await bob.call("create", title=f"Task {number}", parents=[first]))["task_id"]
                await amy.call("claim", task_id=first)
                await amy.call("heartbeat", task_id=first, note="half")
                await bob.call("comment", task_id=first, text="go on")
                await amy.call("complete", task_id=first)
                await bob.call("claim", task_id=second)
                await bob.call("block", task_id=second, reason="why")
                await amy.call("show", task_id=second)
                await amy.call("list")

    anyio.run(work)
    assert json.loads(said.read_text()) == []
    with Board.open(home=home) as board:
        assert len(board.tasks(status="done")) == len(board.tasks(status="blocked")) == 8
    assert_clean()


# --- how -------------------------------------------------------------------------------------------------------------


def _send(server: subprocess.Popen[str], **message: Any) -> None:
    server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    server.stdin.flush()


def _shake_hands(server: subprocess.Popen[str]) -> dict[str, Any]:
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    _send(server, id=1, method="initialize", params=about)
    answer = json.loads(server.stdout.readline())
    _send(server, method="notifications/initialized")
    return answer
