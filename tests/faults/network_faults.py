"""Faults of the network, each of one worker: a request that comes too late, an answer that never
comes, and partitions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from confluent_kafka import KafkaError

from tests.faults import frames
from tests.faults.frames import TransactionRequest
from tests.faults.namespaces import network_namespace, network_of
from tests.faults.proxy import Proxy
from tests.faults.stage import HAPPEN_S_MAX, DidNotHappen, During, Setting, Stage

APART_S: Final = 10.0
"""How long a partition goes on after the group has given the worker's partitions away."""
HOLDS: Final = 3

Line = Callable[[bool], Awaitable[None]]
"""Mends (True) or cuts (False) what connects a worker."""


class Wire:
    """What a network fault acts on; set on the stage by its setting."""

    def __init__(self, proxy: Proxy, line: Line) -> None:
        self.proxy = proxy
        self.line = line


def _wire(stage: Stage) -> Wire:
    assert isinstance(stage.wire, Wire), "the fault's setting makes it"
    return stage.wire


@contextlib.asynccontextmanager
async def behind_proxy(stage: Stage) -> AsyncIterator[None]:
    """One worker whose every connection goes through the proxy, and one beside it."""
    async with Proxy(stage.cluster.ports) as proxy:

        async def line(whole: bool) -> None:
            (proxy.mend if whole else proxy.cut)()

        stage.wire = Wire(proxy, line)
        await stage.fleet.start(servers=proxy.servers, run_id=stage.run_id)
        await stage.fleet.start(run_id=stage.run_id)
        yield
        proxy.mend()
        await stage.fleet.stop()


@contextlib.asynccontextmanager
async def in_namespace(stage: Stage) -> AsyncIterator[None]:
    """One worker in a network namespace of its own, and one beside it."""
    async with network_namespace() as namespace:
        sockets = await namespace.listen(stage.cluster.ports.values())
        listeners = {node: sockets[port] for node, port in stage.cluster.ports.items()}
        async with Proxy(stage.cluster.ports, listeners=listeners) as proxy:

            async def line(whole: bool) -> None:
                await namespace.loopback(up=whole)

            stage.wire = Wire(proxy, line)
            first = await stage.fleet.start(prefix=namespace.prefix, run_id=stage.run_id)
            await stage.fleet.start(run_id=stage.run_id)
            own, ours = network_of(first.pid), network_of("self")
            stage.notes["namespace"] = f"the worker's is {own}, the brokers' {ours}"
            yield
            await namespace.loopback(up=True)
            await stage.fleet.stop()


SETTINGS: Final[dict[str, Setting]] = {"proxy": behind_proxy, "namespace": in_namespace}


def partition(apart_s: float) -> During:
    """Cut one worker off until the group has given its partitions away and worked on; mend it."""

    async def during(stage: Stage) -> None:
        line = _wire(stage).line
        victim = stage.fleet.processes[0]
        before = await asyncio.to_thread(stage.members)
        stage.strikes()
        await line(False)
        try:
            gone_s = await stage.until(lambda: stage.members() < before, "the worker is no member")
            await asyncio.sleep(apart_s)
        finally:
            await line(True)
        back_s = await stage.until(lambda: stage.members() >= before, "the worker is back")
        stage.notes["cut"] = (
            f"for {gone_s + apart_s:.0f} s; not a member after {gone_s:.1f} s, a member again "
            f"{back_s:.1f} s after the line was mended, "
            + ("the same process" if victim.exit_code is None else "another process")
        )

    return during


def hold_end_txns(holds: int) -> During:
    """H1: hold a commit until its producer's process is inside its next transaction."""

    async def during(stage: Stage) -> None:
        proxy = _wire(stage).proxy
        stage.strikes()
        for turn in range(1, holds + 1):
            begun = asyncio.Event()
            held = proxy.hold(lambda found: found.commits is True)
            await _happens(held.caught, "a commit passes the proxy")
            assert held.request is not None
            proxy.on_transaction = _Next(held.request, begun)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await _happens(begun, "the same worker begins its next transaction")
            held_s = loop.time() - began
            answer = frames.end_txn_error(await held.release())
            name = KafkaError(answer).name() if answer else "NO_ERROR"
            request, epoch = held.request, proxy.on_transaction.epoch
            stage.notes[f"held {turn}"] = (
                f"EndTxn(commit) of producer {request.producer_id} epoch {request.epoch} for "
                f"{held_s:.1f} s, into the next transaction, of epoch {epoch}; "
                f"the broker said {name}"
            )

    return during


class _Next:
    """Sets an event when the held request's transactional id begins its next transaction.

    That is an AddPartitionsToTxn after the transaction's end was asked for once more.
    """

    def __init__(self, held: TransactionRequest, begun: asyncio.Event) -> None:
        self._held = held
        self._begun = begun
        self._ended = False
        self.epoch: int | None = None

    def __call__(self, found: TransactionRequest) -> None:
        if found.transactional_id != self._held.transactional_id or self._begun.is_set():
            return
        if found.api_key == frames.END_TXN or found.epoch != self._held.epoch:
            self._ended = True
        if self._ended and found.api_key == frames.ADD_PARTITIONS_TO_TXN:
            self.epoch = found.epoch
            self._begun.set()


async def lose_what_to_give_up(stage: Stage) -> None:
    """H12: a worker joins, and the answer that tells another one what to give up is lost."""
    withheld = _wire(stage).proxy.withhold(
        frames.CONSUMER_GROUP_HEARTBEAT, frames.HEARTBEAT_ASSIGNS_BYTES
    )
    members = await asyncio.to_thread(stage.members) + 1
    stage.strikes()
    await stage.fleet.start(run_id=stage.run_id)
    await _happens(withheld.caught, "an answer with an assignment passes the proxy")

    def is_shared() -> bool:
        shares = stage.shares()
        return len(shares) == members and max(shares) - min(shares) <= 1

    untold_s = await stage.until(is_shared, "the worker that joined has its share")
    stage.notes["untold"] = (
        f"the worker that joined had its share {untold_s:.1f} s after another was not told"
    )


async def _happens(event: asyncio.Event, what: str) -> None:
    try:
        await asyncio.wait_for(event.wait(), HAPPEN_S_MAX)
    except TimeoutError as error:
        raise DidNotHappen(f"not within {HAPPEN_S_MAX:g} s: {what}") from error
