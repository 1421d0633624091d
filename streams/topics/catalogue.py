"""The topic catalogue as data: every topic, its key, its partitions, what it keeps, what goes in.

Brokers are provisioned from it (`agentlog topics apply`), the Kubernetes resources are generated
from it, routing and replay name topics by it. Names here are logical; `Namespace` makes the full
ones. What to do where a cluster differs from it is decided in `streams.topics.provisioning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from streams.errors import ConfigurationError

RECORD_BYTES_MAX: Final = 1_048_588
"""`max.message.bytes` of the topics that agents write (Kafka's own default)."""
DLQ_EXTRA_BYTES: Final = 64 * 1024
"""Room for a dead letter's headers, on top of the original bytes."""

TASKS: Final = "tasks"
CHANNELS: Final = "channels"
INBOX: Final = "inbox"
REPLIES: Final = "replies"
EVENTS: Final = "events"
COMMANDS: Final = "commands"
CONTROL: Final = "control"
SNAPSHOTS: Final = "snapshots"
STATE: Final = "state"
REGISTRY: Final = "registry"
SCHEMAS: Final = "schemas"
JOURNAL: Final = "journal"

_APPEND_ONLY: Final = {
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(RECORD_BYTES_MAX),
}
_COMPACTED: Final = {
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "compact",
    "max.message.bytes": str(RECORD_BYTES_MAX),
}
_DEAD_LETTERS: Final = {
    **_APPEND_ONLY,
    "max.message.bytes": str(RECORD_BYTES_MAX + DLQ_EXTRA_BYTES),
}


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic as it should be.

    `payloads` says in a word which payload families or types it takes; `growable` is False where
    more partitions would tear a stream apart, so that `topics apply` refuses to grow it.
    """

    name: str
    """Logical name, without the namespace."""
    key: str
    """What the record key is, in words: what orders records here."""
    partitions: int
    config: Mapping[str, str]
    payloads: tuple[str, ...]
    growable: bool = True

    @property
    def compacted(self) -> bool:
        """A cache: no fold and no cut reads it."""
        return self.config["cleanup.policy"] == "compact"


_SOURCES: Final = (
    Topic(
        name=TASKS,
        key="correlation_id",
        partitions=8,
        config=_APPEND_ONLY,
        payloads=("agentlog.task.*", "agentlog.Json"),
    ),
    Topic(
        name=CHANNELS,
        key="channel_id",
        partitions=8,
        config=_APPEND_ONLY,
        payloads=("agentlog.chat.*",),
    ),
    Topic(name=INBOX, key="recipient", partitions=8, config=_APPEND_ONLY, payloads=("*",)),
    Topic(
        name=EVENTS,
        key="stream_id, else correlation_id, else sender",
        partitions=8,
        config=_APPEND_ONLY,
        payloads=("*",),
        growable=False,
    ),
    Topic(
        name=COMMANDS,
        key="stream_id",
        partitions=8,
        config=_APPEND_ONLY,
        payloads=("*",),
        growable=False,
    ),
)
"""What groups consume; each has its dead letters."""

_OTHERS: Final = (
    Topic(
        name=REPLIES,
        key="reply_to instance, else recipient",
        partitions=8,
        config=_APPEND_ONLY,
        payloads=("*",),
    ),
    Topic(
        name=CONTROL,
        key="session_id, else target",
        partitions=1,
        config=_APPEND_ONLY,
        payloads=("*",),
    ),
    Topic(
        name=SNAPSHOTS,
        key="stream_id",
        partitions=8,
        config=_APPEND_ONLY,
        payloads=("agentlog.snapshot.*",),
        growable=False,
    ),
    Topic(
        name=STATE, key="state key", partitions=1, config=_COMPACTED, payloads=("agentlog.state.*",)
    ),
    Topic(
        name=REGISTRY,
        key="group",
        partitions=1,
        config=_COMPACTED,
        payloads=("agentlog.agent.*",),
    ),
    Topic(
        name=SCHEMAS, key="schema id", partitions=1, config=_COMPACTED, payloads=("schema text",)
    ),
    Topic(
        name=JOURNAL,
        key="group + source topic-partition",
        partitions=4,
        config=_APPEND_ONLY,
        payloads=("agentlog.journal.*",),
    ),
)


def dlq(topic: str) -> str:
    """Name of a topic's dead letters; works on logical and on full names."""
    return f"{topic}.dlq"


def _dead_letters(source: Topic) -> Topic:
    return Topic(
        name=dlq(source.name),
        key="original key",
        partitions=1,
        config=_DEAD_LETTERS,
        payloads=source.payloads,
    )


TOPICS: Final[Mapping[str, Topic]] = MappingProxyType(
    {topic.name: topic for topic in (*_SOURCES, *_OTHERS, *map(_dead_letters, _SOURCES))}
)
"""Every topic by logical name."""

AGENT_TOPICS: Final = tuple(
    topic.name
    for topic in (*_SOURCES, *_OTHERS)
    if topic.name in {TASKS, CHANNELS, INBOX, REPLIES, EVENTS, COMMANDS, CONTROL}
)
"""Where agents' own envelopes go: what a tail shows and an import looks through by default."""


class Namespace(msgspec.Struct, frozen=True):
    """The prefix of every topic, group and transactional id of one deployment."""

    name: str

    def topic(self, logical: str) -> str:
        """Full name: `tasks` → `agentlog.tasks`."""
        return f"{self.name}.{logical}"

    def topics(self, logical: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Full names of these topics, or of the whole catalogue."""
        return tuple(self.topic(name) for name in (TOPICS if logical is None else logical))

    def logical(self, full: str) -> str:
        """The inverse of `topic`. Raises `ConfigurationError` for a name of another namespace."""
        if full not in self:
            raise ConfigurationError(f"topic {full} is not in namespace {self.name}")
        return full.removeprefix(f"{self.name}.")

    def __contains__(self, full: str) -> bool:
        return full.startswith(f"{self.name}.")

    def group(self, name: str) -> str:
        """Full name of a consumer group."""
        return f"{self.name}.{name}"

    def transactional_id(self, group: str, run: str) -> str:
        """Transactional id of one process run (a UUID) of a group, given its logical name."""
        return f"{self.name}.{group}.{run}"
