"""Kafka in a container, by testcontainers: for those who have a Docker engine and want it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streams.brokers.embedded.lock import load_lock
from streams.brokers.embedded.node import broker_settings
from streams.brokers.embedded.ports import assign_ports
from streams.brokers.probe import describe_cluster
from streams.errors import BrokerError, ConfigurationError

READY_TIMEOUT_S = 120.0


def container_environment(host: str, port: int) -> dict[str, str]:
    """The environment of the `apache/kafka` image: our broker settings, spelled its way. Pure.

    The port is the same inside and outside, because Kafka tells clients where to find it.
    """
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners": f"CLIENT://:{port},CONTROLLER://:9093",
        "advertised.listeners": f"CLIENT://{host}:{port}",
        **broker_settings(nodes=1),
    }
    return {f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in settings.items()}


@contextmanager
def kafka_container() -> Iterator[str]:
    """Start a container of the same Kafka version; yields its bootstrap servers, then removes it.

    Raises `ConfigurationError` without the package, `BrokerError` without an engine that works.
    """
    try:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise ConfigurationError(
            "AGENTLOG_BROKER=testcontainers needs the package testcontainers: run "
            "`pip install testcontainers`, or unset it to use the embedded Kafka"
        ) from error
    image = f"apache/kafka:{load_lock().kafka_version}"
    (node,) = assign_ports(1, first_port=None, last_run=())
    try:
        container: Any = DockerContainer(image).with_bind_ports(node.port, node.port)
        host: str = container.get_container_host_ip()
        for name, value in container_environment(host, node.port).items():
            container.with_env(name, value)
        container.start()
    except Exception as error:  # docker, requests and testcontainers raise unrelated types
        raise BrokerError(
            f"no container of {image} could be started ({error}): start a Docker engine, or unset "
            "AGENTLOG_BROKER to use the embedded Kafka"
        ) from error
    try:
        servers = f"{host}:{node.port}"
        _wait_ready(servers, image)
        yield servers
    finally:
        container.stop()


def _wait_ready(servers: str, image: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while describe_cluster(servers, timeout_s=2) is None:
        if time.monotonic() >= deadline:
            raise BrokerError(
                f"the container of {image} did not answer at {servers} within "
                f"{READY_TIMEOUT_S:g} s: look at `docker logs`"
            )
