"""The lock decides what runs."""

from __future__ import annotations

import pytest

from streams.brokers.embedded.lock import load_lock, parse_lock, render_lock
from streams.brokers.embedded.relock import ROOTS
from streams.errors import ConfigurationError


def test_the_committed_lock_is_what_relock_would_write() -> None:
    """Its roots are those of relock.py and its text is canonical, so that diffs are reviewable."""
    lock = load_lock()
    assert lock.roots == ROOTS
    assert parse_lock(render_lock(lock)) == lock


def test_the_lock_names_what_is_locked_and_nothing_of_where_it_came_from() -> None:
    """Coordinates, sizes, digests; no hosts, no paths."""
    lock = load_lock()
    assert "://" not in render_lock(lock)
    assert {"kafka_2.13-4.3.1.jar", "kafka-tools-4.3.1.jar"} <= {j.filename for j in lock.jars}
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in lock.jars)


@pytest.mark.parametrize("text", ["", "{}", '{"jars": 1}', "[]"])
def test_a_broken_lock_says_how_to_get_it_back(text: str) -> None:
    """A lock that is none is a configuration error that names the command."""
    with pytest.raises(ConfigurationError, match="relock"):
        parse_lock(text)
