"""The system lane: what `control` says to this process, heard next to any backlog of data.

One consumer by assignment, in no group, read-committed: every process hears everything, from ten
minutes before it started to its end. What that history holds counts as far as it still can:

    Cancel          always: the record that it names may come yet
    Drain           of a group: only if appended after this process began to listen, for an old
                    one must not end a new process; of a run id: always, for no other run has it
    ReportStatus    only if appended after this process began to listen: an old asker is gone

What cannot be decoded, or is nothing that a worker does, is logged and passed over. An outage is
waited out, at the same positions; so is a `control` topic that does not exist yet.

The client fetches on threads of its own, in C; the event loop looks every few milliseconds whether
something came. A thread of ours would wait for the interpreter behind a busy loop, and a client on
the loop needs a dozen of the loop's turns for one record: both hear later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.worker.control_places import Places
from streams import control, topics
from streams.envelope import Envelope
from streams.errors import AgentlogError, BrokerError, DecodeError, LogError
from streams.identity import is_message_id
from streams.kafka.batches import record_of
from streams.kafka.configs import CONTROL, SILENT
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
LOOK_S: Final = 0.005
"""Between two looks while something runs that a cancel could interrupt."""
IDLE_LOOK_S: Final = 0.05
"""The same while nothing runs."""
BATCH_MAX: Final = 200
"""Records heard in one go before the event loop gets to do anything else."""
FOLLOW_S: Final = 30.0
"""Between two looks at the topic, which may be given partitions or be made anew."""
RETRY_S: Final = 1.0
REASON_CHARS_MAX: Final = 500
"""Characters kept of a reason."""

_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own codes are spelled so
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
    """Hears `control` for one worker process: `group` is its group's full name.

    `busy` says whether something runs that a cancel could interrupt. For one event loop.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        controlled: Controlled,
        *,
        group: str,
        run_id: str,
        busy: Callable[[], bool] = lambda: True,
        clock: Clock | None = None,
        history_ms: int = HISTORY_MS,
        catch_up_s_max: float = CATCH_UP_S_MAX,
    ) -> None:
        self._servers = bootstrap_servers
        self._topic = namespace.topic(topics.CONTROL)
        self._codec = codec
        self._controlled = controlled
        self._group = group
        self._run_id = run_id
        self._busy = busy
        self._clock = clock or SystemClock()
        self._history_ms = history_ms
        self._catch_up_s_max = catch_up_s_max
        self._places = Places(self._topic)
        self._caught_up = asyncio.Event()
        self._in_touch = True
        self._unheard: deque[Message] = deque()
        self._found: set[int] = set()
        """Schema ids that are not in the catalogue, but on the log."""
        self._consumer: Consumer | None = None
        self._next_look: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen; returns when the history was heard, or after `catch_up_s_max`."""
        self._loop = asyncio.get_running_loop()
        self._reader = KafkaLogReader(self._servers, silence_s_max=self._catch_up_s_max)
        self._consumer = Consumer({**CONTROL, "bootstrap.servers": self._servers}, logger=SILENT)
        self._spawn(self._follow(self._consumer))
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
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        if self._next_look is not None:
            self._next_look.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(consumer.close)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work, name="control")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- where to read -----------------------------------------------------------------------

    async def _follow(self, consumer: Consumer) -> None:
        """Find the topic, then see every now and then what has become of it."""
        while True:
            wait_s = FOLLOW_S
            try:
                if await self._find_places():
                    await self._read_on(consumer)
                self._back_in_touch()
            except LogError as error:  # no such topic
                wait_s = RETRY_S
                self._out_of_touch(error)
                self._places.topic_is_absent()
                consumer.unassign()  # another topic of this name is no continuation
                self._caught_up.set()  # there is no history
            except (AgentlogError, KafkaException) as error:
                wait_s = RETRY_S
                self._out_of_touch(error)
            await asyncio.sleep(wait_s)

    async def _find_places(self) -> bool:
        """True if reading has to begin, or to go on elsewhere."""
        ends = await asyncio.to_thread(self._reader.ends, [self._topic])
        if not self._places.are_unknown:
            return self._places.follow(ends)
        since_ms = self._clock.now_us() // 1000 - self._history_ms
        starts = await asyncio.to_thread(self._reader.ends_at, [self._topic], since_ms)
        self._places.begin(starts, ends)
        return True

    async def _read_on(self, consumer: Consumer) -> None:
        self._unheard.clear()
        consumer.assign(
            [TopicPartition(*source, at) for source, at in self._places.positions.items()]
        )
        # The client looks for the leaders of a topic that is new to it once a second; asked for
        # the topic, it finds them at once.
        with contextlib.suppress(KafkaException):
            await asyncio.to_thread(consumer.list_topics, self._topic, RETRY_S)
        self._look_in(0)

    # --- hearing -----------------------------------------------------------------------------

    def _look_in(self, wait_s: float) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self._loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        """Hear what has come, and look again in a moment."""
        if self._consumer is None:
            return
        try:
            wait_s = self._hear_on(self._consumer)
        except Exception:  # noqa: BLE001 - nobody else would hear of it in a callback
            _log.exception("control_failed")
            if self._unheard:
                self._unheard.popleft()
            wait_s = RETRY_S
        if wait_s is not None:
            self._look_in(wait_s)

    def _hear_on(self, consumer: Consumer) -> float | None:
        """Seconds until the next look; None if the answer to a question leads to it."""
        self._unheard += consumer.consume(BATCH_MAX, 0)
        full = len(self._unheard) >= BATCH_MAX
        while self._unheard:
            message = self._unheard[0]
            if (schema_id := self._unknown_schema(message)) is not None:
                self._spawn(self._ask(schema_id, message))
                return None
            self._hear(message)
            self._unheard.popleft()
        if not self._caught_up.is_set() and self._places.caught_up:
            self._caught_up.set()
        if full:
            return 0
        return LOOK_S if self._busy() or not self._caught_up.is_set() else IDLE_LOOK_S

    def _unknown_schema(self, message: Message) -> int | None:
        """The id of a schema that only the log may know: finding it takes its time."""
        value = message.value()
        if message.error() is not None or value is None:
            return None
        with contextlib.suppress(DecodeError):
            schema_id, _ = unframe(value, record_of(message).headers)
            if self._codec.catalogue.by_id(schema_id) is None and schema_id not in self._found:
                return schema_id
        return None

    async def _ask(self, schema_id: int, message: Message) -> None:
        """Look for a schema on the log; without it the record is passed over."""
        try:
            await asyncio.to_thread(self._codec.writer_schema, schema_id)
            self._found.add(schema_id)
        except BrokerError as error:
            self._out_of_touch(error)
            await asyncio.sleep(RETRY_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the lane goes on without it
            if self._unheard and self._unheard[0] is message:
                self._unheard.popleft()
                self._pass_over(record_of(message), error)
        self._look_in(0)

    def _hear(self, message: Message) -> None:
        error, source = message.error(), Partition(message.topic() or "", message.partition() or 0)
        if error is not None:
            if error.code() == _END:
                self._places.passed(source, message.offset() or 0)
            else:  # the client goes on trying
                self._out_of_touch(KafkaException(error))
            return
        record = record_of(message)
        self._places.passed(source, record.position + 1)
        try:
            self._act(record, self._codec.decode(record.value, record.headers))
        except DecodeError as problem:
            self._pass_over(record, problem)
        except Exception:  # noqa: BLE001 - one record must not end the lane that stops things
            _log.exception("control_failed", record=str(record))

    def _pass_over(self, record: Record, problem: Exception) -> None:
        _log.warning("control_undecodable", record=str(record), error=str(problem))
        self._places.passed(record.source, record.position + 1)

    def _out_of_touch(self, error: Exception) -> None:
        if self._in_touch:
            self._in_touch = False
            _log.warning("control_unheard", topic=self._topic, error=str(error))

    def _back_in_touch(self) -> None:
        if not self._in_touch:
            self._in_touch = True
            _log.info("control_heard_again", topic=self._topic)

    # --- acting ------------------------------------------------------------------------------

    def _act(self, record: Record, envelope: Envelope) -> None:
        payload = envelope.payload
        live = self._places.is_live(record.source, record.position)
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
