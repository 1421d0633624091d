"""pytest fixtures for tests on a real Kafka, ours and yours.

    # conftest.py
    pytest_plugins = ["streams.brokers.fixtures"]

`kafka` is one broker for the whole run; `namespace` keeps tests apart on it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from streams.brokers.provider import open_broker
from streams.settings import Settings


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of one broker for the whole run, chosen as in production.

    `AGENTLOG_BOOTSTRAP_SERVERS` or `AGENTLOG_BROKER=testcontainers` if set; else a fresh embedded
    Kafka whose data is deleted at the end, even if the run is killed.
    """
    with open_broker(Settings(), temporary=True) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def namespace() -> str:
    """A fresh namespace, so that tests share the broker and nothing on it."""
    return f"test-{secrets.token_hex(6)}"
