"""Worker processes on real Kafka: killed, drained, rebalanced; the log tells that nothing broke."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from consumers.audit import GroupAudit, audit
from consumers.worker.processes import (
    ProcessEvent,
    Supervisor,
    restart_wait_s,
    worker_command,
)
from consumers.worker.transactions import end_open_transaction
from streams.envelope import Envelope
from streams.topics import EVENTS, TASKS
from streams.topics.catalogue import dlq
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, until
from tests.consumers.worker.supervised import workers


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


def expectation(envelope: Envelope) -> Mapping[str, int]:
    """Each hop makes exactly one of the next."""
    if envelope.type == ASSIGN:
        return {"agentlog.task.TaskFinished": 1}
    return {"agentlog.agent.StatusReported": 1}


def audited(bench: Bench) -> GroupAudit:
    (result,) = audit(bench.reader, CODEC, bench.namespace, group="pipeline", expect=expectation)
    return result


@pytest.mark.timeout(240)
async def test_a_worker_killed_in_the_middle_leaves_exactly_one_output_per_input(
    bench: Bench,
) -> None:
    """SIGKILL one of two processes: through two hops nothing is lost, duplicated or reordered."""
    async with workers(bench, 2) as running, feeding(bench) as fed:
        await until(lambda: _writers(bench) == 2, "both had work", every_s=0.2)
        victim = running.of("started")[0]
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: _writers(bench) == 3, "another took its place", every_s=0.2)
        total = await fed()
        await until(
            lambda: bench.caught_up("pipeline"), "all committed", every_s=0.5, deadline_s=120
        )
        assert await running.stop() == 0
    (died,) = running.of("died")
    assert (died.pid, died.exit_code) == (victim.pid, -signal.SIGKILL)
    result = audited(bench)
    assert (result.lost, result.duplicated, result.reordered) == (0, 0, 0), result.findings
    assert result.clean
    assert (result.accepted, result.in_flight, result.outputs) == (2 * total, 0, 2 * total)
    assert result.outcomes == {"handled": 2 * total}
    assert len(result.work_by_run) == 3


def _writers(bench: Bench) -> int:
    """How many process runs have committed something."""
    return len({envelope.writer for envelope in bench.envelopes("journal")})


@contextlib.asynccontextmanager
async def feeding(bench: Bench) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Keeps sending tasks on 31 keys; awaiting what it yields ends that and tells how many."""
    enough = asyncio.Event()

    async def feed() -> int:
        sent = 0
        while not enough.is_set():
            wave = [assign_task(n, f"key-{n % 31}") for n in range(sent, sent + 100)]
            await asyncio.to_thread(bench.send, wave)
            sent += len(wave)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), 0.1)
        return sent

    task = asyncio.create_task(feed())

    async def fed() -> int:
        enough.set()
        return await task

    try:
        yield fed
    finally:
        await fed()


@pytest.mark.timeout(180)
async def test_members_that_come_and_go_lose_and_repeat_nothing(bench: Bench) -> None:
    """Rebalances while records run: partitions are settled before they move."""
    async with workers(bench, 1) as first, feeding(bench) as fed:
        await until(lambda: _writers(bench) == 1, "one worked", every_s=0.2)
        async with workers(bench, 2) as second:
            await until(lambda: _writers(bench) == 3, "all worked", every_s=0.2)
        assert second.process.returncode == 0
        total = await fed()
        await until(
            lambda: bench.caught_up("pipeline"), "all committed", every_s=0.5, deadline_s=100
        )
    assert first.process.returncode == 0
    result = audited(bench)
    assert result.clean, result.findings
    assert result.outputs == 2 * total
    by_key: dict[str | None, list[int]] = defaultdict(list)
    for envelope in bench.envelopes(EVENTS):
        by_key[envelope.stream_id].append(int(envelope.payload["current_tasks"][0][1:]))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


@pytest.mark.timeout(400)
async def test_h11_two_records_that_kill_are_got_through_and_nothing_else_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More deaths than the supervisor bears of processes that never worked, and it goes on."""
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MAX", 0.5)
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)
    monkeypatch.setenv("AGENTLOG_LOG_LEVEL", "error")
    # Fewer than one of them needs: not one death may count.
    monkeypatch.setattr("consumers.worker.processes.BARREN_DEATHS_MAX", 4)
    bench.send([assign_task(n, f"key-{n}") for n in range(40)])
    events: list[ProcessEvent] = []
    supervisor = Supervisor(
        1,
        functools.partial(worker_command, "tests.consumers.worker.apps:deadly"),
        tell=events.append,
        settle=lambda run_id: end_open_transaction(
            bench.servers, bench.namespace.transactional_id("deadly", run_id)
        ),
        stop_s_max=30.0,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    try:
        await until(
            lambda: task.done() or bench.caught_up("deadly"),
            "all committed",
            every_s=0.5,
            deadline_s=350,
        )
    finally:
        stop.set()
    assert await task == 0
    deaths = [event.exit_code for event in events if event.event == "died"]
    assert set(deaths) == {-signal.SIGKILL}
    assert len(deaths) > 4
    assert bench.journal_exceptions() == [("dead_lettered", "crashed")] * 2
    dead = [CODEC.decode(one.value, one.headers) for one in bench.records(dlq(TASKS))]
    assert {one.payload["task"]["id"] for one in dead} == {"t10", "t11"}
    done = sorted(one.payload["current_tasks"][0] for one in bench.envelopes(EVENTS))
    assert done == sorted(f"t{n}" for n in range(40) if n not in {10, 11})


@pytest.mark.timeout(120)
async def test_a_worker_that_never_gets_as_far_as_a_commit_ends_its_supervisor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its app raises when it is loaded: eight times, and the exit code is the worker's."""
    (tmp_path / "unstartable.py").write_text("raise RuntimeError('no')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MIN", 0.01)
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MAX", 0.01)
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)
    events: list[ProcessEvent] = []
    supervisor = Supervisor(
        1,
        functools.partial(worker_command, "unstartable:app"),
        tell=events.append,
        settle=lambda _run_id: None,
        stop_s_max=30.0,
    )
    async with asyncio.timeout(100):
        assert await supervisor.run(asyncio.Event()) == 1
    ends = [event.event for event in events if event.event != "started"]
    assert ends == [*("died",) * 7, "gave_up"]


async def test_an_app_that_cannot_be_loaded_is_a_usage_error(bench: Bench) -> None:
    """Exit code 2 and nothing started."""
    async with workers(bench, 1, "tests.consumers.worker.apps:nothing") as running:
        async with asyncio.timeout(60):
            assert await running.process.wait() == 2
    assert running.events == []


# --- the supervisor alone --------------------------------------------------------------------


def supervisor(events: list[ProcessEvent], script: str, settled: list[str]) -> Supervisor:
    return Supervisor(
        1,
        lambda _run, fd: [sys.executable, "-c", script, str(fd)],
        tell=events.append,
        settle=settled.append,
        stop_s_max=1.0,
    )


async def test_a_process_that_keeps_dying_is_restarted_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each death is told and settled; in the end the supervisor gives up with its exit code."""
    monkeypatch.setattr("consumers.worker.processes.BARREN_DEATHS_MAX", 3)
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MIN", 0.01)
    events: list[ProcessEvent] = []
    settled: list[str] = []
    code = await supervisor(events, "raise SystemExit(3)", settled).run(asyncio.Event())
    assert code == 3
    assert [event.event for event in events] == [
        "started",
        "died",
        "started",
        "died",
        "started",
        "gave_up",
    ]
    assert settled == [event.run_id for event in events if event.event == "started"]


async def test_deaths_of_processes_that_had_committed_are_never_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever their exit code: what kills them is found by and by. Each is told, and settled."""
    monkeypatch.setattr("consumers.worker.processes.BARREN_DEATHS_MAX", 2)
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MIN", 0.01)
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MAX", 0.01)
    events: list[ProcessEvent] = []
    settled: list[str] = []
    script = "import os, sys; os.write(int(sys.argv[1]), b'!'); os.kill(os.getpid(), 9)"
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor(events, script, settled).run(stop))
    await until(lambda: len(settled) >= 5, "five deaths")
    stop.set()
    assert await task == 0
    assert {event.event for event in events} <= {"started", "died", "ended"}
    assert sum(event.event == "died" for event in events) >= 4


async def test_a_commit_between_deaths_makes_them_no_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Three young deaths without a commit, one with, then as many without as are too many."""
    monkeypatch.setattr("consumers.worker.processes.BARREN_DEATHS_MAX", 4)
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MIN", 0.01)
    monkeypatch.setattr("consumers.worker.processes.RESTART_S_MAX", 0.01)
    count = tmp_path / "count"
    script = (
        "import os, pathlib, sys; "
        f"count = pathlib.Path({str(count)!r}); "
        "count.open('a').write('.'); "
        "n = len(count.read_text()); "
        "n == 4 and os.write(int(sys.argv[1]), b'!'); "
        "raise SystemExit(3)"
    )
    events: list[ProcessEvent] = []
    assert await supervisor(events, script, []).run(asyncio.Event()) == 3
    assert [event.event for event in events if event.event != "started"] == [
        *("died",) * 7,
        "gave_up",
    ]


async def test_a_wrong_set_up_is_not_tried_again() -> None:
    """Exit code 2 means that starting again cannot help."""
    events: list[ProcessEvent] = []
    code = await supervisor(events, "raise SystemExit(2)", []).run(asyncio.Event())
    assert (code, [event.event for event in events]) == (2, ["started", "gave_up"])


async def test_a_process_that_does_not_drain_in_time_is_killed(tmp_path: Path) -> None:
    """And what it left open is settled."""
    events: list[ProcessEvent] = []
    settled: list[str] = []
    deaf = tmp_path / "deaf"
    script = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(deaf)!r}).touch(); time.sleep(60)"
    )
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor(events, script, settled).run(stop))
    await until(deaf.exists, "it ignores SIGTERM")
    stop.set()
    assert await task != 0
    assert [(event.event, event.exit_code) for event in events] == [
        ("started", None),
        ("ended", -signal.SIGKILL),
    ]
    assert settled == [events[0].run_id]


def test_waits_grow_to_a_bound() -> None:
    """Half a second, doubled for each young death in a row, at most 15 s."""
    assert [restart_wait_s(n) for n in (0, 1, 2, 3, 9)] == [0.5, 0.5, 1.0, 2.0, 15.0]
