"""One worker on real Kafka: outputs, outcomes, order, bounds, draining, failure."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.retry import RetryPolicy
from consumers.worker.source import KafkaSource
from streams.dead_letters import DeadLetter
from streams.envelope import ORIGIN, Envelope, Kind
from streams.errors import InvalidPayload
from streams.identity import derived_id
from streams.record import Partition
from streams.topics import EVENTS, INBOX, TASKS
from streams.topics.catalogue import dlq
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, status, until


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


async def test_one_output_per_input_with_derived_ids_and_a_journal_that_tiles(
    bench: Bench,
) -> None:
    """Outputs carry cause, correlation, sender and a derived id; every record has an outcome."""
    app = App("fleet", topics=(TASKS,))

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(status(payload["task"]["id"], "stream"))

    bench.send(assign_task(n, f"key-{n % 7}", recipients=("agent-9",)) for n in range(300))
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "all committed", task=task)
    outputs = {envelope.causation_id: envelope for envelope in bench.envelopes(EVENTS)}
    assert len(bench.records(EVENTS)) == len(outputs) == 300
    for record in bench.records(TASKS):
        source = CODEC.decode(record.value, record.headers)
        output = outputs[source.id]
        assert output.id == derived_id(
            record.appended_at_ms,
            record.topic,
            record.partition,
            record.position,
            "fleet:on_assign_task",
            0,
        )
        assert (output.correlation_id, output.sender) == (source.correlation_id, "agent-9")
    results = bench.tiling("fleet").values()
    assert all(result.faults == () and result.in_flight == 0 for result in results)
    assert sum(result.outcomes.get("handled", 0) for result in results) == 300


async def test_keys_stay_in_order_and_do_not_wait_for_each_other(bench: Bench) -> None:
    """A slow key holds up its own records only, and those run one at a time."""
    app = App("fleet", topics=(TASKS,))
    seen: dict[str, list[int]] = defaultdict(list)
    inside: set[str] = set()
    together = 0

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        nonlocal together
        key = ctx.envelope.correlation_id or ""
        assert key not in inside
        inside.add(key)
        together = max(together, len(inside))
        number = int(payload["task"]["description"])
        await asyncio.sleep(0.02 if key == "slow" else number % 3 / 1000)
        inside.discard(key)
        seen[key].append(number)
        await ctx.publish(status(str(number), key))

    keys = ["slow", "a", "b", "c", "d", "e"]
    bench.send(assign_task(n, keys[n % 6]) for n in range(240))
    async with bench.working(app) as task:
        await until(
            lambda: all(len(seen[key]) == 40 for key in keys[1:]), "the fast keys", task=task
        )
        assert len(seen["slow"]) < 40
        await until(lambda: bench.caught_up("fleet"), "all committed", task=task)
    for key, numbers in seen.items():
        assert numbers == sorted(numbers), key
    assert together > 3
    by_key: dict[str | None, list[int]] = defaultdict(list)
    for envelope in bench.envelopes(EVENTS):
        by_key[envelope.stream_id].append(int(envelope.payload["current_tasks"][0]))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert sum(map(len, by_key.values())) == 240


async def test_s3_07_handlers_by_type_and_star_run_in_parallel(bench: Bench) -> None:
    """All handlers of a type and of `*` run side by side, each with outputs of its own."""
    app = App("fleet", topics=(TASKS,))
    barrier = asyncio.Barrier(3)
    given: list[tuple[str, str, str]] = []

    for name, type_name in (("one", ASSIGN), ("two", ASSIGN), ("every", "*")):

        @app.on(type_name, name=name)
        async def handler(ctx: Context, payload: Mapping[str, Any]) -> None:
            given.append((payload["task"]["id"], ctx.envelope.id, ctx.envelope.sender))
            async with asyncio.timeout(10):
                await barrier.wait()
            await ctx.publish(status(ctx.handler, "s"))

    bench.send([sent := assign_task(1, "k")])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert given == [("t1", sent.id, "boss")] * 3, "the payload, and the message that it came in"
    outputs = bench.envelopes(EVENTS)
    assert [output.payload["current_tasks"][0] for output in outputs] == ["one", "two", "every"]
    assert len({output.id for output in outputs}) == 3


async def test_s3_07_no_handler_is_skipped_with_a_warning_and_counts_as_processed(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Positions move on; the journal names the record and the reason."""
    app = App("fleet", topics=(TASKS,))
    bench.send([assign_task(1, "k"), assign_task(2, "k")])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert bench.journal_exceptions() == [("skipped", "no_handler")] * 2
    assert capsys.readouterr().out.count("no_handler") == 1


async def test_s5_06_imports_are_skipped_and_unreadable_records_are_dead_letters(
    bench: Bench,
) -> None:
    """History is not work; what nobody can read is kept aside as it is, and blocks nothing."""
    app = App("fleet", topics=(TASKS,))
    handled: list[str] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        handled.append(ctx.envelope.id)

    topic = bench.namespace.topic(TASKS)
    bench.send([assign_task(1, "k", headers={ORIGIN: "import:old"})])
    with bench.raw_producer() as producer:
        producer.produce(topic, b"not an envelope", b"k")
        producer.produce(topic, b"\x00\x00\x00\x00\x07body", b"k")
        producer.produce(topic, None, b"k")
        truncated = CODEC.encode(assign_task(3, "k"))[:-4]
        producer.produce(topic, truncated, b"k")
    bench.send([live := assign_task(2, "k")])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert handled == [live.id]
    assert bench.journal_exceptions() == [
        ("skipped", "import"),
        ("dead_lettered", "undecodable"),
        ("dead_lettered", "unknown_schema"),
        ("dead_lettered", "undecodable"),
        ("dead_lettered", "undecodable"),
    ]


async def test_imports_run_where_the_app_asks_for_them(bench: Bench) -> None:
    """skip_imports=False makes history work."""
    app = App("fleet", topics=(TASKS,), skip_imports=False)
    handled: list[str] = []

    @app.on()
    async def on_any(ctx: Context, _payload: Mapping[str, Any]) -> None:
        handled.append(ctx.envelope.id)

    bench.send([imported := assign_task(1, "k", headers={ORIGIN: "import:old"})])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert handled == [imported.id]


async def test_a_handler_sees_what_is_wrong_with_its_output(bench: Bench) -> None:
    """The error names the field, is raised in the handler, and nothing of it is sent."""
    app = App("fleet", topics=(TASKS,))
    errors: list[Exception] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        try:
            await ctx.publish(Envelope(type="agentlog.task.TaskFinished", payload={"task_id": 7}))
        except InvalidPayload as error:
            errors.append(error)
        await ctx.publish(status("still works", "s"))

    bench.send([assign_task(1, "k")])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert "task_id" in str(errors[0])
    assert len(bench.records(EVENTS)) == 1


async def test_inbox_records_run_as_their_recipient(bench: Bench) -> None:
    """The owner of the inbox is the agent, and the sender of what it publishes."""
    app = App("fleet", topics=(INBOX,))

    @app.on("agentlog.Json")
    async def on_question(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await ctx.publish(status(ctx.agent, "s"))

    bench.send(
        [
            assign_task(1, "k").with_(
                type="agentlog.Json",
                kind=Kind.REQUEST,
                payload={"json": "{}"},
                recipients=("a", "b"),
            )
        ]
    )
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet", INBOX), "committed", task=task)
    assert sorted(envelope.sender for envelope in bench.envelopes(EVENTS)) == ["a", "b"]


async def test_stopping_drains_what_runs_and_commits_it(bench: Bench) -> None:
    """A record in a handler finishes and commits; one that waits stays uncommitted, unrun."""
    app = App("fleet", topics=(TASKS,), running_max=1)
    started = asyncio.Event()
    ran: list[str] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        started.set()
        await asyncio.sleep(0.3)
        ran.append(ctx.envelope.id)
        await ctx.publish(status("done", "s"))

    bench.send([assign_task(1, "k"), assign_task(2, "k")])
    async with bench.working(app):
        async with asyncio.timeout(30):
            await started.wait()
    assert len(ran) == len(bench.records(EVENTS)) == 1
    assert sum(bench.positions("fleet").values()) == 1


FAST = RetryPolicy(wait_ms=20, wait_ms_max=40)


async def test_s3_11_a_failed_attempt_waits_and_its_key_with_it(bench: Bench) -> None:
    """The record runs again, alone of its key and in order; other keys go on meanwhile."""
    app = App("fleet", topics=(TASKS,), retry=RetryPolicy(wait_ms=300, wait_ms_max=300))
    ran: list[str] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        ran.append(payload["task"]["id"])
        if payload["task"]["id"] == "t2" and ctx.attempt < 3:
            if ctx.attempt == 2:
                assert ctx.last_failure is not None
                assert str(ctx.last_failure.error) == "no disk"
            raise OSError("no disk")
        await ctx.publish(status(payload["task"]["id"], ctx.envelope.correlation_id or ""))

    bench.send([assign_task(n, "slow" if n % 2 == 0 else "other") for n in range(10)])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert [name for name in ran if int(name[1]) % 2 == 0] == [
        "t0",
        "t2",
        "t2",
        "t2",
        "t4",
        "t6",
        "t8",
    ]
    assert ran.index("t9") < ran.index("t4")
    assert len(bench.records(EVENTS)) == 10
    assert bench.journal_exceptions() == []


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (OSError("no disk"), 5),
        (PermissionError("not yours"), 1),
        (asyncio.CancelledError(), 5),
        (SystemExit(0), 5),
    ],
)
async def test_s3_11_what_keeps_failing_becomes_a_dead_letter_and_its_key_goes_on(
    bench: Bench, error: BaseException, attempts: int
) -> None:
    """Its bytes are on the dead-letter topic with the error; the journal has the outcome."""
    app = App("fleet", topics=(TASKS,), retry=FAST)
    tries = 0

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        nonlocal tries
        await ctx.publish(status(payload["task"]["id"], "s"))
        if payload["task"]["id"] == "t1":
            tries += 1
            raise error

    bench.send([assign_task(n, "k") for n in range(3)])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert tries == attempts
    names = [envelope.payload["current_tasks"][0] for envelope in bench.envelopes(EVENTS)]
    assert names == ["t0", "t2"]
    (dead,) = bench.records(dlq(TASKS))
    original = bench.records(TASKS)[1]
    assert (dead.key, dead.value) == (original.key, original.value)
    letter = DeadLetter.from_record(dead)
    assert (letter.source, letter.position) == (original.source, original.position)
    assert (letter.group, letter.handlers) == (bench.namespace.group("fleet"), ("on_assign_task",))
    assert (letter.attempts, letter.error_name) == (attempts, type(error).__name__)
    assert "on_assign_task" in letter.error_stack
    assert bench.journal_exceptions() == [("dead_lettered", type(error).__name__)]
    assert [result.faults for result in bench.tiling("fleet").values() if result.faults] == []


async def test_a_handler_that_outlives_the_drain_is_interrupted_and_runs_again(
    bench: Bench,
) -> None:
    """Its record stays uncommitted, so the next owner runs it."""
    app = App("fleet", topics=(TASKS,), drain_s_max=0.1)
    started = asyncio.Event()
    hang = True

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        started.set()
        await ctx.publish(status("once", "s"))
        if hang:
            await asyncio.sleep(1_000)

    bench.send([assign_task(1, "k")])
    async with bench.working(app):
        async with asyncio.timeout(30):
            await started.wait()
    assert bench.records(EVENTS) == []
    hang = False
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert len(bench.records(EVENTS)) == 1


async def test_positions_pass_transaction_markers_at_the_tail(bench: Bench) -> None:
    """An app that feeds its own topic ends behind the marker of its own last output."""
    app = App("fleet", topics=(TASKS,))

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        finished = {"task_id": payload["task"]["id"], "status": "completed"}
        await ctx.publish(Envelope(type="agentlog.task.TaskFinished", payload=finished))

    @app.on("agentlog.task.TaskFinished")
    async def on_task_finished(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        pass

    bench.send([assign_task(1, "k")])
    async with bench.working(app) as task:
        # One task, one result, and the marker that made the result visible.
        await until(
            lambda: bench.caught_up("fleet") and _ends(bench) == {3}, "the marker passed", task=task
        )
    assert set(bench.positions("fleet").values()) - {0} == {3}


def _ends(bench: Bench) -> set[int]:
    cut = bench.reader.ends([bench.namespace.topic(TASKS)])
    return {end for _, end in cut if end}


async def test_back_pressure_bounds_what_is_in_flight_and_loses_nothing(bench: Bench) -> None:
    """With a small window and slow handlers everything still arrives, once, in order."""
    app = App("fleet", topics=(TASKS,), in_flight_max=10, running_max=4)
    seen: dict[Partition, list[int]] = defaultdict(list)

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await asyncio.sleep(0.001)
        seen[ctx.record.source].append(ctx.record.position)

    bench.send(assign_task(n, "k") for n in range(200))
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert list(seen.values()) == [list(range(200))]


async def test_h09_a_full_window_pauses_and_keeps_polling(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that takes long keeps its partition; what comes after it still arrives."""
    monkeypatch.setattr("consumers.worker.source.PATIENCE_S", 0.05)
    app = App("fleet", topics=(TASKS,), in_flight_max=2)
    seen: list[int] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        if not seen:
            await asyncio.sleep(1.0)
        seen.append(ctx.record.position)

    bench.send(assign_task(n, "k") for n in range(20))
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert seen == list(range(20))


async def test_a_partition_that_left_while_paused_is_read_when_it_comes_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client keeps a pause beyond the assignment; the next assignment does not inherit it."""
    monkeypatch.setattr("consumers.worker.source.PATIENCE_S", 0.02)
    gate = asyncio.Event()
    paused = threading.Event()
    worked: list[str] = []
    wait_for_room = KafkaSource._wait_for_room

    def noting(source: KafkaSource) -> None:
        wait_for_room(source)
        if source._paused:
            paused.set()

    monkeypatch.setattr(KafkaSource, "_wait_for_room", noting)

    def member(name: str) -> App:
        app = App("fleet", topics=(TASKS,), in_flight_max=8, drain_s_max=0.1)

        @app.on(ASSIGN)
        async def on_assign_task(_ctx: Context, _payload: Mapping[str, Any]) -> None:
            if name == "first":
                await gate.wait()
            worked.append(name)

        return app

    bench.send(assign_task(n, f"k{n % 40}") for n in range(120))
    async with bench.working(member("first")) as first:
        await until(paused.is_set, "its window is full, its partitions are paused", task=first)
        async with bench.working(member("second")) as second:
            await until(lambda: "second" in worked, "the second has some", task=second)
        monkeypatch.setattr("consumers.worker.source.PATIENCE_S", 5.0)
        gate.set()
        await until(lambda: bench.caught_up("fleet"), "all committed", task=first, deadline_s=30)
