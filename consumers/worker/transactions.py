"""The commit: outputs, journal and positions in one Kafka transaction, on a thread of its own.

Steps, and what a crash between two of them means
-------------------------------------------------
0. A producer stands: `init_transactions` has bumped its epoch and ended whatever an earlier
   producer of this process left open.
1. `begin_transaction`. Local: nothing is on the log. A crash leaves nothing.
2. `produce` every output and journal record; last, once the others have their positions, what
   tells one of them. They are on the log but invisible: no marker says that they count. A crash:
   the broker aborts them when the transaction times out, or the supervisor ends it at once; the
   next owner starts at the old positions and runs them again.
3. `send_offsets_to_transaction`, once per distinct assignment, with that assignment's own group
   metadata (H3). The positions are pending. The broker refuses them if the assignment is gone
   (H4). A crash: as in 2; a new owner waits until the positions are stable (H5).
4. `commit_transaction` flushes, then asks the coordinator to commit. A crash before it was asked:
   as in 2. Afterwards: all of it has happened, and the next owner starts at the new positions.

When a step fails
-----------------
- Before the commit was asked for, or with an error that demands an abort: `abort_transaction`;
  nothing happened (`NO`).
- The commit was asked for and no clear answer came (timeout, fatal error; H7): `UNKNOWN`. A new
  producer's `init_transactions` makes the coordinator finish what it had decided.
- After every abort, and after a commit that saw an error or took longer than `SUSPICIOUS_S`, the
  producer is discarded: a delayed request of the old one then carries an old epoch, and cannot
  touch the next transaction (H1).
- A call that does not return (H6) ends the process after `WATCHDOG_S` (`watchdog`); the group
  recovers.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from consumers.journal.outcomes import Output
from consumers.journal.telling import completed
from consumers.worker.ports import Committed, Transaction
from consumers.worker.watchdog import Watchdog
from streams.errors import BrokerError
from streams.kafka.complaints import Complaints
from streams.kafka.configs import MURMUR2, SILENT
from streams.topics.catalogue import DLQ_EXTRA_BYTES, RECORD_BYTES_MAX

SUSPICIOUS_S: Final = 1.0
"""A commit that takes longer may have been retried underneath; 4 ms is normal, 25 ms p99."""
CALL_S_MAX: Final = 15.0
"""Bound given to each client call: above transaction.timeout.ms."""
WATCHDOG_S: Final = 20.0
"""Longest that one step may take, before we end: a call that ignores its own bound (H6)."""
BUFFER_POLL_S: Final = 0.05
ANY_PARTITION: Final = -1
"""The client's word for: by the key (librdkafka's RD_KAFKA_PARTITION_UA)."""

CONFIG: Final[Mapping[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": MURMUR2,
    "compression.type": "lz4",
    "linger.ms": 5,
    "message.max.bytes": RECORD_BYTES_MAX + DLQ_EXTRA_BYTES,
    "transaction.timeout.ms": 10_000,
    "message.timeout.ms": 9_000,
    "socket.timeout.ms": 5_000,
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 5,
}

_log: Final = structlog.get_logger("agentlog.worker.commit")

Job = tuple[Transaction, "asyncio.Future[Committed]"]


class KafkaTransactions:
    """`Transactions` over one confluent-kafka producer at a time."""

    def __init__(
        self,
        bootstrap_servers: str,
        transactional_id: str,
        *,
        make_producer: Callable[..., Producer] = Producer,
        give_up: Callable[[int], Any] = os._exit,
    ) -> None:
        self._config = {
            **CONFIG,
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": transactional_id,
            "error_cb": self._on_error,
        }
        self._make_producer = make_producer
        self._producer: Producer | None = None
        self._suspicious = False
        self._complaints = Complaints(_log, "producer_error")
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="agentlog-commit", daemon=True)
        self._watchdog = Watchdog("a transaction", WATCHDOG_S, give_up)
        """Hears of the thread's steps, each of a few calls that end within `CALL_S_MAX`."""
        self.producers_made = 0
        """How many producers there were; one unless something was suspicious."""

    # --- the port (event loop) ---------------------------------------------------------------

    async def commit(self, transaction: Transaction) -> Committed:
        """Run one transaction on the thread; the loop goes on meanwhile."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Committed] = loop.create_future()
        if self._thread.ident is None:
            self._thread.start()
        self._jobs.put((transaction, done))
        return await asyncio.shield(done)

    async def close(self) -> None:
        """End the thread; its producer has nothing under way. One that does not end is left to the
        end of the process: it is a daemon.
        """
        if self._thread.ident is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, WATCHDOG_S)
            if self._thread.is_alive():
                _log.error("commit_thread_left_behind", waited_s=WATCHDOG_S)
        self._watchdog.close()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            transaction, done = job
            try:
                with self._watchdog.watching():
                    result: Committed | BaseException = self._transact(transaction)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the commit
                result = error
            done.get_loop().call_soon_threadsafe(_resolve, done, result)
        self._discard()

    def _transact(self, transaction: Transaction) -> Committed:
        began = time.monotonic()
        try:
            producer = self._standing_producer()
        except KafkaException as error:
            return self._no_producer(error)
        try:
            producer.begin_transaction()
            self._watchdog.step()
            self._produce(producer, transaction.outputs)
            for metadata, positions in transaction.positions:
                self._watchdog.step()
                producer.send_offsets_to_transaction(
                    [
                        TopicPartition(*source, mark.position, mark.encode())
                        for source, mark in positions.items()
                    ],
                    metadata,
                    CALL_S_MAX,
                )
        except (KafkaException, BufferError) as error:
            return self._abort(producer, error)
        self._watchdog.step()
        try:
            producer.commit_transaction(CALL_S_MAX)
        except KafkaException as error:
            if _kafka_error(error).txn_requires_abort():
                return self._abort(producer, error)
            return self._unknown(error)
        if self._suspicious or time.monotonic() - began > SUSPICIOUS_S:
            self._discard()
        return Committed.YES

    def _produce(self, producer: Producer, outputs: Sequence[Output]) -> None:
        telling = [one for one in outputs if one.tells is not None]
        if not telling:
            produce_all(producer, outputs)
            return
        wanted = {id(one.tells) for one in telling}
        told = produce_noting(producer, outputs, wanted)
        self._watchdog.step()
        if producer.flush(CALL_S_MAX) or told.keys() != wanted:
            raise BufferError("records whose positions others tell were not taken")
        produce_all(producer, completed(telling, told))

    # --- when a step fails -------------------------------------------------------------------

    def _abort(self, producer: Producer, cause: BaseException) -> Committed:
        """Before the commit was asked for, whatever becomes of the abort, nothing happens."""
        _log.warning("transaction_aborted", error=str(cause))
        # Else the abort waits for what is still queued, up to its timeout.
        producer.purge()
        self._watchdog.step()
        try:
            producer.abort_transaction(CALL_S_MAX)
        except KafkaException as error:
            # The next producer's init_transactions ends it, or its timeout does.
            _log.warning("abort_unanswered", error=str(error))
        self._discard()
        return Committed.NO

    def _unknown(self, cause: KafkaException) -> Committed:
        _log.warning("transaction_unknown", error=str(cause))
        self._discard()
        try:
            self._standing_producer()
        except KafkaException as error:
            # Positions are read as stable ones, so they wait for the coordinator anyway.
            _log.warning("no_producer", error=str(error))
        return Committed.UNKNOWN

    def _no_producer(self, cause: KafkaException) -> Committed:
        self._discard()
        error = _kafka_error(cause)
        if error.retriable() or error.code() in _PASSING:
            _log.warning("no_producer", error=str(cause))
            return Committed.NO
        raise BrokerError(
            f"no transactions as {self._config['transactional.id']}: {error.str()}"
        ) from cause

    # --- producers ---------------------------------------------------------------------------

    def _standing_producer(self) -> Producer:
        if self._producer is not None:
            self._producer.poll(0)  # it hears now of what happened while it stood idle
            if self._suspicious:
                self._discard()
        if self._producer is None:
            self._watchdog.step()
            producer = self._make_producer(self._config, logger=SILENT)
            producer.init_transactions(CALL_S_MAX)
            self._producer = producer
            self._suspicious = False
            self.producers_made += 1
        return self._producer

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            self._watchdog.step()
            producer.purge()
            del producer

    def _on_error(self, error: KafkaError) -> None:
        """A disconnect, a timeout, no broker: the last request may still be on its way (H1)."""
        self._suspicious = True
        self._complaints.tell(error)


def produce_all(
    producer: Producer, outputs: Iterable[Output], on_delivery: Callable[..., None] | None = None
) -> None:
    """Hand these to the client, waiting for room in its queue. Raises `BufferError` after
    `CALL_S_MAX`.
    """
    produce: Callable[..., None] = producer.produce
    deadline = time.monotonic() + CALL_S_MAX
    for output in outputs:
        partition = ANY_PARTITION if output.partition is None else output.partition
        while True:
            try:
                produce(
                    output.topic,
                    output.value,
                    output.key,
                    partition,
                    headers=output.headers,
                    on_delivery=on_delivery,
                )
                break
            except BufferError:
                if time.monotonic() > deadline:
                    raise
                producer.poll(BUFFER_POLL_S)
    producer.poll(0)


def produce_noting(
    producer: Producer, outputs: Iterable[Output], wanted: Container[int]
) -> Mapping[int, int]:
    """Hand over all outputs but those that tell a position. Once the client is flushed, the answer
    has the positions of the wanted ones, by `id`, if they were taken. Raises as `produce_all`.
    """
    found: dict[int, int] = {}
    run: list[Output] = []
    for output in outputs:
        if id(output) not in wanted:
            if output.tells is None:
                run.append(output)
            continue

        def on_delivery(error: KafkaError | None, message: Message, key: int = id(output)) -> None:
            if error is None:
                found[key] = message.offset() or 0

        produce_all(producer, run)
        produce_all(producer, [output], on_delivery)
        run.clear()
    produce_all(producer, run)
    return found


_PASSING: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 - librdkafka's own codes are spelled so
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.CONCURRENT_TRANSACTIONS,
    }
)


def _kafka_error(error: KafkaException) -> KafkaError:
    found = error.args[0]
    assert isinstance(found, KafkaError)
    return found


def _resolve(done: asyncio.Future[Committed], result: Committed | BaseException) -> None:
    if done.done():
        return
    if isinstance(result, BaseException):
        done.set_exception(result)
    else:
        done.set_result(result)


def end_open_transaction(bootstrap_servers: str, transactional_id: str) -> None:
    """End what a process that died left open, instead of waiting for its timeout (10 to 20 s).

    Only for a transactional id whose process is known to be dead: it fences whoever uses it.
    """
    config = {
        **CONFIG,
        "bootstrap.servers": bootstrap_servers,
        "transactional.id": transactional_id,
    }
    Producer(config, logger=SILENT).init_transactions(CALL_S_MAX)
