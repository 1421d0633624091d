"""dispatch: the worker against a plain consume, decode, call, commit loop, each in one process.

The worker keeps order per key, runs handlers concurrently, and commits outputs, journal and
positions in one transaction. The loop calls a function for one record after the other, in batches;
without outputs it just commits its positions (at least once), with outputs it commits both in a
transaction, as the worker does. Each is timed from its first record until it has left its group.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from confluent_kafka import Consumer, Message, Producer

from benchmarks.figures import Results, at_least, ratio
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.plain import plain_reader, plain_schemas
from benchmarks.profiling import profiled
from benchmarks.rounds import Contender, alternate
from benchmarks.stage import Stage, open_codec
from benchmarks.wire import REPORT, report_on, wire_headers, wire_value
from benchmarks.workers import WORKER_TOPICS, Handling
from consumers.worker.transactions import CONFIG as TRANSACTIONS
from streams.kafka.configs import SILENT
from streams.schemas import Codec
from streams.topics import EVENTS, TASKS, Namespace

BATCH: Final = 2_000
"""Records that the plain loop takes, and commits, at a time."""
CALL_S: Final = 10.0
BAR_GUARANTEE: Final = 0.6
"""What exactly once must keep of the throughput of at least once."""

_CONSUMER: Final = {
    "group.protocol": "consumer",
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
}


def bench(stage: Stage) -> Results:
    """Handlers that do nothing, and handlers that publish one envelope each."""
    codec, records = open_codec(), stage.size(30_000, 3_000)
    with stage.namespaces(WORKER_TOPICS) as [namespace]:
        fill(stage.bootstrap_servers, namespace.topic(TASKS), codec, history(records), records)
        worker = Handling(stage.bootstrap_servers, namespace, codec, records)
        loop = _Loop(stage.bootstrap_servers, namespace, codec, records)
        measured = alternate(
            stage,
            [
                Contender("worker, no output", lambda: worker.run(output=False)),
                Contender("plain loop, no output, at least once", loop.run),
                Contender("worker, one output each", lambda: worker.run(output=True)),
                Contender("plain loop, one output each, exactly once", loop.run_exactly_once),
                Contender(
                    "worker, one output each, at least once",
                    lambda: worker.run(output=True, delivery="at_least_once"),
                ),
            ],
            stage.size(5, 2),
        )
    quiet, plain_quiet, talking, plain_talking, at_least_once = measured
    return Results(
        bench="dispatch",
        workload=f"{records:,} envelopes of the history on 8 partitions, one process, one "
        f"consumer, Avro decoded whole. The loop takes and commits {BATCH:,} at a time.",
        measured=measured,
        figures=[
            ratio(
                "worker (ordered per key, exactly once, journaled) over the loop (at least once)",
                quiet,
                plain_quiet,
            ),
            ratio(
                "worker with one output each over the loop with transactions",
                talking,
                plain_talking,
            ),
            ratio(
                "worker exactly once over itself at least once, one output each",
                talking,
                at_least_once,
                bar=at_least(BAR_GUARANTEE),
            ),
        ],
    )


def profile(stage: Stage) -> Sequence[str]:
    """Where the worker's time goes, without and with an output."""
    codec, records = open_codec(), stage.size(30_000, 3_000)
    with stage.namespaces(WORKER_TOPICS) as [namespace]:
        fill(stage.bootstrap_servers, namespace.topic(TASKS), codec, history(records), records)
        worker = Handling(stage.bootstrap_servers, namespace, codec, records)
        return [
            profiled(name, functools.partial(worker.run, output=output))
            for name, output in (("no output", False), ("one output each", True))
        ]


class _Loop:
    """The plain loop, on a group of its own each time."""

    def __init__(
        self, bootstrap_servers: str, namespace: Namespace, codec: Codec, records: int
    ) -> None:
        self._servers = bootstrap_servers
        self._source = namespace.topic(TASKS)
        self._target = namespace.topic(EVENTS)
        self._decode = plain_reader(codec.catalogue)
        self._report = plain_schemas(codec.catalogue)[REPORT]
        self._records = records

    def run(self) -> float:
        """Consume, decode, call, commit positions."""
        consumer = self._consumer()
        handled, began_s = 0, 0.0
        while handled < self._records:
            messages = _taken(consumer)
            began_s = began_s or time.perf_counter()
            for message in messages:
                _do_nothing(self._decode(message.value() or b""))
            if messages:
                consumer.commit(asynchronous=False)
            handled += len(messages)
        consumer.close()
        return self._records / (time.perf_counter() - began_s)

    def run_exactly_once(self) -> float:
        """Consume, decode, call, commit outputs and positions in one transaction."""
        consumer = self._consumer()
        producer = Producer(
            {**TRANSACTIONS, "bootstrap.servers": self._servers, "transactional.id": uuid4().hex},
            logger=SILENT,
        )
        producer.init_transactions(CALL_S)
        handled, began_s = 0, 0.0
        while handled < self._records:
            messages = _taken(consumer)
            began_s = began_s or time.perf_counter()
            if messages:
                producer.begin_transaction()
                for n, message in enumerate(messages, handled):
                    self._send_report(producer, self._decode(message.value() or b""), n)
                producer.send_offsets_to_transaction(
                    consumer.position(consumer.assignment()),
                    consumer.consumer_group_metadata(),
                    CALL_S,
                )
                producer.commit_transaction(CALL_S)
            handled += len(messages)
        consumer.close()
        return self._records / (time.perf_counter() - began_s)

    def _send_report(self, producer: Producer, task: Mapping[str, Any], n: int) -> None:
        report = report_on(task, n)
        headers: Any = wire_headers(report)
        producer.produce(
            self._target,
            wire_value(self._report, report),
            task["correlation_id"].encode(),
            headers=headers,
        )

    def _consumer(self) -> Consumer:
        consumer = Consumer(
            {**_CONSUMER, "bootstrap.servers": self._servers, "group.id": uuid4().hex},
            logger=SILENT,
        )
        consumer.subscribe([self._source])
        return consumer


def _taken(consumer: Consumer) -> Sequence[Message]:
    return [message for message in consumer.consume(BATCH, 0.05) if message.error() is None]


def _do_nothing(_task: Mapping[str, Any]) -> None:
    """The handler."""
