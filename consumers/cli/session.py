"""What a command works with: settings, a Kafka that answers, the catalogue and its codec."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from consumers.cli.broker import download_progress
from consumers.cli.output import stderr
from streams.brokers.embedded import Instance
from streams.brokers.probe import require_reachable
from streams.errors import ConfigurationError
from streams.kafka.schema_topic import SchemaTopic
from streams.schemas import Catalogue, Codec
from streams.settings import Settings
from streams.topics import Namespace


@dataclass(frozen=True, slots=True)
class Session:
    """One command's connections. `codec` falls back to the `schemas` topic for unknown ids."""

    settings: Settings
    bootstrap_servers: str
    namespace: Namespace
    codec: Codec


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


def connect() -> Session:
    """Connect to `AGENTLOG_BOOTSTRAP_SERVERS`, else to the embedded Kafka, started if need be.

    Raises `BrokerError` (exit code 3) if no broker answers.
    """
    settings = read_settings()
    servers = settings.bootstrap_servers
    if servers is not None:
        require_reachable(servers)
    else:
        servers = _embedded()
    namespace = Namespace(settings.namespace)
    source = SchemaTopic(servers, namespace)
    return Session(settings, servers, namespace, Codec(load_catalogue(settings), [source]))


def _embedded() -> str:
    instance = Instance.named()
    with download_progress() as progress:
        started = instance.start(keep=True, progress=progress)
    if not started.found:
        stderr.print(
            f"started the embedded Kafka on {started.state.bootstrap_servers}; "
            "`agentlog broker stop` ends it"
        )
    return started.state.bootstrap_servers
