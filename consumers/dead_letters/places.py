"""Places: where a dead letter is, as people write it: `tasks.dlq[0]@12`."""

from __future__ import annotations

import re
from typing import Final

from streams import record
from streams.errors import ConfigurationError
from streams.record import Partition
from streams.topics import TOPICS, Namespace, dlq

SOURCES: Final = tuple(name for name in TOPICS if dlq(name) in TOPICS)
"""Logical names of the topics that have dead letters."""

_PLACE: Final = re.compile(r"(?P<topic>[^\[\]@]+)\[(?P<partition>\d{1,9})\]@(?P<position>\d{1,18})")


class Place(record.Place):
    """Where a dead letter is: `tasks.dlq[0]@12`."""

    __slots__ = ()

    def shown(self, namespace: Namespace) -> str:
        """As people write it: without the namespace."""
        return f"{namespace.logical(self.source.topic)}[{self.source.index}]@{self.position}"


def parse_place(text: str, namespace: Namespace) -> Place:
    """`tasks.dlq[0]@12`, with or without the namespace. Raises `ConfigurationError`."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"not a position: {text!r}; write it as in tasks.dlq[0]@12")
    source = parse_topic(found["topic"], namespace)
    topic = found["topic"].removeprefix(f"{namespace.name}.")
    if topic == source:
        raise ConfigurationError(
            f"{text}: {topic} holds no dead letters; its own are on {dlq(topic)}, as in "
            f"{dlq(topic)}[0]@12"
        )
    full = namespace.topic(dlq(source))
    return Place(Partition(full, int(found["partition"])), int(found["position"]))


def parse_topic(text: str, namespace: Namespace) -> str:
    """The logical source topic of `tasks` or `tasks.dlq`. Raises `ConfigurationError`."""
    source = text.removeprefix(f"{namespace.name}.").removesuffix(".dlq")
    if source not in SOURCES:
        raise ConfigurationError(
            f"no topic {text!r} has dead letters; there are {', '.join(map(dlq, SOURCES))}"
        )
    return source
