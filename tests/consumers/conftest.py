"""Databases that tests of what is kept in one run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.databases import Database
from tests.postgres import server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """One PostgreSQL for the whole run."""
    with server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database; on PostgreSQL tests are told apart by their namespaces."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'some.sqlite'}"
    found: str = request.getfixturevalue("postgres")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The database, open."""
    found = Database(url)
    yield found
    found.close()
