"""When the fleet is done: everything visible in its topics has been handled and committed."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from consumers.demo.fleet import app
from streams.kafka.configs import SILENT
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition
from streams.topics import Namespace

ANSWER_S_MAX = 10.0


class FleetIdle:
    """Watches the fleet's committed positions, without being a member of its group."""

    def __init__(self, servers: str, namespace: Namespace, reader: KafkaLogReader) -> None:
        self._reader = reader
        self._topics = namespace.topics(app.topics)
        self._consumer = Consumer(
            {"bootstrap.servers": servers, "group.id": namespace.group(app.name)}, logger=SILENT
        )

    def reached(self) -> bool:
        """Whether nothing waits.

        Positions are read before the ends: the fleet's own outputs go onto its own topics, and
        come with the positions of what caused them, so nothing can appear in between unseen.
        """
        committed = self._committed()
        for source, end in self._reader.ends(self._topics):
            start = max(committed.get(source, 0), 0)
            if start < end and any(len(batch) for batch in self._reader.read(source, start, end)):
                return False
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def _committed(self) -> dict[Partition, int]:
        sources = [TopicPartition(*source) for source, _ in self._reader.ends(self._topics)]
        found = self._consumer.committed(sources, timeout=ANSWER_S_MAX)
        return {Partition(one.topic, one.partition): one.offset for one in found}
