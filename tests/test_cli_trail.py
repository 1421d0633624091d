"""`agentlog trail` on real Kafka with a real worker: all of an agent's records, in order."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from consumers.tracing import trail
from streams.errors import ConfigurationError, LogError
from tests.consumers.worker.harness import Bench, assign_task
from tests.test_cli_trace import Run, bench, run, work

__all__ = ["bench", "run"]  # fixtures

TASKS_SENT = 120


@pytest.fixture
def worked(bench: Bench) -> list[str]:
    """Tasks of one sender, on all partitions, and the statuses that came of them; the ids."""
    tasks = [assign_task(n, f"key-{n % 40}") for n in range(TASKS_SENT)]
    bench.send(tasks)
    asyncio.run(work(bench))
    return [one.id for one in tasks]


def entries(run: Run, *arguments: str) -> list[dict[str, Any]]:
    done = run("trail", *arguments, "--json", "--limit", "10000")
    assert done.exit_code == 0, done.exception
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_everything_of_an_agent_in_order_with_its_endings(
    run: Run, worked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sent and what it was sent, once each; in the log's order; read a little at a time."""
    monkeypatch.setattr(trail, "AHEAD", 7)
    monkeypatch.setattr(trail, "TOGETHER", 10)
    sender = assign_task(0, "key-0").sender
    found = entries(run, "--agent", sender)
    sent = [one for one in found if ".tasks[" in one["record"]]
    assert sorted(one["id"] for one in sent) == sorted(worked)
    (dead,) = (one for one in found if ".tasks.dlq[" in one["record"])
    assert (dead["id"], dead["sender"]) == (worked[3], sender)
    assert len({one["record"] for one in found}) == len(found)
    times = [one["appended_at"] for one in found]
    assert times == sorted(times)
    by_partition: dict[str, list[int]] = {}
    for one in found:
        partition, _, position = one["record"].rpartition("@")
        by_partition.setdefault(partition, []).append(int(position))
    assert len(by_partition) > 3
    assert all(a < b for positions in by_partition.values() for a, b in pairwise(positions))
    outcomes = {
        one["id"]: [(end["group"], end["outcome"]) for end in one["endings"]] for one in sent
    }
    assert [outcomes[id_] for id_ in worked].count([("fleet", "handled")]) == TASKS_SENT - 1
    assert outcomes[worked[3]] == [("fleet", "dead_lettered")]


def test_a_correlation_s_trail_and_the_moments_it_lies_between(run: Run, worked: list[str]) -> None:
    """From a cut on, or up to one: the two parts are the whole."""
    whole = entries(run, "--correlation", "key-7")
    assert {one["correlation_id"] for one in whole} == {"key-7"}
    middle = whole[0]["appended_at"]  # what was done with it came later
    before = entries(run, "--correlation", "key-7", "--to", middle)
    after = entries(run, "--correlation", "key-7", "--from", middle)
    assert [one["record"] for one in before + after] == [one["record"] for one in whole]
    assert before
    assert after


def test_people_get_lines_and_are_told_of_more(run: Run, worked: list[str]) -> None:
    """The first few, and how to see the others."""
    done = run("trail", "--correlation", "key-3", "--limit", "2")
    assert done.exit_code == 0, done.exception
    assert "AssignTask" in done.stdout
    assert "dead-lettered: NonRetriable by fleet" in done.stdout
    assert "there is more: --limit 20" in done.stderr


@pytest.mark.parametrize("given", [[], ["--agent", "a", "--channel", "c"]])
def test_it_must_be_somebody_s(run: Run, given: list[str]) -> None:
    """One of the three, and no two of them."""
    done = run("trail", *given)
    assert isinstance(done.exception, ConfigurationError)
    assert "--agent, --channel, --correlation" in str(done.exception)


def test_nothing_is_said_to_be_nothing(run: Run, worked: list[str]) -> None:
    """Not an empty table."""
    done = run("trail", "--channel", "nowhere", "--json")
    assert isinstance(done.exception, LogError)
    assert "'nowhere'" in str(done.exception)
    assert done.stdout == ""
