"""Requests between processes, on real Kafka (S3.12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from consumers.testing import MemoryStage
from streams.answers import (
    Failure,
    answered,
    failed,
    stream_data,
    stream_ended,
    stream_started,
)
from streams.envelope import Envelope, Kind
from streams.errors import (
    ClientClosed,
    InvalidEnvelope,
    InvalidPayload,
    RequestFailed,
    RequestTimeout,
    StreamBroken,
    StreamRestarted,
    TooManyRequests,
    UnknownType,
)
from streams.identity import is_message_id
from streams.requests import json_envelope
from streams.topics import CONTROL, INBOX
from tests.asking import DEADLINE_S, Place, Reply, until

CITY = {"city": "Basel"}


@pytest.fixture
def place(kafka: str, namespace: str) -> Place:
    return Place(kafka, namespace)


@pytest.fixture(autouse=True)
async def _deadline() -> Any:
    async with asyncio.timeout(DEADLINE_S):
        yield


async def echo(request: Envelope, reply: Reply) -> None:
    await reply(answered(request, {"of": request.payload["json"]}))


async def read_on(pieces: AsyncIterator[Any], into: list[Any]) -> None:
    """Keep each piece as it comes, so that those before an error are seen."""
    async for piece in pieces:
        into.append(piece)  # noqa: PERF401 - a comprehension would drop them


async def cancels(place: Place) -> list[str]:
    """Ids of the requests that `control` says to cancel, so far."""
    return [one.payload["message_id"] for one in await place.envelopes(CONTROL)]


async def test_s3_12_a_request_resolves_with_its_answer(place: Place) -> None:
    """Addressed, with a fresh correlation id, a reply inbox, and the timeout as its expiry."""
    async with place.client() as client, place.agent(echo):
        first = await client.request("weather-1", CITY, timeout_s=DEADLINE_S)
        await client.request("weather-1", CITY)
        assert (client.waiting, client.ignored) == (0, 0)
        assert first.data == {"of": '{"city":"Basel"}'}
        assert first.envelope.sender == "weather-1"
        requests = await place.envelopes(INBOX)
    for request in requests:
        assert (request.kind, request.recipients) == (Kind.REQUEST, ("weather-1",))
        assert request.reply_to == client.instance
        assert is_message_id(request.id)
    assert [request.ttl_ms for request in requests] == [60_000, 30_000]
    assert len({request.correlation_id for request in requests}) == 2
    assert await cancels(place) == []


async def test_s3_12_many_requests_share_an_inbox(place: Place) -> None:
    """Each gets its own answer, in whatever order they come."""

    async def answer(request: Envelope, reply: Reply) -> None:
        await asyncio.sleep(hash(request.id) % 7 / 100)
        await reply(answered(request, request.payload["json"]))

    async with place.client() as client, place.agent(answer):
        found = await asyncio.gather(*(client.request("weather-1", {"n": n}) for n in range(200)))
    assert [one.data for one in found] == [f'{{"n":{n}}}' for n in range(200)]


async def test_s3_12_two_clients_hear_their_own_answers_only(place: Place) -> None:
    async with place.client("a") as one, place.client("b") as two, place.agent(echo):
        await asyncio.gather(*(c.request("weather-1", CITY) for c in (one, two) for _ in range(20)))
        assert (one.ignored, two.ignored) == (0, 0)


async def test_s3_12_no_answer_in_time_is_a_timeout_and_cancels(place: Place) -> None:
    """`Request timeout: <id>`; the late answer is ignored."""
    late: list[tuple[Envelope, Reply]] = []

    async def keep(request: Envelope, reply: Reply) -> None:
        late.append((request, reply))

    async with place.client() as client, place.agent(keep):
        with pytest.raises(RequestTimeout) as caught:
            await client.request("weather-1", CITY, timeout_s=1)
        await until(lambda: bool(late), "the agent has the request")
        request, reply = late[0]
        assert str(caught.value) == f"Request timeout: {request.id}"
        assert request.ttl_ms == 1_000
        assert client.waiting == 0
        await reply(answered(request, "late"))
        await until(lambda: client.ignored == 1, "the late answer came")
    assert await cancels(place) == [request.id]
    assert client.cancels.dropped == 0


async def test_s3_12_cancelling_the_task_cancels_the_request(place: Place) -> None:
    asked = asyncio.Event()
    ids: list[str] = []

    async def note(request: Envelope, reply: Reply) -> None:
        ids.append(request.id)
        asked.set()

    async with place.client() as client, place.agent(note):
        task = asyncio.create_task(client.request("weather-1", CITY))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.waiting == 0
    assert await cancels(place) == ids


async def test_s3_12_unknown_and_repeated_answers_are_ignored(place: Place) -> None:
    """The first answer counts; what nobody waits for is counted and dropped."""

    async def twice(request: Envelope, reply: Reply) -> None:
        await reply(answered(request.with_(correlation_id="unknown"), 0))
        await reply(answered(request, 1))
        await reply(answered(request, 2))
        await reply(json_envelope({}).with_(kind=Kind.RESPONSE, reply_to=request.reply_to))

    async with place.client() as client, place.agent(twice):
        assert (await client.request("weather-1", CITY)).data == 1
        await until(lambda: client.ignored == 3, "the others came")


async def test_s3_12_a_repetition_that_comes_with_the_answer_is_counted_too() -> None:
    """Both are there before whoever asked gets to look."""
    async with MemoryStage() as stage, stage.client() as client:
        asking = asyncio.create_task(client.request("weather-1", CITY))
        await until(lambda: len(stage.envelopes(INBOX)) == 1, "the request is there")
        (request,) = stage.envelopes(INBOX)
        for n in range(3):
            client.on_reply(answered(request, n), 1)
        assert (await asking).data == 0
        assert client.ignored == 2


async def test_s3_12_success_false_and_kind_error_raise(place: Place) -> None:
    async def fail(request: Envelope, reply: Reply) -> None:
        if request.payload["json"] == "{}":
            problem = json_envelope({"error": "no such city"})
            await reply(
                problem.with_(
                    kind=Kind.ERROR,
                    reply_to=request.reply_to,
                    correlation_id=request.correlation_id,
                )
            )
        else:
            await reply(failed(request, "KeyError", "Basel"))

    async with place.client() as client, place.agent(fail):
        with pytest.raises(RequestFailed, match="KeyError: Basel") as caught:
            await client.request("weather-1", CITY)
        assert (caught.value.name, caught.value.message) == ("KeyError", "Basel")
        with pytest.raises(RequestFailed, match="no such city"):
            await client.request("weather-1", {})
    assert await cancels(place) == []


async def test_s3_12_any_payload_type_asks_and_answers(place: Place) -> None:
    """An envelope keeps its id, sender and annotations; where it goes is the client's to say."""
    finished = {"task_id": "t", "status": "completed"}

    async def finish(request: Envelope, reply: Reply) -> None:
        assert request.sender == "deputy"
        assert request.causation_id == "msg-1700000000000-causecaus"
        await reply(
            Envelope(
                type="agentlog.task.TaskFinished",
                payload=finished,
                kind=Kind.RESPONSE,
                reply_to=request.reply_to,
                correlation_id=request.correlation_id,
            )
        )

    asked = Envelope(
        type="agentlog.task.AssignTask",
        payload={"task": {"id": "t", "type": "review"}},
        sender="deputy",
        recipients=("somebody-else",),
        causation_id="msg-1700000000000-causecaus",
    )
    async with place.client() as client, place.agent(finish):
        answer = await client.request("weather-1", asked)
        assert finished.items() <= dict(answer.data).items()


async def test_s3_12_what_cannot_be_sent_is_said_at_once(place: Place) -> None:
    """Nothing waits then, and there is nothing to cancel."""
    async with place.client() as client:
        for wrong, payload, to, timeout_s in (
            (InvalidPayload, {"x": object()}, "a", 1.0),
            (UnknownType, Envelope(type="agentlog.Nope", payload={}), "a", 1.0),
            (InvalidEnvelope, CITY, "", 1.0),
            (InvalidEnvelope, CITY, "a", 0.0),
            (InvalidEnvelope, CITY, "a", float("inf")),
        ):
            with pytest.raises(wrong):
                await client.request(to, payload, timeout_s=timeout_s)
        assert client.waiting == 0
    assert await cancels(place) == []


async def test_s3_12_waiting_requests_are_bounded(place: Place) -> None:
    async with place.client(requests_max=2) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.request("nobody", CITY)) for _ in range(2)]
        await until(lambda: client.waiting == 2, "two wait")
        with pytest.raises(TooManyRequests, match="2 others wait"):
            await client.request("nobody", CITY)
        for task in tasks:
            task.cancel()


async def test_s3_12_closing_fails_what_waits(place: Place) -> None:
    """And tells its handlers to stop; a closed client takes no request."""
    client = place.client()
    async with client:
        tasks = [asyncio.create_task(client.request("nobody", CITY)) for _ in range(3)]
        await until(lambda: client.waiting == 3, "three wait")
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [ClientClosed] * 3
    ids = {one.request_id for one in found if isinstance(one, ClientClosed)}
    assert set(await cancels(place)) == ids
    with pytest.raises(ClientClosed, match="the client is closed"):
        await client.request("nobody", CITY)


async def test_s3_12_a_streamed_answer_comes_in_order_and_once(place: Place) -> None:
    """Repeats are dropped; the stream ends where its end says."""

    async def write(request: Envelope, reply: Reply) -> None:
        for _ in range(2):
            await reply(stream_started(request, 1))
        for n in range(100):
            await reply(stream_data(request, 1, n, {"word": n}))
            if n % 3 == 0:
                await reply(stream_data(request, 1, n // 2, {"word": n // 2}))
        await reply(stream_ended(request, 1, 100))

    async with place.client() as client, place.agent(write):
        found = [piece async for piece in client.stream("weather-1", CITY)]
        assert found == [{"word": n} for n in range(100)]
        assert client.waiting == 0
    assert await cancels(place) == []


async def test_s3_12_a_gap_in_a_stream_is_an_error_and_cancels(place: Place) -> None:
    async def skip(request: Envelope, reply: Reply) -> None:
        await reply(stream_started(request, 1))
        await reply(stream_data(request, 1, 0, "a"))
        await reply(stream_data(request, 1, 2, "c"))

    async with place.client() as client, place.agent(skip):
        found: list[Any] = []
        with pytest.raises(StreamBroken, match="expected piece 1, got piece 2") as caught:
            await read_on(client.stream("weather-1", CITY), found)
        assert found == ["a"]
    assert await cancels(place) == [caught.value.request_id]


async def restart(request: Envelope, reply: Reply) -> None:
    """An attempt that dies half-way, and one that does not."""
    await reply(stream_started(request, 1))
    await reply(stream_data(request, 1, 0, "old"))
    await reply(stream_started(request, 2))
    await reply(stream_data(request, 1, 1, "old"))
    for n, word in enumerate(("new", "words")):
        await reply(stream_data(request, 2, n, word))
    await reply(stream_ended(request, 2, 2))


async def test_s3_12_a_later_attempt_voids_what_was_read(place: Place) -> None:
    """A reader that can start over says so; any other hears of it as an error."""
    async with place.client() as client, place.agent(restart):
        words: list[str] = []
        await read_on(client.stream("weather-1", CITY, on_restart=words.clear), words)
        assert words == ["new", "words"]
        with pytest.raises(StreamRestarted, match="anew after 1 pieces") as caught:
            await read_on(client.stream("weather-1", CITY), words)
        assert words == ["new", "words", "old"]
    assert await cancels(place) == [caught.value.request_id]


async def test_s3_12_a_stream_fails_as_its_handler_says(place: Place) -> None:
    """By its end, or by an answer in place of one."""

    async def fail(request: Envelope, reply: Reply) -> None:
        await reply(stream_started(request, 1))
        await reply(stream_data(request, 1, 0, "a"))
        if request.payload["json"] == "{}":
            await reply(failed(request, "ValueError", "no more"))
        else:
            await reply(stream_ended(request, 1, 1, Failure("ValueError", "no more")))

    async with place.client() as client, place.agent(fail):
        for payload in (CITY, {}):
            with pytest.raises(RequestFailed, match="ValueError: no more"):
                await read_on(client.stream("weather-1", payload), [])


async def test_s3_12_one_answer_and_many_may_be_mistaken_for_each_other(place: Place) -> None:
    """A whole answer is a stream of one piece; `request` says that a stream is no answer to it."""

    async def answer(request: Envelope, reply: Reply) -> None:
        await reply(
            answered(request, 1) if request.payload["json"] == "{}" else stream_started(request, 1)
        )

    async with place.client() as client, place.agent(answer):
        assert [piece async for piece in client.stream("weather-1", {})] == [1]
        with pytest.raises(RequestFailed, match=r"ask with `client\.stream`"):
            await client.request("weather-1", CITY)


async def test_s3_12_a_stream_that_falls_silent_times_out(place: Place) -> None:
    """Before its first sign by `timeout_s`, after it by `idle_s`."""

    async def stall(request: Envelope, reply: Reply) -> None:
        if request.payload["json"] != "{}":
            await reply(stream_started(request, 1))
            await reply(stream_data(request, 1, 0, "a"))

    async with place.client() as client, place.agent(stall):
        found: list[Any] = []
        with pytest.raises(RequestTimeout) as idle:
            await read_on(client.stream("weather-1", CITY, idle_s=0.5), found)
        assert found == ["a"]
        with pytest.raises(RequestTimeout) as unstarted:
            await read_on(client.stream("weather-1", {}, timeout_s=0.5), found)
    assert await cancels(place) == [idle.value.request_id, unstarted.value.request_id]


async def test_s3_12_leaving_a_stream_cancels_it(place: Place) -> None:
    async def write(request: Envelope, reply: Reply) -> None:
        await reply(stream_started(request, 1))
        await reply(stream_data(request, 1, 0, "a"))

    async with place.client() as client, place.agent(write):
        async with aclosing(client.stream("weather-1", CITY)) as pieces:
            assert await anext(pieces) == "a"
        assert client.waiting == 0
        async for piece in client.stream("weather-1", CITY):
            assert piece == "a"
            break
        await until(lambda: client.waiting == 0, "the generator is closed")
    assert len(await cancels(place)) == 2
