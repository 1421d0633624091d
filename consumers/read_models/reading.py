"""Reading a read model: one moment of the live generation, through every swap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from consumers.following import await_position, require_reads
from consumers.read_models.generations import Generation, Generations
from consumers.read_models.model import Tables
from streams.cuts import Cut
from streams.errors import BrokerError
from streams.record import Partition

R = TypeVar("R")

SWAPS_MAX: Final = 3
"""Times that a generation may be dropped under one read, before that counts as an error."""


class View(NamedTuple):
    """What a read sees: all of it is of one moment."""

    connection: sa.Connection
    tables: Tables
    generation: Generation
    cut: Cut | None
    """The rows hold exactly what is below it; None if nothing is stored yet."""


def read_live(generations: Generations, ask: Callable[[View], R]) -> R:
    """What `ask` returns, given a moment of the live generation. It may be asked again.

    Raises `LogError` if there is no live generation of this version.
    """
    for _ in range(SWAPS_MAX - 1):
        seen: Generation | None = None
        try:
            with generations.database.reading() as connection:
                seen = generations.live(connection)
                return ask(_view(generations, connection, seen))
        except (ProgrammingError, BrokerError):
            # PostgreSQL drops tables under a read that has not come to them yet.
            with generations.database.reading() as connection:
                if seen is None or generations.live(connection) == seen:
                    raise
    with generations.database.reading() as connection:
        return ask(_view(generations, connection, generations.live(connection)))


def wait_for_position(
    generations: Generations, source: Partition, position: int, timeout_s: float
) -> None:
    """Return when the live rows have what is at `position`: read your own writes.

    A command's answer has both (`streams.commands.Commanded`). Raises `LogError` after `timeout_s`
    seconds, and `ConfigurationError` for a topic that the model does not read.
    """
    name = f"read model {generations.model.name}"
    require_reads(generations.model.topics, source, name)

    def at() -> int:
        cut = read_live(generations, lambda view: view.cut)
        return cut.ends.get(source, 0) if cut is not None else 0

    await_position(at, position, timeout_s, name=name, source=source)


def _view(generations: Generations, connection: sa.Connection, seen: Generation) -> View:
    cut = generations.positions(connection, seen)
    return View(connection, generations.tables(seen.number), seen, cut)
