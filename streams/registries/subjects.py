"""The subjects of a type: `<topic>-<full name of the record>`, which is TopicRecordName. Pure.

A type goes where the routing table leads its envelopes, by its own kind, addressed or not, and
where a topic of the catalogue is there for its family. (Dead letters keep the original bytes: who
reads them goes by the id, not by a subject.)
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final

from streams import topics
from streams.envelope import Lane
from streams.schemas import EventType
from streams.topics import TOPICS, Namespace
from streams.topics.routing import CHAT, JOURNAL, RULES

CONTROL_FAMILY: Final = "agentlog.control."
"""What speaks to processes, and goes the system lane."""
RECORD_SUFFIX: Final = "Envelope"
_FULL_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
"""Of Avro's types. Files are called after them, so nothing else gets through."""


def topics_of(event: EventType) -> tuple[str, ...]:
    """Logical names of the topics that a type goes to, in the catalogue's order."""
    lane = Lane.SYSTEM if event.name.startswith(CONTROL_FAMILY) else Lane.DATA
    family = next((one for one in (CHAT, JOURNAL) if event.name.startswith(one)), "")
    routed = {
        next(rule.topic for rule in RULES if rule.fits(lane, event.kind, family, addressed))
        for addressed in (False, True)
    }
    return tuple(
        topic.name
        for topic in TOPICS.values()
        if topic.name in routed
        or (
            not topic.name.endswith(".dlq")
            and any(
                pattern != "*" and fnmatchcase(event.name, pattern) for pattern in topic.payloads
            )
        )
    )


def subjects_of(event: EventType, namespace: Namespace) -> tuple[str, ...]:
    """The subjects that a type's schema is registered under."""
    return tuple(f"{namespace.topic(topic)}-{event.subject}" for topic in topics_of(event))


def type_of(subject: str, namespace: Namespace) -> str | None:
    """The payload type that a subject of this namespace is for; None for any other subject."""
    topic, dash, record = subject.rpartition("-")
    known = {namespace.topic(name) for name in TOPICS if name != topics.SCHEMAS}
    if not dash or topic not in known or not record.endswith(RECORD_SUFFIX):
        return None
    name = record.removesuffix(RECORD_SUFFIX)
    return name if _FULL_NAME.fullmatch(name) else None
