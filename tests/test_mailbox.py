"""A mailbox: order, bounds, deadlines, and what it fails with."""

from __future__ import annotations

import asyncio

import pytest

from streams.envelope import Envelope
from streams.errors import ClientClosed, RequestTimeout, StreamOverrun
from streams.mailbox import Mailbox

REQUEST = Envelope(type="agentlog.Json", payload={}, id="msg-1700000000000-aaaaaaaaa")


def letter(n: int) -> Envelope:
    return REQUEST.with_(correlation_id=str(n))


def soon(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_letters_come_in_order_to_whoever_waits_or_comes_later() -> None:
    mailbox = Mailbox(REQUEST)
    waiting = asyncio.create_task(mailbox.get(soon()))
    await asyncio.sleep(0)
    for n in range(3):
        mailbox.put(letter(n), 10)
    assert [await waiting, await mailbox.get(soon()), await mailbox.get(soon())] == [
        letter(n) for n in range(3)
    ]


async def test_at_the_deadline_the_request_has_timed_out() -> None:
    """Unless something is there: that is taken, however late it is."""
    mailbox = Mailbox(REQUEST)
    with pytest.raises(RequestTimeout, match=f"Request timeout: {REQUEST.id}"):
        await mailbox.get(soon(0.01))
    mailbox.put(letter(1), 10)
    assert await mailbox.get(soon(-1)) == letter(1)


@pytest.mark.parametrize("bounds", [{"unread_max": 2}, {"unread_bytes_max": 25}])
async def test_what_does_not_fit_fails_it(bounds: dict[str, int]) -> None:
    """At once: what had come before is not complete without it."""
    mailbox = Mailbox(REQUEST, **bounds)
    for n in range(5):
        mailbox.put(letter(n), 10)
    with pytest.raises(StreamOverrun, match="were not read yet"):
        await mailbox.get(soon())


async def test_what_was_read_makes_room() -> None:
    mailbox = Mailbox(REQUEST, unread_max=2, unread_bytes_max=20)
    for n in range(10):
        mailbox.put(letter(n), 20)
        assert await mailbox.get(soon()) == letter(n)


async def test_a_failure_comes_after_what_came_before_it() -> None:
    """The first one stands, and who waits hears it."""
    mailbox = Mailbox(REQUEST)
    mailbox.put(letter(1), 10)
    first = ClientClosed(REQUEST.id)
    mailbox.fail(first)
    mailbox.fail(ClientClosed("another"))
    mailbox.put(letter(2), 10)
    assert await mailbox.get(soon()) == letter(1)
    with pytest.raises(ClientClosed) as caught:
        await mailbox.get(soon())
    assert caught.value is first
    other = Mailbox(REQUEST)
    waiting = asyncio.create_task(other.get(soon()))
    await asyncio.sleep(0)
    other.fail(first)
    with pytest.raises(ClientClosed):
        await waiting
