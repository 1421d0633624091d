"""Topics on a cluster: read them, and carry out a plan. confluent-kafka's admin client.

The client is held for as long as the object lives: one that is garbage-collected cancels what it
has under way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from streams.errors import BrokerError, ConfigurationError
from streams.kafka.configs import ADMIN, SILENT
from streams.topics import TOPICS, Namespace, Topic
from streams.topics.provisioning import (
    Action,
    ActualTopic,
    AlterConfig,
    CreateTopic,
    GrowPartitions,
    Plan,
    plan,
    replication_for,
)

ANSWER_S_MAX: Final = 30.0
"""Seconds within which the controller must have answered."""

_POLL_S: Final = 0.02
_T = TypeVar("_T")


class TopicAdmin:
    """A cluster's topics. Every call may raise `BrokerError` if the cluster does not answer."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._client = AdminClient({**ADMIN, "bootstrap.servers": bootstrap_servers}, logger=SILENT)

    def brokers(self) -> int:
        """How many brokers there are."""
        return len(self._cluster().nodes)

    def cluster_id(self) -> str:
        """The cluster's id, which a cut carries."""
        return str(self._cluster().cluster_id)

    def topics(self, namespace: Namespace) -> tuple[ActualTopic, ...]:
        """The namespace's topics as they are, ids and configs included."""
        names = sorted(name for name in self._names() if name in namespace)
        if not names:
            return ()
        described = self._each(self._client.describe_topics(TopicCollection(names)))
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        configs = {
            resource.name: entries
            for resource, entries in self._each(self._client.describe_configs(resources)).items()
        }
        return tuple(
            ActualTopic(
                name=name,
                partitions=len(described[name].partitions),
                config={
                    entry.name: entry.value
                    for entry in configs[name].values()
                    if entry.value is not None
                },
                topic_id=str(described[name].topic_id),
            )
            for name in names
        )

    def plan(self, namespace: Namespace, catalogue: Mapping[str, Topic] = TOPICS) -> Plan:
        """What would make the namespace's topics those of the catalogue."""
        return plan(
            namespace,
            self.topics(namespace),
            catalogue=catalogue,
            replication=replication_for(self.brokers()),
        )

    def apply(self, todo: Plan) -> None:
        """Carry out a plan; returns when the topics are there. Doing it twice does no harm.

        Raises `ConfigurationError`, having done nothing, if the plan has refusals.
        """
        if todo.refusals:
            raise ConfigurationError("; ".join(todo.refusals))
        self._create([action for action in todo.actions if isinstance(action, CreateTopic)])
        self._grow([action for action in todo.actions if isinstance(action, GrowPartitions)])
        self._alter([action for action in todo.actions if isinstance(action, AlterConfig)])

    def provision(
        self, namespace: Namespace, catalogue: Mapping[str, Topic] = TOPICS
    ) -> tuple[Action, ...]:
        """Create what is missing of the namespace's topics, and change nothing else.

        Returns what was created. For commands and tests that may be the first to come.
        """
        todo = self.plan(namespace, catalogue)
        missing = tuple(action for action in todo.actions if isinstance(action, CreateTopic))
        self._create(missing)
        return missing

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics by full name, with all that is on them; absent ones are no error."""
        wanted = list(names)
        if wanted:
            self._each(
                self._client.delete_topics(wanted),
                harmless=frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART}),
            )

    def _create(self, wanted: Iterable[CreateTopic]) -> None:
        new = [
            NewTopic(
                action.topic,
                num_partitions=action.partitions,
                replication_factor=action.replication,
                config=dict(action.config),
            )
            for action in wanted
        ]
        if new:
            self._each(
                self._client.create_topics(new),
                harmless=frozenset({KafkaError.TOPIC_ALREADY_EXISTS}),
            )
            self._await({topic.topic: 1 for topic in new})

    def _grow(self, wanted: Iterable[GrowPartitions]) -> None:
        new = [NewPartitions(action.topic, action.after) for action in wanted]
        if new:
            self._each(self._client.create_partitions(new))
            self._await({topic.topic: topic.new_total_count for topic in new})

    def _alter(self, wanted: Iterable[AlterConfig]) -> None:
        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                action.topic,
                incremental_configs=[
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, (_, value) in action.changes.items()
                ],
            )
            for action in wanted
        ]
        if resources:
            self._each(self._client.incremental_alter_configs(resources))

    def _await(self, partitions: Mapping[str, int]) -> None:
        """Wait until these topics have so many partitions, and the leader of each serves it.

        The controller answers before that; who publishes or reads at once would be sent away.
        """
        give_up_at_s = time.monotonic() + ANSWER_S_MAX
        while not self._served(partitions):
            if time.monotonic() > give_up_at_s:
                raise BrokerError(
                    f"Kafka at {self._servers} took the topics {', '.join(sorted(partitions))} "
                    f"but has no leaders for them after {ANSWER_S_MAX:g} s"
                )
            time.sleep(_POLL_S)

    def _served(self, partitions: Mapping[str, int]) -> bool:
        known = self._metadata().topics
        if any(
            name not in known or len(known[name].partitions) < count
            for name, count in partitions.items()
        ):
            return False
        # Only the leader itself answers for offsets; metadata names it before it knows.
        asked = {
            TopicPartition(name, index): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for name in partitions
            for index in known[name].partitions
        }
        answers = self._client.list_offsets(asked, request_timeout=ANSWER_S_MAX)
        return all(future.exception(timeout=ANSWER_S_MAX) is None for future in answers.values())

    def _names(self) -> list[str]:
        return list(self._metadata().topics)

    def _metadata(self) -> ClusterMetadata:
        try:
            return self._client.list_topics(timeout=ANSWER_S_MAX)
        except KafkaException as error:
            raise self._unanswered(error) from error

    def _cluster(self) -> Any:
        return self._wait(self._client.describe_cluster())

    def _each(
        self, futures: Mapping[Any, Future[_T]], harmless: frozenset[int] = frozenset()
    ) -> dict[Any, _T]:
        """The answer per subject. A harmless error's subject is left out."""
        answers: dict[Any, _T] = {}
        for subject, future in futures.items():
            try:
                answers[subject] = self._wait(future)
            except KafkaException as error:
                if error.args[0].code() not in harmless:
                    raise BrokerError(f"{subject}: {error.args[0].str()}") from error
        return answers

    def _wait(self, future: Future[_T]) -> _T:
        try:
            return future.result(timeout=ANSWER_S_MAX)
        except FutureTimeoutError as error:
            raise self._unanswered(error) from error
        except KafkaException as error:
            if error.args[0].code() in _SILENCE:
                raise self._unanswered(error) from error
            raise

    def _unanswered(self, error: Exception) -> BrokerError:
        return BrokerError(f"Kafka at {self._servers} did not answer: {error}; is it running?")


# The client spells the codes of its own errors with an underscore.
_SILENCE: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)
