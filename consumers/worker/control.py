"""The system lane: what `control` says to this process, heard next to any backlog of data.

One consumer by assignment, in no group, read-committed: every process hears everything, from ten
minutes before it started to its end. What that history holds counts as far as it still can:

    Cancel          always: the record that it names may come yet
    Drain           of a group: only if appended after this process began to listen, for an old
                    one must not end a new process; of a run id: always, for no other run has it
    ReportStatus    only if appended after this process began to listen: an old asker is gone

What cannot be decoded, or is nothing that a worker does, is logged and passed over. The consumer
is made anew, at the same positions, whenever it has come to nothing; a `control` topic that does
not exist yet is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from streams import control, topics
from streams.envelope import Envelope
from streams.errors import BrokerError, DecodeError, LogError
from streams.identity import is_message_id
from streams.kafka.configs import CONTROL
from streams.kafka.positioned import close, open_at, record_of
from streams.kafka.reader import KafkaLogReader
from streams.ports import Clock, SystemClock
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.schemas.framing import unframe
from streams.topics import Namespace

HISTORY_MS: Final = 600_000
"""How far back a process begins: longer than a cancel stays ahead of its request."""
CATCH_UP_S_MAX: Final = 10.0
"""Seconds that `start` waits for the history; then work begins without what is missing of it."""
SILENT_MS_MAX: Final = 30_000
"""Milliseconds without an answer of the broker after which the consumer is made anew."""
REASON_CHARS_MAX: Final = 500
"""Characters kept of a reason."""
RETRY_S: Final = 1.0
POLL_MS: Final = 1_000
"""Longest wait for records; they are handed over the moment that they arrive."""
CATCH_UP_POLL_MS: Final = 20
BATCH_MAX: Final = 200
"""Records taken in one go before the event loop gets to do anything else."""

_log: Final = structlog.get_logger("agentlog.worker.control")


class Controlled(Protocol):
    """What control acts on; called on the event loop's thread, in the order of the log.

    Nothing is called twice for one record, but for a `control` topic that was made anew.
    """

    def on_cancel(self, message_id: str, reason: str) -> None:
        """Do not handle the envelope with this id, or stop handling it."""
        ...

    def on_drain(self, target: str, reason: str) -> None:
        """Finish what runs, commit, end."""
        ...

    def on_report(self, request: Envelope) -> None:
        """Answer the `ReportStatus` to its `reply_to`, which is not empty."""
        ...


class ControlListener:
    """Hears `control` for one worker process: `group` is its group's full name."""

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        controlled: Controlled,
        *,
        group: str,
        run_id: str,
        clock: Clock | None = None,
        history_ms: int = HISTORY_MS,
        catch_up_s_max: float = CATCH_UP_S_MAX,
    ) -> None:
        self._servers = bootstrap_servers
        self._topic = namespace.topic(topics.CONTROL)
        self._reader = KafkaLogReader(bootstrap_servers, silence_s_max=catch_up_s_max)
        self._codec = codec
        self._controlled = controlled
        self._group = group
        self._run_id = run_id
        self._clock = clock or SystemClock()
        self._history_ms = history_ms
        self._catch_up_s_max = catch_up_s_max
        self._positions: dict[Partition, int] = {}
        self._live_from: dict[Partition, int] = {}
        """What was the end when this process began to listen; absent for what is younger."""
        self._located = False
        self._in_touch = True
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; returns when the history was heard, or after `catch_up_s_max`."""
        self._task = asyncio.create_task(self._listen(), name="control")
        try:
            async with asyncio.timeout(self._catch_up_s_max):
                await self._caught_up.wait()
        except TimeoutError:
            _log.warning(
                "control_not_caught_up",
                topic=self._topic,
                waited_s=self._catch_up_s_max,
                meaning="what was cancelled before now may be handled until control is heard",
            )

    async def stop(self) -> None:
        """Stop listening. Twice does no harm."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    # --- hearing -----------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                await self._locate()
                await self._follow()
            except OffsetOutOfRangeError as error:
                # Removed or made anew while we were away: all that is there now is younger than us.
                self._positions.clear()
                self._live_from.clear()
                self._out_of_touch(error)
            except Exception as error:  # noqa: BLE001 - nobody else would hear of it
                self._out_of_touch(error)
            await asyncio.sleep(RETRY_S)

    async def _locate(self) -> None:
        """Find where to read from, for partitions that have no position yet."""
        if self._located:
            found = await asyncio.to_thread(self._reader.starts, [self._topic])
            for source, start in found.items():
                self._positions.setdefault(source, start)
            return
        since_ms = self._now_ms() - self._history_ms
        try:
            starts = await asyncio.to_thread(self._reader.ends_at, [self._topic], since_ms)
            ends = await asyncio.to_thread(self._reader.ends, [self._topic])
        except LogError:  # no such topic: whatever it will hold is younger than us
            self._located = True
            self._caught_up.set()
            raise
        self._positions.update(starts.ends)
        self._live_from.update(ends.ends)
        self._located = True

    async def _follow(self) -> None:
        """Hear whatever comes, until the consumer comes to nothing or the topic has grown."""
        consumer = await open_at(self._servers, CONTROL, self._positions)
        opened_at_ms = self._now_ms()
        try:
            while self._is_good(consumer, opened_at_ms):
                poll_ms = POLL_MS if self._caught_up.is_set() else CATCH_UP_POLL_MS
                batches = await consumer.getmany(timeout_ms=poll_ms, max_records=BATCH_MAX)
                for part, messages in batches.items():
                    for message in messages:
                        await self._hear(record_of(message))
                        self._positions[Partition(*part)] = message.offset + 1
                await self._note_positions(consumer)
                await asyncio.sleep(0)
        finally:
            await close(consumer)

    def _is_good(self, consumer: AIOKafkaConsumer, opened_at_ms: int) -> bool:
        """False once the topic has more partitions. Raises `BrokerError` at a silence."""
        heard_ms = [consumer.last_poll_timestamp(part) for part in consumer.assignment()]
        silent_ms = self._now_ms() - min(heard or opened_at_ms for heard in heard_ms)
        if silent_ms > SILENT_MS_MAX:
            raise BrokerError(f"{self._servers} has not answered for {silent_ms / 1000:g} s")
        if None not in heard_ms:
            self._back_in_touch()
        known = consumer.partitions_for_topic(self._topic) or set()
        return len(known) <= len(self._positions)

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        """Positions pass transaction markers, too; behind the history, we have caught up."""
        for source in self._positions:
            position = await consumer.position(TopicPartition(*source))
            self._positions[source] = max(self._positions[source], position)
        if not self._caught_up.is_set() and _passed(self._positions, self._live_from):
            self._caught_up.set()

    def _now_ms(self) -> int:
        return self._clock.now_us() // 1000

    def _out_of_touch(self, error: BaseException) -> None:
        if self._in_touch:
            self._in_touch = False
            _log.warning("control_unheard", topic=self._topic, error=str(error) or repr(error))

    def _back_in_touch(self) -> None:
        if not self._in_touch:
            self._in_touch = True
            _log.info("control_heard_again", topic=self._topic)

    # --- acting ------------------------------------------------------------------------------

    async def _hear(self, record: Record) -> None:
        """Act on one record. Raises `BrokerError` if its schema could not be asked for."""
        try:
            envelope = await self._decoded(record)
            self._act(record, envelope)
        except DecodeError as error:
            _log.warning("control_undecodable", record=str(record), error=str(error))
        except BrokerError:
            raise
        except Exception:  # noqa: BLE001 - one record must not end the lane that stops things
            _log.exception("control_failed", record=str(record))

    async def _decoded(self, record: Record) -> Envelope:
        codec, value = self._codec, record.value
        if value is not None:
            schema_id, _ = unframe(value, record.headers)
            if codec.catalogue.by_id(schema_id) is None:
                # Read from the log, which takes its time: not on the event loop.
                await asyncio.to_thread(codec.writer_schema, schema_id)
        return codec.decode(value, record.headers)

    def _act(self, record: Record, envelope: Envelope) -> None:
        payload, live = envelope.payload, record.position >= self._live_from.get(record.source, 0)
        match envelope.type:
            case control.CANCEL:
                if not is_message_id(payload["message_id"]):
                    raise DecodeError(f"{payload['message_id']!r:.100} is no envelope's id")
                self._controlled.on_cancel(payload["message_id"], _reason(payload))
            case control.DRAIN:
                target = payload["target"]
                if target == self._run_id or (live and target == self._group):
                    self._controlled.on_drain(target, _reason(payload))
            case control.REPORT_STATUS:
                if live and envelope.reply_to and payload["group"] in {None, self._group}:
                    self._controlled.on_report(envelope)
            case other:
                _log.info("control_unknown", record=str(record), type=other)


def _reason(payload: Mapping[str, Any]) -> str:
    return str(payload["reason"])[:REASON_CHARS_MAX]


def _passed(positions: Mapping[Partition, int], ends: Mapping[Partition, int]) -> bool:
    return all(positions.get(source, 0) >= end for source, end in ends.items())
