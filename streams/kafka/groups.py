"""Groups as the broker knows them: which members each has now, and what each has committed."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
)
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError
from streams.kafka.configs import ADMIN, SILENT
from streams.record import Partition
from streams.topics import Namespace

ANSWER_S_MAX: Final = 30.0
"""Seconds within which the coordinators must have answered."""

_ASK_AGAIN_S: Final = 0.1
MOVING: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
"""A group's coordinator that is on its way elsewhere, or a transaction that is: ask again."""


class GroupMember(NamedTuple):
    """One member of a group, as its coordinator sees it."""

    group: str
    """Full name."""
    client_id: str
    host: str
    partitions: tuple[Partition, ...]
    """What it is assigned now."""


class CommittedPosition(NamedTuple):
    """What a group has committed of one partition."""

    position: int
    metadata: str


class GroupAdmin:
    """A namespace's groups. Every call may raise `BrokerError` if the cluster does not answer."""

    def __init__(self, bootstrap_servers: str, namespace: Namespace) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        # Held: a collected client cancels its futures.
        self._client = AdminClient({**ADMIN, "bootstrap.servers": bootstrap_servers}, logger=SILENT)

    def members(self, group: str | None = None) -> list[GroupMember]:
        """The members of one group (full name), or of all groups of the namespace."""
        names = self._groups() if group is None else [group]
        return [member for name in sorted(names) for member in self._members(name)]

    def committed(self, group: str | None = None) -> dict[str, dict[Partition, CommittedPosition]]:
        """What one group (full name), or each of the namespace, has committed; stable positions."""
        names = self._groups(also_empty=True) if group is None else [group]
        return {name: self._committed(name) for name in sorted(names)}

    def _committed(self, group: str) -> dict[Partition, CommittedPosition]:
        give_up_at_s = time.monotonic() + ANSWER_S_MAX
        while True:
            asked = self._client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)],
                require_stable=True,
                request_timeout=ANSWER_S_MAX,
            )
            try:
                found = self._result(asked[group]).topic_partitions
                for one in found:
                    if one.error is not None:
                        raise KafkaException(one.error)
            except KafkaException as error:
                if error.args[0].code() not in MOVING or time.monotonic() > give_up_at_s:
                    raise self._unanswered(error) from error
                time.sleep(_ASK_AGAIN_S)
            else:
                return {
                    Partition(one.topic, one.partition): CommittedPosition(
                        one.offset, one.metadata or ""
                    )
                    for one in found
                    if one.offset >= 0
                }

    def _groups(self, *, also_empty: bool = False) -> list[str]:
        asked = self._client.list_consumer_groups(request_timeout=ANSWER_S_MAX)
        try:
            found = self._result(asked)
        except KafkaException as error:
            raise self._unanswered(error) from error
        if found.errors:
            raise self._unanswered(found.errors[0])
        return [
            group.group_id
            for group in found.valid
            if group.group_id in self._namespace
            and (also_empty or group.state is not ConsumerGroupState.EMPTY)
        ]

    def _members(self, group: str) -> list[GroupMember]:
        give_up_at_s = time.monotonic() + ANSWER_S_MAX
        while True:
            asked = self._client.describe_consumer_groups([group], request_timeout=ANSWER_S_MAX)
            try:
                described = self._result(asked[group])
            except KafkaException as error:
                if error.args[0].code() not in MOVING or time.monotonic() > give_up_at_s:
                    raise self._unanswered(error) from error
                time.sleep(_ASK_AGAIN_S)
            else:
                break
        return [
            GroupMember(
                group,
                member.client_id,
                member.host.removeprefix("/"),
                tuple(
                    Partition(part.topic, part.partition)
                    for part in (member.assignment.topic_partitions if member.assignment else ())
                ),
            )
            for member in described.members
        ]

    def _result(self, future: Any) -> Any:
        try:
            return future.result(timeout=ANSWER_S_MAX + 5)
        except FutureTimeoutError as error:
            raise self._unanswered(error) from error

    def _unanswered(self, error: Exception) -> BrokerError:
        return BrokerError(f"Kafka at {self._servers} did not tell its groups: {error}")
