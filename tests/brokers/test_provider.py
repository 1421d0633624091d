"""`open_broker` chooses a Kafka, and stops only what it started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streams.brokers import open_broker, probe
from streams.brokers.embedded import Instance, instance
from streams.brokers.embedded.jars import install
from streams.brokers.embedded.lock import load_lock
from streams.brokers.probe import describe_cluster
from streams.errors import BrokerError, ConfigurationError
from streams.settings import Settings

pytestmark = pytest.mark.timeout(120)


def test_a_kafka_that_is_there_is_used_and_left_running(kafka: str) -> None:
    """`bootstrap_servers` wins over everything, and is not ours to stop."""
    with open_broker(Settings(bootstrap_servers=kafka), temporary=True) as broker:
        assert broker.bootstrap_servers == kafka
    assert describe_cluster(kafka, timeout_s=10) is not None


def test_a_kafka_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answered, and the three ways out."""
    monkeypatch.setattr(probe.require_reachable, "__kwdefaults__", {"timeout_s": 0.5})
    with (
        pytest.raises(BrokerError, match=r"no Kafka answers at 127\.0\.0\.1:1 .*unset"),
        open_broker(Settings(bootstrap_servers="127.0.0.1:1")),
    ):
        pass


def test_a_missing_testcontainers_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is optional: asking for it without it is a configuration error."""
    monkeypatch.setitem(sys.modules, "testcontainers.core.container", None)
    monkeypatch.delenv("AGENTLOG_BOOTSTRAP_SERVERS", raising=False)
    with (
        pytest.raises(ConfigurationError, match="pip install testcontainers"),
        open_broker(Settings(broker="testcontainers", bootstrap_servers=None)),
    ):
        pass


def test_a_missing_embedded_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So does the embedded Kafka without its extra."""
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'agentlog\[embedded\]'"):
        install(load_lock(), tmp_path)


def test_the_last_user_stops_a_broker_that_nobody_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs share the named broker: the first starts it, the last stops it; kept, it stays."""
    monkeypatch.setattr(instance, "data_home", lambda: tmp_path)
    settings, named = Settings(bootstrap_servers=None, broker="embedded"), Instance.named("shared")
    try:
        with open_broker(settings, name="shared") as first:
            with open_broker(settings, name="shared") as second:
                assert second.bootstrap_servers == first.bootstrap_servers
            assert named.find() is not None, "the inner user left, the outer one still needs it"
        assert named.find() is None

        with open_broker(settings, name="shared"):
            assert named.start(keep=True).found
        assert named.find() is not None, "`agentlog broker start` keeps it"
    finally:
        named.stop()
