"""The `schemas` topic: the log describes itself.

Compacted, one partition: key = schema id in decimal, value = the writer schema's JSON text. Every
publisher writes a schema there before its first record under that id; readers that meet an id
which is in no catalogue of theirs look here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from streams.errors import LogError
from streams.kafka.reader import KafkaLogReader
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import WriterSchema
from streams.topics import SCHEMAS, Namespace

RELOAD_S_MIN: Final = 1.0
"""Seconds between two looks for one id that was not there: a flood of bad records stays cheap."""
ABSENT_MAX: Final = 1_024
"""Ids remembered as absent; then the memory starts anew."""


def schema_record(writer: WriterSchema) -> tuple[bytes, bytes]:
    """Key and value that announce a schema."""
    return b"%d" % writer.id, writer.text.encode()


class SchemaTopic:
    """A `SchemaSource`: what the namespace's `schemas` topic says, read when first asked.

    An unknown id makes it read on from where it was. Thread-safe.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        *,
        reader: LogReader | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = bootstrap_servers
        self._topic = namespace.topic(SCHEMAS)
        self._reader = reader
        self._monotonic_s = monotonic_s
        self._texts: dict[int, str] = {}
        self._positions: dict[Partition, int] = {}
        self._absent_at_s: dict[int, float] = {}
        self._lock = threading.Lock()

    def writer_schema(self, schema_id: int) -> str | None:
        """The schema's JSON text, or None if the topic does not hold the id.

        Raises `BrokerError` if the broker does not answer.
        """
        with self._lock:
            if schema_id not in self._texts and self._may_look(schema_id):
                self._read_on()
                self._remember(schema_id)
            return self._texts.get(schema_id)

    def _may_look(self, schema_id: int) -> bool:
        # Per id: an id is announced before its first record, so the first look for it counts.
        absent_at_s = self._absent_at_s.get(schema_id)
        return absent_at_s is None or self._monotonic_s() - absent_at_s >= RELOAD_S_MIN

    def _remember(self, schema_id: int) -> None:
        self._absent_at_s.pop(schema_id, None)
        if schema_id not in self._texts:
            if len(self._absent_at_s) >= ABSENT_MAX:
                self._absent_at_s.clear()
            self._absent_at_s[schema_id] = self._monotonic_s()

    def _read_on(self) -> None:
        if self._reader is None:
            self._reader = KafkaLogReader(self._servers)
        try:
            starts = self._reader.starts([self._topic])
        except LogError:
            return  # no such topic: nobody has published in this namespace
        for partition, end in self._reader.ends([self._topic]):
            start = max(starts[partition], self._positions.get(partition, 0))
            for batch in self._reader.read(partition, start, end) if start < end else ():
                for record in batch:
                    if record.key is not None and record.value is not None and record.key.isdigit():
                        self._texts[int(record.key)] = record.value.decode()
            self._positions[partition] = end
