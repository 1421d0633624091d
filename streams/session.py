"""Sessions: what a process works with, composed from its settings.

    session = connect()
    async with session.publisher("agent-1") as publisher:
        await publisher.publish(Envelope(type="agentlog.Json", payload={"json": "{}"}))

`connect` starts the embedded Kafka where no other is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from streams.brokers.embedded import Instance
from streams.brokers.probe import require_reachable
from streams.brokers.provider import Progress
from streams.client import Client
from streams.errors import ConfigurationError
from streams.kafka.entries import Entries
from streams.kafka.publisher import DELIVERY_TIMEOUT_MS, Publisher
from streams.kafka.registry import Registry
from streams.kafka.replies import ReplyInbox, new_instance_name
from streams.kafka.schema_topic import SchemaTopic
from streams.ports import SchemaSource
from streams.registries import RegistryClient, RegistrySource
from streams.registries.numbering import numbered
from streams.registries.transport import READER
from streams.schemas import Catalogue, Codec
from streams.settings import Settings
from streams.state_access import SharedState
from streams.topics import Namespace

REQUEST_DELIVERY_TIMEOUT_MS: Final = 30_000
"""A client's publisher gives a record up sooner than others: somebody waits."""


@dataclass(frozen=True, slots=True)
class Session:
    """A Kafka that answered, a namespace on it, and the codec of its envelopes.

    The codec knows the catalogue's types, and asks the `schemas` topic for ids it does not know,
    then the registry if the settings name one.
    """

    settings: Settings
    bootstrap_servers: str
    namespace: Namespace
    codec: Codec

    def publisher(
        self,
        sender: str = "",
        *,
        delivery_timeout_ms: int = DELIVERY_TIMEOUT_MS,
        registered_only: bool = False,
    ) -> Publisher:
        """A publisher with the settings' bounds, for envelopes of `sender` unless they name one.

        A record that is not acknowledged within `delivery_timeout_ms` is reported as such. With
        `registered_only`, what goes to the inbox of an agent that no fleet has registered becomes
        a dead letter at once, and `Published` says so; otherwise it waits in the inbox.
        """
        return Publisher(
            self.bootstrap_servers,
            self.namespace,
            self.codec,
            sender=sender,
            pending_max=self.settings.publish_pending_max,
            pending_bytes_max=self.settings.publish_pending_bytes_max,
            record_bytes_max=self.settings.record_bytes_max,
            delivery_timeout_ms=delivery_timeout_ms,
            registry=(
                Registry(self.bootstrap_servers, self.namespace, self.codec)
                if registered_only
                else None
            ),
        )

    def client(self, sender: str) -> Client:
        """A client that asks other agents as `sender`, with a reply inbox of its own."""
        name = new_instance_name(sender)
        return Client(
            self.publisher(sender, delivery_timeout_ms=REQUEST_DELIVERY_TIMEOUT_MS),
            ReplyInbox(self.bootstrap_servers, self.namespace, self.codec, name),
        )

    def shared_state(self, agent: str) -> SharedState:
        """The agents' shared state, as `agent` reads and sets it."""
        entries = Entries(self.bootstrap_servers, self.namespace, self.codec)
        return SharedState(self.client(agent), entries)


def read_settings() -> Settings:
    """The environment's settings. Raises `ConfigurationError` that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"AGENTLOG_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigurationError(problems) from error


def load_catalogue(settings: Settings) -> Catalogue:
    """The built-in types and those of `AGENTLOG_SCHEMAS_DIR`."""
    return Catalogue.load(*([settings.schemas_dir] if settings.schemas_dir else []))


def schema_sources(bootstrap_servers: str, settings: Settings) -> list[SchemaSource]:
    """Where ids are looked up that no catalogue has: the `schemas` topic, then the registry if the
    settings name one. Asks neither yet.
    """
    topic = SchemaTopic(bootstrap_servers, Namespace(settings.namespace))
    client = _registry(settings)
    return [topic] if client is None else [topic, RegistrySource(client)]


def session_on(bootstrap_servers: str, settings: Settings) -> Session:
    """A session on a Kafka that is known to be there. Nothing is sent.

    Where the settings name a registry, it is asked for the ids that records are to carry.
    """
    namespace, catalogue = Namespace(settings.namespace), load_catalogue(settings)
    sources = schema_sources(bootstrap_servers, settings)
    client = _registry(settings)
    if client is not None:
        with client:
            catalogue = numbered(catalogue, client, namespace, sources[0])
    return Session(settings, bootstrap_servers, namespace, Codec(catalogue, sources))


def _registry(settings: Settings) -> RegistryClient | None:
    """The settings' registry, if they name one, asked as a reader of records asks."""
    return RegistryClient.open(settings, patience=READER) if settings.registry_url else None


def connect(
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    on_started: Callable[[str], None] = lambda servers: None,  # noqa: ARG005
) -> Session:
    """A session on `AGENTLOG_BOOTSTRAP_SERVERS`, else on the embedded Kafka.

    That one is started if it does not run, and stays (`agentlog broker stop` ends it);
    `on_started` is told where it is. Raises `BrokerError` if no broker answers,
    `ConfigurationError` if a setting or a schema file is wrong.
    """
    settings = settings or read_settings()
    if settings.bootstrap_servers is not None:
        require_reachable(settings.bootstrap_servers)
        return session_on(settings.bootstrap_servers, settings)
    started = Instance.named().start(keep=True, progress=progress)
    if not started.found:
        on_started(started.state.bootstrap_servers)
    return session_on(started.state.bootstrap_servers, settings)
