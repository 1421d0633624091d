"""Which groups there are: a name that is nobody's is told apart from a group that is well."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError
from streams.kafka.configs import ADMIN, SILENT
from streams.topics import Namespace

ANSWER_S_MAX: Final = 30.0


def known_groups(bootstrap_servers: str, namespace: Namespace) -> set[str]:
    """Full names of the namespace's groups that the broker knows. Raises `BrokerError`."""
    client = AdminClient({**ADMIN, "bootstrap.servers": bootstrap_servers}, logger=SILENT)
    try:
        answer = client.list_consumer_groups(request_timeout=ANSWER_S_MAX)
        listed = answer.result(ANSWER_S_MAX + 5).valid
    except (KafkaException, FutureTimeout) as error:
        raise BrokerError(f"{bootstrap_servers} does not tell its groups: {error}") from error
    return {group.group_id for group in listed if group.group_id in namespace}
