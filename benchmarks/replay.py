"""replay: metrics rebuilt from the log, against reading alone and against a plain loop.

kafka-consumer-perf-test only fetches; the plain loop fetches with our bulk settings, decodes each
value with fastavro and counts the same things. The counts of both are checked to be equal.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from benchmarks.figures import Results, at_least, ratio
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.perf_tools import consumer_perf_test
from benchmarks.plain import plain_reader
from benchmarks.rounds import Contender, alternate
from benchmarks.stage import Stage, open_codec
from consumers.projections.metrics import DATA_TOPICS, Metrics
from consumers.replay import replay
from streams.kafka.configs import SILENT
from streams.kafka.reader import KafkaLogReader
from streams.schemas import Codec
from streams.topics import JOURNAL, TASKS, Namespace

BAR_TOOL: Final = 0.3
BAR_LOOP: Final = 3.0
BATCH: Final = 10_000
DISTINCT: Final = 57_580
"""Different envelopes that the log is made of: ten laps of the history."""

Counts = dict[str, dict[str, int]]

_BULK: Final = {
    "group.id": "bench-loop",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "queued.min.messages": 1_000_000,
    "queued.max.messages.kbytes": 1_048_576,
    "fetch.wait.max.ms": 50,
    "check.crcs": True,
}


def bench(stage: Stage) -> Results:
    """One topic of 8 partitions, read from its beginning to its end."""
    codec, servers = open_codec(), stage.bootstrap_servers
    records = stage.size(1_000_000, 50_000)
    with stage.namespaces([*DATA_TOPICS, JOURNAL]) as [namespace]:
        topic = namespace.topic(TASKS)
        fill(servers, topic, codec, history(min(DISTINCT, records)), records)
        ours = _Replay(servers, namespace, codec, records)
        loop = _Loop(servers, topic, codec, records)
        measured = alternate(
            stage,
            [
                Contender("replay metrics", lambda: ours.run(in_processes=True)),
                Contender("replay metrics, one process", lambda: ours.run(in_processes=False)),
                Contender(
                    "kafka-consumer-perf-test",
                    lambda: consumer_perf_test(servers, topic, records=records),
                ),
                Contender("plain loop", loop.run),
            ],
            stage.size(5, 2),
        )
    if ours.counts != loop.counts:
        raise AssertionError("the replay and the plain loop do not count the same")
    full, one_process, tool, plain = measured
    return Results(
        bench="replay",
        workload=f"{records:,} records like the history's on one topic of 8 partitions, lz4 "
        "batches, read committed. The replay and the loop counted the same, by sender, "
        "type and channel.",
        measured=measured,
        figures=[
            ratio(
                "replay over kafka-consumer-perf-test, which only fetches",
                full,
                tool,
                bar=at_least(BAR_TOOL),
            ),
            ratio(
                "replay over the plain confluent-kafka + fastavro loop",
                full,
                plain,
                bar=at_least(BAR_LOOP),
            ),
            ratio("replay in one process over the plain loop", one_process, plain),
        ],
    )


class _Replay:
    """Our replay, its start and the merge included."""

    def __init__(
        self, bootstrap_servers: str, namespace: Namespace, codec: Codec, records: int
    ) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._codec = codec
        self._records = records
        self.counts: Counts = {}

    def run(self, *, in_processes: bool) -> float:
        began = time.perf_counter()
        with KafkaLogReader(self._servers) as reader:
            replayed = replay(
                Metrics(),
                reader=reader,
                namespace=self._namespace,
                codec=self._codec,
                open_codec=open_codec if in_processes else None,
            )
        seconds = time.perf_counter() - began
        view = Metrics().view(replayed.state)
        if view["messages_sent"] != self._records:
            raise AssertionError(f"the replay saw {view['messages_sent']} of {self._records}")
        self.counts = {name: view[name] for name in ("by_sender", "by_type", "by_channel")}
        return self._records / seconds


class _Loop:
    """Consume, decode, count."""

    def __init__(self, bootstrap_servers: str, topic: str, codec: Codec, records: int) -> None:
        self._servers = bootstrap_servers
        self._topic = topic
        self._decode = plain_reader(codec.catalogue)
        self._records = records
        self.counts: Counts = {}

    def run(self) -> float:
        began = time.perf_counter()
        settings: dict[str, Any] = {**_BULK, "bootstrap.servers": self._servers}
        consumer = Consumer(settings, logger=SILENT)
        partitions = consumer.list_topics(self._topic).topics[self._topic].partitions
        consumer.assign([TopicPartition(self._topic, partition, 0) for partition in partitions])
        senders, kinds, channels = Counter[str](), Counter[str](), Counter[str]()
        seen = 0
        while seen < self._records:
            for message in consumer.consume(BATCH, 0.2):
                fields = self._decode(message.value() or b"")
                senders[fields["sender"]] += 1
                kinds[fields["kind"]] += 1
                if fields["channel_id"] is not None:
                    channels[fields["channel_id"]] += 1
                seen += 1
        consumer.close()
        seconds = time.perf_counter() - began
        self.counts = {"by_sender": senders, "by_type": kinds, "by_channel": channels}
        return self._records / seconds
