"""Two hosts with daemons, a real server, and claims that both make at once."""

from __future__ import annotations

import threading
from collections import Counter

from kanban_shards import Gateway
from kanban_shards.errors import Refused
from tests.hosts.machines import Machine, assert_alike, settled

CLAIMS = 40


def test_of_two_claims_one_wins(sharing: list[Machine]) -> None:
    """Whichever host is first at the server; both are told the same."""
    laptop, server = sharing
    won: Counter[str] = Counter()
    with laptop.gateway("ann") as ann, server.gateway("bob") as bob:
        tasks = [ann.create(f"task {number}") for number in range(CLAIMS)]
        settled(sharing)
        failed: list[BaseException] = []

        def claim_all(gateway: Gateway, start: threading.Barrier) -> None:
            try:
                for task in tasks:
                    start.wait(30)
                    try:
                        gateway.claim(task)
                        won[task] += 1
                        won[gateway.profile] += 1
                    except Refused:
                        pass
            except BaseException as error:
                start.abort()
                failed.append(error)

        start = threading.Barrier(2)
        threads = [threading.Thread(target=claim_all, args=(gateway, start)) for gateway in (ann, bob)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed
        assert [won[task] for task in tasks] == [1] * CLAIMS
        assert {each.id for each in ann.board.tasks(status="running")} == {*tasks}
        settled(sharing)
    assert_alike(sharing)
