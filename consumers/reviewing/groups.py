"""Groups: who has read which topics, as their journals say."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.journal import OUTCOMES_RECORDED
from streams.errors import DecodeError
from streams.ports import LogReader
from streams.schemas import Codec
from streams.topics import JOURNAL, Namespace


def groups_seen(
    reader: LogReader, codec: Codec, namespace: Namespace
) -> Mapping[str, frozenset[str]]:
    """By group (full name), the topics (full names) that its journal speaks of."""
    found: dict[str, set[str]] = {}
    topics = [namespace.topic(JOURNAL)]
    starts = reader.starts(topics)
    for source, end in reader.ends(topics):
        for batch in reader.read(source, starts[source], end):
            for record in batch:
                try:
                    envelope = codec.decode(record.value, record.headers)
                    if envelope.type == OUTCOMES_RECORDED:
                        payload = envelope.payload
                        found.setdefault(payload["group"], set()).add(payload["topic"])
                except DecodeError:
                    continue  # not ours
    return {group: frozenset(read) for group, read in found.items()}
