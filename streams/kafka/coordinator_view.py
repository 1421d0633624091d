"""A member as its coordinator has it.

    python -m streams.kafka.coordinator_view SERVERS GROUP MEMBER

One JSON object on stdout; nothing, and exit code 1, if the coordinator does not answer or does not
know the member.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.kafka.configs import ADMIN, SILENT
from streams.record import Partition

ANSWER_S_MAX: Final = 10.0


class Given(msgspec.Struct, frozen=True):
    """What a coordinator says of one member."""

    assigned: frozenset[Partition]
    """What it was told to have; what it is to give up stays in it until it has."""
    target: frozenset[Partition]
    """What it is to have as soon as others let go of it."""


def look(bootstrap_servers: str, group: str, member_id: str) -> Given | None:
    """Ask the group's coordinator; None if it knows no such member."""
    admin = AdminClient({**ADMIN, "bootstrap.servers": bootstrap_servers}, logger=SILENT)
    asked = admin.describe_consumer_groups([group], request_timeout=ANSWER_S_MAX)
    for member in asked[group].result(ANSWER_S_MAX).members:
        if member.member_id == member_id and member.target_assignment is not None:
            return Given(_partitions(member.assignment), _partitions(member.target_assignment))
    return None


def _partitions(assignment: Any) -> frozenset[Partition]:
    parts = assignment.topic_partitions if assignment is not None else ()
    return frozenset(Partition(part.topic, part.partition) for part in parts)


def main(arguments: list[str]) -> int:
    """Print what was found."""
    try:
        found = look(*arguments)
    except (KafkaException, TimeoutError):
        found = None
    if found is None:
        return 1
    sys.stdout.write(msgspec.json.encode(found).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
