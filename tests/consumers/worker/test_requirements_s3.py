"""The rows of S3 that a worker delivers, on real Kafka: urgency, expiry, thanks, retries."""

from __future__ import annotations

import json
import time
from asyncio import Event
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pydantic
import pytest

from consumers.app import App
from consumers.context import Context
from consumers.retry import RetryPolicy
from consumers.worker.core import Core
from streams.dead_letters import DeadLetter
from streams.envelope import Envelope, Kind
from streams.headers import record_headers
from streams.identity import is_message_id
from streams.kafka.publisher import Publisher
from streams.messages import to_message
from streams.topics import EVENTS, INBOX, REPLIES, TASKS, dlq
from tests.consumers.worker.harness import ASSIGN, CODEC, STATUS, Bench, assign_task, status, until

FAST = RetryPolicy(wait_ms=1, wait_ms_max=1)
ACKNOWLEDGED = "agentlog.message.Acknowledged"


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


def number_of(payload: Mapping[str, Any]) -> int:
    return int(payload["task"]["description"])


def now_us() -> int:
    return time.time_ns() // 1000


async def work(bench: Bench, app: App) -> None:
    """Run a worker until all of its only topic is committed."""
    (topic,) = app.topics
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up(app.name, topic), "committed", task=task)


async def test_s3_05_the_more_urgent_first_and_equals_as_they_came(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among all that waits in the worker; a key ranks by its first record, which none overtakes."""
    cores: list[Core] = []

    class Watched(Core):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            cores.append(self)

    monkeypatch.setattr("consumers.worker.worker.Core", Watched)
    app = App("fleet", topics=(TASKS,), running_max=1)
    started, gate = Event(), Event()
    ran: list[int] = []

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, payload: Mapping[str, Any]) -> None:
        started.set()
        await gate.wait()
        ran.append(number_of(payload))

    def send(*tasks: Envelope) -> None:
        with bench.raw_producer() as producer:
            for one in tasks:
                headers: Any = record_headers(one)
                key = (one.correlation_id or "").encode()
                topic = bench.namespace.topic(TASKS)
                producer.produce(topic, CODEC.encode(one), key, partition=0, headers=headers)

    urgency = {n: (n * 7) % 5 + 1 for n in range(1, 31)}
    async with bench.working(app) as task:
        send(assign_task(0, "first"))
        await until(started.is_set, "one runs", task=task)
        send(
            *(assign_task(n, f"k{n}", priority=priority) for n, priority in urgency.items()),
            assign_task(31, "same", priority=1),
            assign_task(32, "same", priority=5),
        )
        await until(lambda: cores[0].waiting == 32, "all others wait", task=task)
        gate.set()
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    in_order = sorted(urgency, key=lambda n: (-urgency[n], n))
    assert ran == [0, *in_order, 31, 32]


async def test_s3_08_what_is_expired_has_that_outcome_and_nothing_else(bench: Bench) -> None:
    """No handler, no acknowledgement, no dead letter; a time to live of 0 lasts for ever."""
    app = App("fleet", topics=(TASKS,))
    ran: list[int] = []

    @app.on()
    async def on_any(_ctx: Context, payload: Mapping[str, Any]) -> None:
        ran.append(number_of(payload))

    old = now_us() - 3_600_000_000
    lives = {0: (1, old), 1: (0, old), 2: (3_599_000, old), 3: (7_200_000, old), 4: (30_000, None)}
    for n, (ttl_ms, created_at) in lives.items():
        task = assign_task(n, f"k{n}", ttl_ms=ttl_ms, requires_ack=True)
        bench.send([task if created_at is None else task.with_(created_at=created_at)])
    await work(bench, app)
    assert sorted(ran) == [1, 3, 4]
    assert bench.journal_exceptions() == [("expired", "time_to_live")] * 2
    told = {one.payload["original_message_id"] for one in bench.envelopes(INBOX)}
    assert told == {assign_task(n, "").id for n in (1, 3, 4)}
    assert bench.records(dlq(TASKS)) == []
    outcomes: dict[str, int] = defaultdict(int)
    for result in bench.tiling("fleet").values():
        assert result.faults == ()
        for outcome, count in result.outcomes.items():
            outcomes[outcome] += count
    assert outcomes == {"handled": 3, "expired": 2}


async def test_s3_09_the_sender_is_told_once_of_what_succeeded_and_wanted_it(bench: Bench) -> None:
    """A notification in its inbox: of which message, and when, under that message's id."""
    app = App("fleet", topics=(TASKS,), retry=FAST)

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        if number_of(payload) == 1 or ctx.attempt < 3:
            raise OSError("no disk")

    began = now_us()
    asked, failing = (assign_task(n, f"k{n}", requires_ack=True) for n in range(2))
    unasked, unhandled = assign_task(2, "k2"), assign_task(3, "k3", requires_ack=True)
    unhandled = unhandled.with_(type="agentlog.Json", payload={"json": "{}"})
    bench.send([asked, failing, unasked, unhandled])
    await work(bench, app)
    told = bench.envelopes(INBOX)
    assert asked.id in {one.payload["original_message_id"] for one in told}
    assert not {failing.id, unasked.id} & {one.payload["original_message_id"] for one in told}
    (one,) = (one for one in told if one.payload["original_message_id"] == asked.id)
    assert (one.kind, one.type, one.recipients) == (Kind.NOTIFICATION, ACKNOWLEDGED, ("boss",))
    assert (one.correlation_id, one.causation_id) == (asked.id, asked.id)
    assert one.payload["acknowledgment"] is True
    assert began <= one.payload["processed_at"].timestamp() * 1_000_000 <= now_us()
    assert {record.key for record in bench.records(INBOX)} == {b"boss"}


class AuthenticationError(Exception):
    """As many libraries call it."""


class ExpiredToken(AuthenticationError):
    """One of its kind."""


class ValidationError(Exception):
    """Of yet another library."""


class Order(pydantic.BaseModel):
    """What a handler may validate with."""

    pieces: int


async def test_s3_10_a_retry_is_told_the_last_error_when_it_was_and_which_attempt_it_is(
    bench: Bench,
) -> None:
    """In the handler that failed, alone; the dead letter keeps the last error and the count."""
    app = App("fleet", topics=(TASKS,), retry=FAST)
    told: dict[str, list[tuple[int, str | None]]] = defaultdict(list)
    times: list[int] = []

    @app.on(ASSIGN, name="failing")
    async def failing(ctx: Context, payload: Mapping[str, Any]) -> None:
        last = ctx.last_failure
        told[f"failing {number_of(payload)}"].append((ctx.attempt, last.message if last else None))
        if last is not None and number_of(payload) == 0:
            times.append(last.failed_at_ms)
        if number_of(payload) == 1 or ctx.attempt <= 3:
            raise OSError(f"no disk {ctx.attempt}")

    @app.on(ASSIGN, name="well")
    async def well(ctx: Context, payload: Mapping[str, Any]) -> None:
        told[f"well {number_of(payload)}"].append((ctx.attempt, None))

    began = now_us() // 1000
    bench.send([assign_task(n, f"k{n}") for n in range(2)])
    await work(bench, app)
    failures = [(1, None), *((n, f"no disk {n - 1}") for n in range(2, 6))]
    assert told == {
        "failing 0": failures[:4],
        "failing 1": failures,
        "well 0": [(1, None)],
        "well 1": [(1, None)],
    }
    assert times == sorted(times)
    assert began <= times[0] <= times[-1] <= now_us() // 1000
    (dead,) = map(DeadLetter.from_record, bench.records(dlq(TASKS)))
    assert (dead.attempts, dead.error_name, dead.error_message) == (5, "OSError", "no disk 5")
    assert times[-1] <= dead.failed_at_ms <= now_us() // 1000


async def test_s3_10_validation_and_authentication_errors_are_never_tried_again(
    bench: Bench,
) -> None:
    """By class or by its name, ours or another library's; so is S3.11's PermissionError."""
    app = App("fleet", topics=(TASKS,))  # a second attempt would come after a second
    errors: list[Exception] = [
        AuthenticationError("no key"),
        ExpiredToken("old key"),
        ValidationError("no address"),
        PermissionError("not yours"),
    ]
    attempts: dict[int, int] = defaultdict(int)

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        n = number_of(payload)
        attempts[n] += 1
        assert ctx.last_failure is None
        if n < len(errors):
            raise errors[n]
        if n == len(errors):
            Order.model_validate({"pieces": "many"})
        await ctx.publish(status("", "s").with_(payload={"agent_status": 7}))

    count = len(errors) + 2
    bench.send([assign_task(n, f"k{n}") for n in range(count)])
    await work(bench, app)
    assert attempts == dict.fromkeys(range(count), 1)
    dead = sorted(
        map(DeadLetter.from_record, bench.records(dlq(TASKS))), key=lambda one: one.appended_at_ms
    )
    assert {(one.error_name, one.attempts) for one in dead} == {
        ("AuthenticationError", 1),
        ("ExpiredToken", 1),
        ("ValidationError", 1),
        ("PermissionError", 1),
        ("InvalidPayload", 1),
    }
    assert len(dead) == count
    assert bench.records(EVENTS) == []


async def test_s3_11_waits_double_and_the_fifth_failure_is_a_dead_letter_with_all_it_says(
    bench: Bench,
) -> None:
    """{message, error {name, message, stack}, context, failed_at, retry_count}."""
    waits = RetryPolicy(wait_ms=60, wait_ms_max=240)
    app = App("fleet", topics=(TASKS,), retry=waits)
    ran: list[float] = []

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(time.monotonic())
        raise TimeoutError("nobody home")

    default = RetryPolicy()
    assert [default.wait_after(n, OSError(), 0) for n in range(1, 6)] == [
        1_000,
        2_000,
        4_000,
        8_000,
        None,
    ]
    task = assign_task(0, "k")
    bench.send([task])
    await work(bench, app)
    waited_ms = [(later - earlier) * 1000 for earlier, later in pairwise(ran)]
    assert len(ran) == 5
    assert all(
        waited >= wait for waited, wait in zip(waited_ms, (60, 120, 240, 240), strict=True)
    ), waited_ms
    (record,) = bench.records(dlq(TASKS))
    letter = DeadLetter.from_record(record)
    message = to_message(CODEC.decode(record.value, record.headers))
    document = letter.document(message)
    assert set(document) == {"message", "error", "context", "failed_at", "retry_count"}
    assert document["message"]["id"] == task.id
    assert document["message"]["payload"]["task"]["id"] == "t0"
    assert document["error"]["name"] == "TimeoutError"
    assert document["error"]["message"] == "nobody home"
    assert "in on_assign_task" in document["error"]["stack"]
    assert document["context"]["app"] == "fleet"
    assert document["retry_count"] == 0
    assert bench.journal_exceptions() == [("dead_lettered", "TimeoutError")]


async def test_s3_12_respond_says_success_data_and_which_request_it_was(bench: Bench) -> None:
    """To the inbox that the request names, under its correlation id, or its id if it has none."""
    app = App("fleet", topics=(INBOX,))

    @app.on("agentlog.Json")
    async def on_request(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await ctx.respond({"celsius": [21, None]})

    asked = assign_task(0, "c0", kind=Kind.REQUEST, type="agentlog.Json", reply_to="me-1").with_(
        recipients=("weather-1",), payload={"json": "{}"}
    )
    bare = asked.with_(id=assign_task(1, "").id, correlation_id=None)
    bench.send([asked, bare])
    await work(bench, app)
    answers = bench.envelopes(REPLIES)
    assert {one.payload["request_id"]: one.correlation_id for one in answers} == {
        asked.id: "c0",
        bare.id: bare.id,
    }
    for one in answers:
        assert (one.kind, one.type) == (Kind.RESPONSE, "agentlog.message.RequestAnswered")
        assert (one.sender, one.recipients, one.reply_to) == ("weather-1", ("boss",), "me-1")
        assert (one.payload["success"], one.payload["error"]) == (True, None)
        assert json.loads(one.payload["data"]) == {"celsius": [21, None]}


async def test_s3_19_kinds_that_the_enum_lacks_travel_and_a_broadcast_keeps_its_type(
    bench: Bench,
) -> None:
    """Handlers go by the payload's own type; ids have thirteen digits and nine characters."""
    app = App("fleet", topics=(EVENTS, INBOX), skip_imports=False)
    seen: dict[Kind, str] = {}

    @app.on(STATUS)
    async def on_status(ctx: Context, _payload: Mapping[str, Any]) -> None:
        seen[ctx.envelope.kind] = ctx.envelope.type

    @app.on()
    async def on_any(ctx: Context, _payload: Mapping[str, Any]) -> None:
        seen.setdefault(ctx.envelope.kind, ctx.envelope.type)

    changed = {"key": "k", "version": 1, "value_json": "1", "full_value_json": None}
    sent = [
        status("x", "s").with_(kind=Kind.EVENT),
        status("x", "s").with_(kind=Kind.BROADCAST),
        Envelope(
            type="agentlog.Json",
            kind=Kind.STATE_CHANGE,
            recipients=("a",),
            payload={"json": str(changed).replace("'", '"').replace("None", "null")},
        ),
        Envelope(
            type="agentlog.Json",
            kind=Kind.STATE_SYNC_REQUEST,
            recipients=("a",),
            payload={"json": '{"key": "k"}'},
        ),
    ]
    async with Publisher(bench.servers, bench.namespace, CODEC, sender="boss") as publisher:
        published = [await publisher.publish(one) for one in sent]
    async with bench.working(app) as task:
        await until(lambda: len(seen) == len(sent), "all kinds came", task=task)
    assert seen == {
        Kind.EVENT: STATUS,
        Kind.BROADCAST: STATUS,
        Kind.STATE_CHANGE: "agentlog.Json",
        Kind.STATE_SYNC_REQUEST: "agentlog.Json",
    }
    assert all(is_message_id(one.id) for one in published)
    assert {len(one.id.rpartition("-")[2]) for one in published} == {9}


async def test_s3_19_one_failing_handler_reruns_no_other_and_what_exhausts_its_retries_is_kept(
    bench: Bench,
) -> None:
    """Also where it was a request: its error is filled in, by `fail` as by giving up."""
    app = App("fleet", topics=(INBOX,), retry=FAST)
    ran: list[str] = []

    @app.on("agentlog.Json", name="answers")
    async def answers(ctx: Context, payload: Mapping[str, Any]) -> None:
        ran.append(f"answers {payload['json']} {ctx.attempt}")
        if payload["json"] == "0":
            await ctx.fail("KeyError", "no such city")

    @app.on("agentlog.Json", name="fails")
    async def fails(ctx: Context, payload: Mapping[str, Any]) -> None:
        ran.append(f"fails {payload['json']} {ctx.attempt}")
        if payload["json"] == "1":
            raise OSError("no disk")

    requests = [
        assign_task(
            n,
            f"c{n}",
            kind=Kind.REQUEST,
            type="agentlog.Json",
            reply_to="me-1",
            recipients=("weather-1",),
            payload={"json": str(n)},
        )
        for n in range(2)
    ]
    bench.send(requests)
    await work(bench, app)
    assert sorted(ran) == [
        "answers 0 1",
        "answers 1 1",
        "fails 0 1",
        *(f"fails 1 {attempt}" for attempt in range(1, 6)),
    ]
    (dead,) = map(DeadLetter.from_record, bench.records(dlq(INBOX)))
    assert (dead.handlers, dead.attempts) == (("fails",), 5)
    errors = {one.payload["request_id"]: one.payload for one in bench.envelopes(REPLIES)}
    assert {one: (found["success"], found["error"]) for one, found in errors.items()} == {
        requests[0].id: (False, {"name": "KeyError", "message": "no such city"}),
        requests[1].id: (False, {"name": "OSError", "message": "no disk"}),
    }
