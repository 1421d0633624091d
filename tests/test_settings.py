"""Settings: what the environment may say, and what an empty variable means."""

from __future__ import annotations

import pytest

from streams.errors import ConfigurationError
from streams.session import read_settings


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`AGENTLOG_BOOTSTRAP_SERVERS= agentlog …` means the embedded Kafka."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", "")
    monkeypatch.setenv("AGENTLOG_NAMESPACE", "")
    settings = read_settings()
    assert (settings.bootstrap_servers, settings.namespace) == (None, "agentlog")


@pytest.mark.parametrize("name", ["Bad", "-x", "a_b", "x" * 64])
def test_a_wrong_namespace_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("AGENTLOG_NAMESPACE", name)
    with pytest.raises(ConfigurationError, match="AGENTLOG_NAMESPACE"):
        read_settings()
