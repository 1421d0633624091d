"""A broker that does not start says why, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.brokers.embedded.diagnosis import explain_death, is_port_taken
from streams.brokers.embedded.node import ClusterLayout, Node

LAYOUT = ClusterLayout(Path("/home/me/x"), (Node(1, 9092, 9093),))


def _explain(*lines: str) -> str:
    return explain_death(LAYOUT, LAYOUT.nodes[0], lines, Path("/logs/server.log"), "start")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Caused by: java.net.BindException: Address already in use", "port 9092 or 9093"),
        ("java.io.IOException: No space left on device", "the disk is full at /home/me/x"),
        ("java.nio.file.AccessDeniedException: /home", "make it writable"),
        ("Failed to acquire lock on file .lock in /data", "another Kafka already runs"),
        ("OpenJDK: Native memory allocation (mmap): insufficient memory", "not enough memory"),
    ],
)
def test_a_known_reason_is_named_with_the_way_out(line: str, said: str) -> None:
    """Ports, disk, permissions, a second Kafka, memory; the log is always named."""
    sentence = _explain("INFO starting", line, "    at java.base/x.y(Z.java:1)")
    assert said in sentence
    assert "/logs/server.log" in sentence


def test_an_unknown_reason_quotes_the_last_meaningful_lines() -> None:
    """Stack frames and chatter are left out."""
    sentence = _explain(
        "INFO all well", "ERROR Exiting Kafka due to fatal exception", "    at kafka.Kafka.main"
    )
    assert "Exiting Kafka due to fatal exception" in sentence
    assert "kafka.Kafka.main" not in sentence
    assert "all well" not in sentence


def test_a_death_without_a_word_still_names_the_log() -> None:
    """Killed before it said anything."""
    assert "it said nothing" in _explain()


def test_only_a_taken_port_is_worth_another_try() -> None:
    """The one failure that other ports can cure."""
    assert is_port_taken(["x", "java.net.BindException: Address already in use"])
    assert not is_port_taken(["No space left on device"])
