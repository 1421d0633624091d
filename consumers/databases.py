"""Databases: SQLite beside the process, PostgreSQL in production, through SQLAlchemy.

A `reading` sees one moment of the database however many statements it has; a `writing` is one
transaction that holds the write lock from its first statement on (SQLite), so that nothing it has
read changes before it commits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from streams.errors import BrokerError, ConfigurationError

LOCK_WAIT_S_MAX: Final = 30
"""Seconds that SQLite waits for another writer before the database counts as unreachable."""
PROVIDE_ATTEMPTS_MAX: Final = 5
"""Times that tables are tried to be made while others make the same."""

_SQLITE_PRAGMAS: Final = (
    "synchronous=NORMAL",  # with a WAL nothing is torn; what is lost is folded from the log again
    "cache_size=-65536",  # KiB: an index's pages are touched at random
    "temp_store=MEMORY",
    "wal_autocheckpoint=10000",  # pages: the same page is written many times before
)
_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class Database:
    """One database, as `sqlite:///file.sqlite` or `postgresql://user@host/name`. Thread-safe.

    Raises `BrokerError` where it cannot be reached, `ConfigurationError` for a URL that is none, or
    whose driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            parsed = sa.make_url(url)
            parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
            self.is_sqlite = parsed.get_backend_name() == "sqlite"
            if self.is_sqlite and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            options = {"timeout": LOCK_WAIT_S_MAX} if self.is_sqlite else {}
            self._engine = sa.create_engine(parsed, connect_args=options)
            if self.is_sqlite:
                sa.event.listen(self._engine, "connect", _prepare)
                sa.event.listen(self._engine, "begin", _begin)
            with self._engine.connect():
                pass
        except ArgumentError as error:
            raise ConfigurationError(f"{url!r} names no database: {error}") from error
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"no driver for {url}: {error}; PostgreSQL's is in agentlog[postgres]"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise BrokerError(f"no database at {url}: {error}") from error

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection whose statements all see the same moment."""
        with self._answered("does not answer"), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection whose statements take effect together, or, if this raises, not at all."""
        with self._answered("does not take writes"), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def provide(self, *tables: sa.Table) -> None:
        """Create the tables that are missing; others may be doing the same just now."""
        for attempt in range(PROVIDE_ATTEMPTS_MAX):
            try:
                with self.writing() as connection:
                    for table in tables:
                        # In one statement. Even so, PostgreSQL may find it made meanwhile.
                        connection.execute(CreateTable(table, if_not_exists=True))
                        for index in table.indexes:
                            connection.execute(CreateIndex(index, if_not_exists=True))
            except (IntegrityError, ProgrammingError):
                if attempt + 1 == PROVIDE_ATTEMPTS_MAX:
                    raise
            else:
                return

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _answered(self, problem: str) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise BrokerError(f"the database at {self.url} {problem}: {error.orig}") from error


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin` says when: the driver's own way begins too late
    with suppress(Exception):
        # Locked: somebody is just doing the same. Anything else, the first statement says too.
        connection.execute("PRAGMA journal_mode=WAL")
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
