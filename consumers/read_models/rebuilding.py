"""Rebuilding a read model beside the live one.

1. Take the generation that is being built, or begin one.
2. Fill it up to the log's end as it is now. A crash leaves it as it is; the next rebuild goes on.
3. Make it live, in one transaction, if it is not behind the live one; else once more from 2.
4. Drop the tables of the one before. A crash before that leaves them to the next rebuild.

Whoever reads meanwhile reads the live generation as it is, and finds the new one after the swap.
"""

from __future__ import annotations

from typing import Final

import msgspec

from consumers.projections.partition_fold import Tally
from consumers.read_models.catching_up import OnProgress, catch_up
from consumers.read_models.generations import Generations
from consumers.read_models.rows import RowKeeper
from streams.cuts import Cut
from streams.errors import LogError
from streams.ports import LogReader
from streams.schemas import Codec
from streams.topics import Namespace

ROUNDS_MAX: Final = 20
"""Times that a rebuild tries to catch up with members that keep the live generation."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did."""

    generation: int
    cut: Cut
    """It holds everything below it, at least."""
    resumed: bool
    """Whether it went on with what an earlier one had begun."""
    tally: Tally
    """What this one wrote."""
    dropped: int
    """Generations that were dropped."""


def rebuild(
    generations: Generations,
    *,
    reader: LogReader,
    namespace: Namespace,
    codec: Codec,
    on_progress: OnProgress | None = None,
) -> Rebuilt:
    """Build a new generation and make it live.

    Raises `LogError` if the log has lost its beginning, or if it cannot catch up.
    """
    model = generations.model
    topics = namespace.topics(model.topics)
    _require_whole(reader, topics)
    _discard_other_log(generations, reader.ends(topics))
    building = generations.ensure_building()
    with generations.database.reading() as connection:
        resumed = generations.positions(connection, building) is not None
    keeper = RowKeeper(generations, codec, generation=building)
    for _ in range(ROUNDS_MAX):
        cut = reader.ends(topics)
        catch_up(keeper, reader, cut, on_progress=on_progress)
        if generations.swap(building):
            dropped = generations.drop_retired()
            return Rebuilt(building.number, cut, resumed, keeper.tally, dropped)
    raise LogError(
        f"the rebuild of {model.name} is still behind the live rows after {ROUNDS_MAX} rounds; "
        "run it again, it goes on where it is"
    )


def _require_whole(reader: LogReader, topics: tuple[str, ...]) -> None:
    for source, start in reader.starts(topics).items():
        if start > 0:
            raise LogError(
                f"{source} begins at {start}: what was below is gone, so its rows cannot be "
                "rebuilt; its topic must keep everything (retention.ms=-1)"
            )


def _discard_other_log(generations: Generations, log: Cut) -> None:
    """What a rebuild had begun on another log is of no use."""
    building = generations.ensure_building()
    with generations.database.reading() as connection:
        begun = generations.positions(connection, building)
    if begun is None:
        return
    known = {name: log.topic_ids.get(name) for name in begun.topic_ids}
    if begun.cluster_id != log.cluster_id or begun.topic_ids != known:
        generations.discard_building()
