"""How a command connects: as any process does, and a person sees what it starts."""

from __future__ import annotations

from consumers.cli.broker import download_progress
from consumers.cli.output import stderr
from streams.kafka.admin import TopicAdmin
from streams.session import Session
from streams.session import connect as connect_session


def connect() -> Session:
    """Connect to `AGENTLOG_BOOTSTRAP_SERVERS`, else to the embedded Kafka, started if need be.

    Raises `BrokerError` (exit code 3) if no broker answers.
    """
    with download_progress() as progress:
        return connect_session(progress=progress, on_started=_say)


def provide_topics(session: Session) -> None:
    """Create the namespace's missing topics, and say so. What is there is left as it is."""
    created = TopicAdmin(session.bootstrap_servers).provision(session.namespace)
    if created:
        stderr.print(f"created {len(created)} topics of namespace {session.namespace.name}")


def _say(servers: str) -> None:
    stderr.print(f"started the embedded Kafka on {servers}; `agentlog broker stop` ends it")
