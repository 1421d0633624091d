"""A log of records that were recorded before: it pickles, so another process can read it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from streams.cuts import Cut
from streams.record import Partition, Record
from streams.schemas import Catalogue, Codec

BATCH = 7


class RecordedLog:
    """A `LogReader` over some records."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records: dict[Partition, list[Record]] = {}
        for record in records:
            self._records.setdefault(record.source, []).append(record)

    def ends(self, topics: Iterable[str]) -> Cut:
        wanted = tuple(topics)
        return Cut(
            cluster_id="recorded",
            topic_ids={topic: f"id-{topic}" for topic in wanted},
            ends={
                source: records[-1].position + 1
                for source, records in self._records.items()
                if source.topic in wanted
            },
        )

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        return dict.fromkeys(self.ends(topics).ends, 0)

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        found = [one for one in self._records.get(source, ()) if start <= one.position < end]
        for n in range(0, len(found), BATCH):
            yield found[n : n + BATCH]


def open_codec() -> Codec:
    """What another process opens."""
    return Codec(Catalogue.load())
