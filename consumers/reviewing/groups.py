"""Groups: who has read which topics, as their journals say."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.journal import OUTCOMES_RECORDED
from consumers.reviewing.gathering import spread, stored_below
from streams.cuts import Cut
from streams.errors import DecodeError
from streams.ports import LogReader
from streams.schemas import Codec
from streams.topics import JOURNAL, Namespace


def groups_seen(
    reader: LogReader, codec: Codec, namespace: Namespace, cut: Cut, sample: int | None = None
) -> Mapping[str, frozenset[str]]:
    """By group (full name), the topics (full names) that its journal speaks of below the cut.

    Of a sample, about so many of the journal's records are read.
    """
    found: dict[str, set[str]] = {}
    _, spans = stored_below(cut, reader, [namespace.topic(JOURNAL)])
    for span in spans if sample is None else spread(spans, sample):
        for batch in reader.read(span.source, span.start, span.end):
            for record in batch:
                try:
                    envelope = codec.decode(record.value, record.headers)
                    if envelope.type == OUTCOMES_RECORDED:
                        payload = envelope.payload
                        found.setdefault(payload["group"], set()).add(payload["topic"])
                except DecodeError:
                    continue  # not ours
    return {group: frozenset(read) for group, read in found.items()}
