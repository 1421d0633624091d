"""The proof of one read model: its live rows are what the log comes to, in any order.

Rows have no digest of their own and may not fit in memory. Each becomes a hash, and falls by it
into one of many buckets; a bucket is the count of its rows and the sum of their hashes, whatever
order they come in. The rows of buckets that differ are then read again, and are few.

Numbers that a model gives out as it goes (who came first has the lowest) are nothing that the log
says: such a model has a `content`, which says the same without them.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import sqlalchemy as sa
from msgspec.structs import replace

from consumers.databases import Database
from consumers.folds import OnProgress
from consumers.projections.partition_fold import Tally
from consumers.proving.faults import VALUE_CHARACTERS_MAX, Fault, Shown
from consumers.proving.proof import Proof
from consumers.read_models import Generations, ReadModel, RowKeeper, Tables, View, catch_up
from consumers.read_models.reading import read_live
from streams.cuts import Cut
from streams.digest import canonical
from streams.errors import LogError
from streams.ports import LogReader
from streams.schemas import Codec

BUCKETS: Final = 4_096
"""Of each table."""
FETCHED: Final = 5_000
"""Rows that are asked for at once."""
SHOWN_MAX: Final = 5
"""Rows that are shown of each side of a table."""
PIECES_MAX: Final = 4
"""Pieces that each partition is applied in, between those of others."""


@runtime_checkable
class HasContent(Protocol):
    """A read model whose tables have numbers of their own."""

    def content(self, tables: Tables) -> Mapping[str, sa.Select[Any]]:
        """What its tables say without them, by table."""
        ...


class Print(NamedTuple):
    """The rows of one table, in so many buckets: how many, and the sum of their hashes."""

    counts: tuple[int, ...]
    sums: tuple[int, ...]

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self.counts)

    def differs(self, other: Print) -> frozenset[int]:
        """Buckets that are not the same."""
        mine, theirs = zip(*self, strict=True), zip(*other, strict=True)
        return frozenset(n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)


class Rows(NamedTuple):
    """What a read model's tables hold, and up to where."""

    cut: Cut
    prints: Mapping[str, Print]
    """By table."""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, whatever order it came in."""
        said = {name: [one.counts, one.sums] for name, one in self.prints.items()}
        return f"sha256:{hashlib.sha256(canonical(said)).hexdigest()}"


def prove_rows(
    generations: Generations,
    reader: LogReader,
    codec: Codec,
    seed: int,
    on_progress: OnProgress = lambda passed, total: None,  # noqa: ARG005
) -> Proof:
    """Live = rebuilt in order = rebuilt in pieces of partitions that take turns.

    The rebuilt rows are in a database of their own, and end where the live ones do. Raises
    `LogError` if there are no live rows, or they are of another log.
    """
    began, model = time.monotonic(), generations.model
    live = read_live(generations, lambda view: _printed(model, view))
    size = sum(live.cut.ends.values())
    orders = {"rebuilt": [live.cut], "rebuilt by turns": _pieces(live.cut, random.Random(seed))}
    tally, digests = Tally(), []
    faults: list[Fault] = []
    for turn, (name, pieces) in enumerate(orders.items()):
        with _elsewhere(generations) as other:
            keeper = RowKeeper(other, codec, generation=other.ensure_live())
            for piece in pieces:
                catch_up(keeper, reader, piece)
                on_progress(turn * size + keeper.tally.records, 2 * size)
            rows = read_live(other, lambda view: _printed(model, view))
            faults += _faults(generations, live, other, rows, name)
        tally = keeper.tally
        digests.append(rows.digest)
    return Proof(
        name=model.name,
        kind="read_model",
        cut=live.cut,
        digest=digests[0],
        live_digest=live.digest,
        records=tally.records,
        undecodable=tally.undecodable,
        counts={name: one.rows for name, one in live.prints.items()},
        faults=tuple(faults),
        seconds=time.monotonic() - began,
    )


@contextmanager
def _elsewhere(generations: Generations) -> Iterator[Generations]:
    """The same model in an empty database of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="agentlog-prove-") as folder,
        closing(Database(f"sqlite:///{Path(folder) / 'rows.sqlite'}")) as database,
    ):
        yield Generations(database, generations.model, generations.namespace)


def _pieces(cut: Cut, drawn: random.Random) -> Iterator[Cut]:
    """Ends that each partition comes to, a piece of one after a piece of another."""
    steps = []
    for source, end in cut:
        between = [drawn.randint(0, end) for _ in range(drawn.randrange(PIECES_MAX))]
        steps.append([(source, one) for one in sorted({*between, end})])
    while steps:
        here = drawn.randrange(len(steps))
        source, end = steps[here].pop(0)
        yield replace(cut, ends={source: end})
        if not steps[here]:
            del steps[here]


def _content(model: ReadModel, tables: Tables) -> Mapping[str, sa.Select[Any]]:
    if isinstance(model, HasContent):
        return model.content(tables)
    return {name: sa.select(table) for name, table in tables.items()}


def _printed(model: ReadModel, view: View) -> Rows:
    if view.cut is None:
        raise LogError(
            f"read model {model.name} has no rows here yet; `agentlog projections run "
            f"{model.name}` keeps them"
        )
    prints = {}
    for name, query in _content(model, view.tables).items():
        counts, sums = [0] * BUCKETS, [0] * BUCKETS
        for row in _rows(view, query):
            hashed = _hash(row)
            bucket = hashed % BUCKETS
            counts[bucket] += 1
            sums[bucket] += hashed
        prints[name] = Print(tuple(counts), tuple(sums))
    return Rows(view.cut, prints)


def _rows(view: View, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    streamed = view.connection.execution_options(yield_per=FETCHED)
    return (tuple(row) for row in streamed.execute(query))


def _hash(row: Sequence[Any]) -> int:
    said = [bytes(one) if isinstance(one, memoryview) else one for one in row]
    return int.from_bytes(hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).digest())


def _faults(
    generations: Generations, live: Rows, others: Generations, rows: Rows, name: str
) -> Iterator[Fault]:
    """The tables that differ, and the first rows that only one side has."""
    for table, here in live.prints.items():
        there = rows.prints[table]
        buckets = here.differs(there)
        if not buckets:
            continue
        detail = f"{here.rows:,} rows live, {there.rows:,} {name}"
        cut, mine = _rows_in(generations, table, buckets)
        _, theirs = _rows_in(others, table, buckets)
        only_live, only_there = (
            sorted((a - b).elements()) for a, b in ((mine, theirs), (theirs, mine))
        )
        if cut != live.cut:
            only_live, only_there = [], []
            detail += "; the live ones have moved on, prove again while nobody writes to see which"
        yield Fault(
            kind="rows",
            where=f"table {table}",
            detail=detail,
            one="live",
            other=name,
            differences=(
                *(Shown("a row", row, "nothing") for row in only_live[:SHOWN_MAX]),
                *(Shown("a row", "nothing", row) for row in only_there[:SHOWN_MAX]),
            ),
            more=sum(max(0, len(some) - SHOWN_MAX) for some in (only_live, only_there)),
        )


def _rows_in(
    generations: Generations, table: str, buckets: frozenset[int]
) -> tuple[Cut | None, Counter[str]]:
    """The rows of some buckets, as text, and up to where they are."""

    def ask(view: View) -> tuple[Cut | None, Counter[str]]:
        query = _content(generations.model, view.tables)[table]
        rows = (row for row in _rows(view, query) if _hash(row) % BUCKETS in buckets)
        return view.cut, Counter(repr(row)[:VALUE_CHARACTERS_MAX] for row in rows)

    return read_live(generations, ask)
