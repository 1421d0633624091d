"""Provisioning: what must change on a cluster for its topics to be those of the catalogue.

Pure: the topics as they should be and as they are go in, a `Plan` comes out. Shells read the one
and carry out the other (`streams.kafka.admin`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from streams.topics import TOPICS, Namespace, Topic

REPLICATION_MAX: Final = 3


class ActualTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as a cluster has it, by full name; `config` holds every setting, set or default."""

    name: str
    partitions: int
    config: Mapping[str, str]
    topic_id: str = ""


class CreateTopic(msgspec.Struct, frozen=True, tag="create"):
    """Make a topic that is missing."""

    topic: str
    partitions: int
    replication: int
    config: Mapping[str, str]

    def __str__(self) -> str:
        return f"create {self.topic}: {self.partitions} partitions, replication {self.replication}"


class GrowPartitions(msgspec.Struct, frozen=True, tag="grow"):
    """Add partitions. The topic is keyed, so keys move: order holds only from then on."""

    topic: str
    before: int
    after: int

    def __str__(self) -> str:
        return (
            f"grow {self.topic} from {self.before} to {self.after} partitions (its keys move "
            "to other partitions: drain its groups first)"
        )


class AlterConfig(msgspec.Struct, frozen=True, tag="alter"):
    """Set configs that differ; `changes` maps a name to (before, after)."""

    topic: str
    changes: Mapping[str, tuple[str | None, str]]

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {old} → {new}" for name, (old, new) in self.changes.items())
        return f"alter {self.topic}: {shown}"


Action = CreateTopic | GrowPartitions | AlterConfig


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, what was found that we leave alone, and why the plan may not be carried out."""

    actions: tuple[Action, ...] = ()
    warnings: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    """Differences that nobody should mend by machine; a plan with one is not applied."""
    extra: tuple[str, ...] = ()
    """Topics in the namespace that the catalogue does not know: reported, never touched."""

    @property
    def in_sync(self) -> bool:
        """The cluster is as the catalogue says (extra topics aside)."""
        return not (self.actions or self.refusals)

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "in_sync": self.in_sync,
            "actions": [msgspec.to_builtins(action) for action in self.actions],
            "warnings": list(self.warnings),
            "refusals": list(self.refusals),
            "extra": list(self.extra),
        }


def replication_for(brokers: int) -> int:
    """Copies of each partition on a cluster of this many brokers: all of them, at most three."""
    return max(1, min(REPLICATION_MAX, brokers))


def desired_config(topic: Topic, replication: int) -> dict[str, str]:
    """A topic's config on such a cluster: with three copies, two must have a write."""
    return {**topic.config, "min.insync.replicas": "2" if replication >= 3 else "1"}


def plan(
    namespace: Namespace,
    actual: Iterable[ActualTopic],
    *,
    replication: int,
    catalogue: Mapping[str, Topic] = TOPICS,
) -> Plan:
    """What makes the namespace's topics those of the catalogue; others are not looked at."""
    found = {topic.name: topic for topic in actual if topic.name in namespace}
    wanted = {namespace.topic(topic.name): topic for topic in catalogue.values()}
    actions: list[Action] = []
    warnings: list[str] = []
    refusals: list[str] = []
    for full, topic in wanted.items():
        config = desired_config(topic, replication)
        have = found.get(full)
        if have is None:
            actions.append(CreateTopic(full, topic.partitions, replication, config))
            continue
        if have.partitions < topic.partitions:
            grow = GrowPartitions(full, have.partitions, topic.partitions)
            if topic.growable:
                actions.append(grow)
                warnings.append(str(grow))
            else:
                refusals.append(_refusal(full, have.partitions, topic))
        elif have.partitions > topic.partitions:
            warnings.append(
                f"{full} has {have.partitions} partitions, the catalogue says "
                f"{topic.partitions}: Kafka cannot take partitions away; left as it is"
            )
        changes = {
            name: (have.config.get(name), value)
            for name, value in config.items()
            if have.config.get(name) != value
        }
        if changes:
            actions.append(AlterConfig(full, changes))
    return Plan(
        actions=tuple(actions),
        warnings=tuple(warnings),
        refusals=tuple(refusals),
        extra=tuple(sorted(found.keys() - wanted.keys())),
    )


def _refusal(full: str, before: int, topic: Topic) -> str:
    return (
        f"{full} has {before} partitions, the catalogue says {topic.partitions}: growing it would "
        "continue streams on other partitions than they began on, away from the writer that owns "
        "them; copy it into a new namespace instead"
    )
