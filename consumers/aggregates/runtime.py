"""Aggregates as an app: commands in, events out, by whoever owns the stream's partition.

    app = AggregateApp("ledger", accounts)          # agentlog worker shop.ledger:app

Kafka has no append that says "only if the stream is at version 7". The single writer is the worker
that owns the `commands` partition: `commands` and `events` have as many partitions, and a stream's
id is the key in both. It decides in memory; the events, the answer, the outcome and the position
commit in one transaction, which a worker that lost the partition cannot commit. So

    assigned     the states of the partition are rebuilt from `events`, before its first command
    a command    decide, write, evolve; the state in memory is ahead of the log until the commit
    aborted      the outcome stays and commits later: the state is still what it will lead to
    unknown      the partition is read again under another assignment: rebuilt
    lost         forgotten

Rebuilding begins behind the last checkpoint, and ends where the partition ended when it was
assigned, records of open transactions included: the last owner's may be committed, though its
marker is still on the way. Checkpoints are made beside the work, from what is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

import structlog

from consumers.aggregates.aggregate import Aggregate
from consumers.aggregates.checkpoints import (
    CHECKPOINT_MADE,
    STATE_SNAPSHOTTED,
    checkpoint_records,
    last_checkpoint,
)
from consumers.aggregates.code import made_by
from consumers.aggregates.deciding import Decision, Verdict, decide
from consumers.aggregates.rebuilding import STATE_DIGEST, require_distinct
from consumers.aggregates.restoring import begin, events_of, fold, snapshots_of
from consumers.aggregates.states import MemoryStates, StateTable
from consumers.app import EVERY_TYPE, App, LogAccess
from consumers.context import Context
from consumers.failure import EndsWorker
from streams.commands import COMMAND_ANSWERED
from streams.envelope import Envelope, Kind
from streams.errors import AgentlogError, BrokerError, ConfigurationError
from streams.ports import OpenEndReader
from streams.record import Partition
from streams.topics import COMMANDS, EVENTS, SNAPSHOTS, Namespace

RESTORE_S_MAX: Final = 30.0
"""Longest that rebuilding waits for an open transaction: a worker's times out after 10 s, and the
broker looks for those every 10 s."""
ASK_AGAIN_S: Final = 0.1

_log: Final = structlog.get_logger("agentlog.aggregates")


class _Log(NamedTuple):
    """What one worker's states are rebuilt from."""

    reader: OpenEndReader
    access: LogAccess

    async def run(self, call: Callable[..., Any], *values: Any, **named: Any) -> Any:
        return await self.access.run(partial(call, *values, **named))


class _Owned:
    """One partition of `commands` under one assignment."""

    __slots__ = ("assignment", "checkpointing", "epoch", "restoring", "states")

    def __init__(self, assignment: int, states: StateTable) -> None:
        self.assignment = assignment
        self.states = states
        self.epoch = 0
        self.restoring: asyncio.Task[None]
        """One task for all commands that wait for it: none of them can interrupt it."""
        self.checkpointing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Nothing of it is wanted any more."""
        self.restoring.cancel()
        if self.checkpointing is not None:
            self.checkpointing.cancel()
        self.states.close()


class AggregateApp(App):
    """The app of a group that decides for these aggregates.

    `make_states` makes the table of one partition (default: in memory). A checkpoint is written
    when `events` has grown by `checkpoint_positions` since the last, or by anything in
    `checkpoint_s_max`; every `checkpoint_look_s` somebody looks. `bounds` are those of `App`;
    delivery is exactly once. Raises `ConfigurationError` for two aggregates of one name, or
    that decide on the same commands.
    """

    def __init__(
        self,
        name: str,
        *aggregates: Aggregate,
        make_states: Callable[[Partition], StateTable] = lambda _: MemoryStates(),
        checkpoint_positions: int = 10_000,
        checkpoint_s_max: float = 3_600.0,
        checkpoint_look_s: float = 10.0,
        **bounds: Any,
    ) -> None:
        if {"topics", "delivery"} & bounds.keys():
            raise ConfigurationError(
                f"app {name!r} decides for aggregates: it reads {COMMANDS}, exactly once"
            )
        if not aggregates:
            raise ConfigurationError(f"app {name!r} has no aggregate to decide for")
        require_distinct(aggregates)
        super().__init__(name, topics=(COMMANDS,), **bounds)
        self.aggregates = aggregates
        self._make_states = make_states
        self._checkpoint_positions = checkpoint_positions
        self._checkpoint_s_max = checkpoint_s_max
        self._checkpoint_look_s = checkpoint_look_s
        self._bounds = bounds
        self._owned: dict[Partition, _Owned] = {}
        self._log: _Log | None = None
        for aggregate in aggregates:
            for type_name in aggregate.commands:
                decide_on = self._handler(aggregate)
                super().on(type_name, name=f"{aggregate.name}/{type_name}")(decide_on)

    def on(
        self,
        type_name: str = EVERY_TYPE,
        *,
        name: str | None = None,
        timeout_s: float | None = None,
        concurrency_max: int | None = None,
    ) -> NoReturn:
        """Nothing but its aggregates may handle commands: raises `ConfigurationError`."""
        del name, timeout_s, concurrency_max
        raise ConfigurationError(
            f"app {self.name!r} decides for aggregates and takes no handler of its own for "
            f"{type_name}; give that an app with another name"
        )

    # --- the worker's side -------------------------------------------------------------------

    def for_worker(self, access: LogAccess) -> AggregateApp:
        """The same app with states of its own, and the log that they are rebuilt from."""
        made = AggregateApp(
            self.name,
            *self.aggregates,
            make_states=self._make_states,
            checkpoint_positions=self._checkpoint_positions,
            checkpoint_s_max=self._checkpoint_s_max,
            checkpoint_look_s=self._checkpoint_look_s,
            **self._bounds,
        )
        made._log = _Log(access.open(), access)
        return made

    def forget(self, sources: Sequence[Partition]) -> None:
        """These are not this worker's any more."""
        for source in sources:
            if (owned := self._owned.pop(source, None)) is not None:
                owned.close()

    # --- commands ----------------------------------------------------------------------------

    def _handler(self, aggregate: Aggregate) -> Callable[[Context, Any], Awaitable[None]]:
        async def decide_on(ctx: Context, _payload: Mapping[str, Any]) -> None:
            owned = await self._restored(ctx)
            stream_id, last = ctx.envelope.stream_id or "", None

            def write(event: Envelope) -> Envelope:
                nonlocal last
                written, last = ctx.write_event(event)
                return written

            decision = decide(
                aggregate,
                owned.states.get(stream_id),
                ctx.record,
                ctx.envelope,
                epoch=owned.epoch,
                write=write,
                publish=lambda notice: ctx.write(notice.envelope, cached_as=notice.cached_as),
            )
            if last is not None:
                last.headers.append((STATE_DIGEST, decision.digest.encode()))
            if ctx.envelope.reply_to:
                topic = self._bound.access.namespace.topic(EVENTS)
                ctx.write_answer(answer(ctx, decision, topic), last)
            # From here on nothing can go wrong: the outputs are this record's, and so is the state.
            if decision.events and decision.state is not None:
                owned.states.put(stream_id, decision.state)

        return decide_on

    @property
    def _bound(self) -> _Log:
        assert self._log is not None, "an app that decides is run by a worker: `for_worker`"
        return self._log

    async def _restored(self, ctx: Context) -> _Owned:
        """The partition's states; the first command of an assignment has them rebuilt."""
        source = ctx.record.source
        owned = self._owned.get(source)
        if owned is None or owned.assignment != ctx.assignment:
            self.forget((source,))
            owned = self._owned[source] = _Owned(ctx.assignment, self._make_states(source))
            owned.restoring = asyncio.create_task(self._restore(source, owned))
        if not owned.restoring.done():
            await asyncio.wait({owned.restoring})
        try:
            owned.restoring.result()
        except AgentlogError as error:  # no later attempt of one command could mend it
            raise EndsWorker(error) from error
        except Exception as error:
            problem = f"the streams of {source} cannot be rebuilt: {type(error).__name__}: {error}"
            raise EndsWorker(AgentlogError(problem)) from error
        return owned

    async def _restore(self, source: Partition, owned: _Owned) -> None:
        log, loop = self._bound, asyncio.get_running_loop()
        access, began = log.access, loop.time()
        events = events_of(access.namespace, source.index)
        await log.run(_require_alike, log.reader, access.namespace)
        appended = await log.run(log.reader.appended_end, events)
        rebuilding, position = await log.run(
            begin, *self._parts(log), source.index, owned.states, end_max=appended
        )
        first = position
        while position < appended:
            end = (await log.run(log.reader.ends, [events.topic])).ends[events]
            if end > position:
                upto = min(end, appended)
                await log.run(fold, rebuilding, log.reader, events, position, upto)
                position = upto
            elif loop.time() - began > RESTORE_S_MAX:
                raise BrokerError(
                    f"{events} stands at {position} of {appended} for longer than "
                    f"{RESTORE_S_MAX:g} s: a transaction is open on it, so nobody can say what the "
                    "states of its streams are"
                )
            else:
                await asyncio.sleep(ASK_AGAIN_S)
        owned.epoch = rebuilding.epoch + 1
        owned.checkpointing = asyncio.create_task(self._make_checkpoints(source.index, first))
        _log.info(
            "streams_restored",
            partition=str(source),
            events=rebuilding.events,
            from_position=first,
            epoch=owned.epoch,
            seconds=round(loop.time() - began, 3),
        )

    # --- checkpoints -------------------------------------------------------------------------

    async def _make_checkpoints(self, index: int, end: int) -> None:
        """As the partition grows beyond `end`, the end of its last checkpoint."""
        log, loop = self._bound, asyncio.get_running_loop()
        events = events_of(log.access.namespace, index)
        made_at = loop.time()
        while True:
            await asyncio.sleep(self._checkpoint_look_s)
            try:
                now = (await log.run(log.reader.ends, [events.topic])).ends[events]
                due = loop.time() - made_at >= self._checkpoint_s_max
                if now - end >= (1 if due else self._checkpoint_positions):
                    # Made or not: whatever hinders it, nobody rebuilds a partition at every look.
                    end, made_at = now, loop.time()
                    await self._make_checkpoint(index, now)
            except AgentlogError as error:  # it saves time later; without it nothing is wrong
                _log.warning("no_checkpoint", partition=str(events), error=str(error))

    async def _make_checkpoint(self, index: int, end: int) -> None:
        """One of everything below `end`, rebuilt from the log: what is in memory may be ahead."""
        log, states = self._bound, MemoryStates()
        access = log.access
        events = events_of(access.namespace, index)
        snapshots = snapshots_of(access.namespace, index)
        rebuilding, start = await log.run(begin, *self._parts(log), index, states, end_max=end)
        await log.run(fold, rebuilding, log.reader, events, start, end)
        before = await log.run(last_checkpoint, log.reader, access.codec, snapshots)
        now = await log.run(log.reader.ends, [events.topic])
        records = checkpoint_records(
            access.codec,
            snapshots,
            events,
            states.items(),
            topic_id=now.topic_ids[events.topic],
            end=end,
            epoch=rebuilding.epoch,
            made_by={one.name: made_by(one, access.codec) for one in self.aggregates},
            previous=before.position if before is not None else -1,
            sender=self.name,
            now_us=access.clock.now_us(),
        )
        if await access.write(records, (STATE_SNAPSHOTTED, CHECKPOINT_MADE)):
            _log.info("checkpoint_made", partition=str(events), end=end, streams=len(records) - 1)
        else:
            _log.warning("no_checkpoint", partition=str(events), error="it was not written")

    def _parts(self, log: _Log) -> tuple[Any, ...]:
        return self.aggregates, log.reader, log.access.codec, log.access.namespace


def _require_alike(reader: OpenEndReader, namespace: Namespace) -> None:
    """Raise `ConfigurationError` unless a stream has the same partition on all of its topics."""
    topics = namespace.topics((COMMANDS, EVENTS, SNAPSHOTS))
    ends = reader.ends(topics).ends
    counts = {topic: sum(1 for one in ends if one.topic == topic) for topic in topics}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
        raise ConfigurationError(
            f"{told} partitions; a stream needs the same one on all of them, so their numbers must "
            "be equal: make the topics anew in a fresh namespace, `agentlog topics apply`"
        )


def answer(ctx: Context, decision: Decision, topic: str) -> Envelope:
    """What whoever sent the command is told."""
    refused = decision.verdict is not Verdict.ACCEPTED
    conflict = decision.verdict is Verdict.CONFLICT and decision.state is not None
    return Envelope(
        type=COMMAND_ANSWERED,
        kind=Kind.RESPONSE,
        recipients=(ctx.envelope.sender,),
        reply_to=ctx.envelope.reply_to,
        correlation_id=ctx.envelope.correlation_id or ctx.envelope.id,
        payload={
            "command_id": ctx.envelope.id,
            "stream_id": ctx.envelope.stream_id or "",
            "verdict": str(decision.verdict),
            "version": decision.version,
            "events": decision.events,
            "error": (
                {"name": decision.error_name, "message": decision.error_message}
                if refused
                else None
            ),
            "state": decision.state.state if conflict and decision.state is not None else None,
            "topic": topic,
            "partition": ctx.record.partition,
            # The log gives the position of the last event; one byte stands for it until then.
            "position": 0 if decision.events else -1,
        },
    )
