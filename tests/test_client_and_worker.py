"""Requests that a worker answers: the whole way, on real Kafka (S3.12)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from examples import ask
from streams.envelope import Envelope
from streams.errors import NonRetriable, RequestFailed
from streams.topics import INBOX
from tests.asking import Place, until
from tests.consumers.worker.harness import Bench

JSON = "agentlog.Json"


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    return Bench(kafka, namespace)


@pytest.fixture
def place(bench: Bench) -> Place:
    return Place(bench.servers, bench.namespace.name)


async def test_s3_12_a_handler_may_await_the_answer_to_a_request_of_its_own(
    bench: Bench, place: Place
) -> None:
    """Requests leave at once, so nobody waits for a transaction that waits for them."""
    app = App("agents", topics=(INBOX,))
    async with place.client("caller") as caller, place.client("planner") as planner:

        @app.on(JSON)
        async def on_request(ctx: Context, payload: Mapping[str, Any]) -> None:
            if ctx.agent == "weather-1":
                await ctx.respond({"celsius": 21})
                return
            asked = Envelope(
                type=JSON, payload=payload, sender=ctx.agent, causation_id=ctx.envelope.id
            )
            answer = await planner.request("weather-1", asked)
            await ctx.respond({"plan": "swim", **answer.data})

        async with bench.working(app) as task:
            found = await asyncio.gather(
                *(caller.request(f"planner-{n}", {"n": n}, timeout_s=60) for n in range(20))
            )
            assert [one.data for one in found] == [{"plan": "swim", "celsius": 21}] * 20
            assert found[3].envelope.sender == "planner-3"
            assert found[3].envelope.writer is not None
            await until(lambda: bench.caught_up("agents", INBOX) or task.done(), "all committed")
        assert (caller.ignored, planner.ignored) == (0, 0)


async def test_s3_12_a_streamed_answer_survives_a_failed_attempt(
    bench: Bench, place: Place
) -> None:
    """The second attempt begins anew, and its pieces are all that count."""
    app = App("agents", topics=(INBOX,))

    @app.on(JSON)
    async def on_request(ctx: Context, payload: Mapping[str, Any]) -> None:
        async with ctx.stream() as stream:
            for n in range(5):
                await stream.send([ctx.attempt, n])
                if (ctx.attempt, n) == (1, 2):
                    raise OSError("half-way")

    async with place.client() as client, bench.working(app):
        pieces: list[Any] = []
        restarts = 0

        def on_restart() -> None:
            nonlocal restarts
            restarts += 1
            pieces.clear()

        async for piece in client.stream("writer-1", {}, timeout_s=60, on_restart=on_restart):
            pieces.append(piece)  # noqa: PERF401 - a restart clears it meanwhile
        assert (pieces, restarts) == ([[2, n] for n in range(5)], 1)


async def test_s3_12_a_handler_that_gives_up_is_an_error_to_whoever_asked(
    bench: Bench, place: Place
) -> None:
    app = App("agents", topics=(INBOX,))

    @app.on(JSON)
    async def on_request(ctx: Context, payload: Mapping[str, Any]) -> None:
        if payload["json"] == "{}":
            await ctx.fail("KeyError", "no such city")
        else:
            raise NonRetriable("never")

    async with place.client() as client, bench.working(app):
        with pytest.raises(RequestFailed, match="KeyError: no such city"):
            await client.request("weather-1", {}, timeout_s=60)
        with pytest.raises(RequestFailed, match="NonRetriable: never"):
            await client.request("weather-1", {"city": "Basel"}, timeout_s=60)


async def test_s3_12_a_request_that_nobody_waits_for_is_stopped(bench: Bench, place: Place) -> None:
    """The handler is interrupted where it awaits, and the journal says why."""
    app = App("agents", topics=(INBOX,))
    began, ended = asyncio.Event(), asyncio.Event()

    @app.on(JSON)
    async def on_request(ctx: Context, payload: Mapping[str, Any]) -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with asyncio.timeout(60), place.client() as client, bench.working(app) as task:
        asking = asyncio.create_task(client.request("weather-1", {}, timeout_s=600))
        await began.wait()
        asking.cancel()
        await ended.wait()
        await until(lambda: bench.caught_up("agents", INBOX) or task.done(), "its outcome")
    assert bench.journal_exceptions() == [("skipped", "cancelled")]


async def test_s3_12_the_example_asks_and_is_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """examples/ask.py, both of its sides, as docs/requests.md shows it."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)
    async with bench.working(ask.app):
        await ask.main()
    said = capsys.readouterr().out
    assert "weather-1 says 21 °C\nOnce it rained on Basel\n" in said
