"""One way to get a Kafka, whoever runs it. The same code and the same tests work on each.

| what the settings say | what `open_broker` does |
| --- | --- |
| `bootstrap_servers` | checks that it answers; never stops it |
| `broker = testcontainers` | starts a container, stops it at the end |
| else, `temporary` | starts an embedded Kafka with fresh data, deletes it at the end |
| else | finds or starts the named embedded Kafka; its last user stops it |

A named Kafka that was started with `agentlog broker start` stays until `agentlog broker stop`.

A schema registry comes the same way (`open_registry`): the one that `registry_url` names, else a
temporary embedded one, else the named one. No container: whoever has one names its URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from streams.brokers.apicurio import EmbeddedRegistry, RegistryInstance
from streams.brokers.containers import kafka_container
from streams.brokers.embedded import DEFAULT_NAME, EmbeddedKafka, Instance
from streams.brokers.probe import require_reachable
from streams.settings import Settings

Progress = Callable[[int, int], None]
"""`progress(done_bytes, total_bytes)` while the embedded Kafka is downloaded the first time."""


class Broker(Protocol):
    """A Kafka that answers."""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port,…`, as every Kafka client takes it."""
        ...


@dataclass(frozen=True, slots=True)
class OpenBroker:
    """A Kafka that answered when it was opened. `origin` says whose it is, for people."""

    bootstrap_servers: str
    origin: str


@contextmanager
def open_broker(
    settings: Settings,
    *,
    temporary: bool = False,
    name: str = DEFAULT_NAME,
    progress: Progress | None = None,
) -> Iterator[OpenBroker]:
    """A Kafka for the length of the block, as the settings choose it (see the table above).

    Raises `BrokerError` if there is none to be had, `ConfigurationError` if a package is missing.
    """
    if settings.bootstrap_servers is not None:
        require_reachable(settings.bootstrap_servers)
        yield OpenBroker(settings.bootstrap_servers, "external")
    elif settings.broker == "testcontainers":
        with kafka_container() as servers:
            yield OpenBroker(servers, "testcontainers")
    elif temporary:
        with EmbeddedKafka(progress=progress) as kafka:
            yield OpenBroker(kafka.bootstrap_servers, "embedded, temporary")
    else:
        instance = Instance.named(name)
        with instance.used():
            started = instance.start(keep=False, progress=progress)
            yield OpenBroker(started.state.bootstrap_servers, f"embedded, {name}")


@contextmanager
def open_registry(
    settings: Settings,
    *,
    temporary: bool = False,
    name: str = DEFAULT_NAME,
    progress: Progress | None = None,
) -> Iterator[str]:
    """The URL of a schema registry's Confluent API for the length of the block.

    One that the settings name is taken at its word. Raises `BrokerError` if there is none to be
    had, `ConfigurationError` if a package is missing.
    """
    if settings.registry_url is not None:
        yield settings.registry_url
    elif temporary:
        with EmbeddedRegistry(progress=progress) as registry:
            yield registry.url
    else:
        instance = RegistryInstance.named(name)
        with instance.used():
            yield instance.start(keep=False, progress=progress).state.url
