"""Read models are proven by their rows: whatever order they were made in, and nothing else."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.databases import Database
from consumers.proving import Proof, prove_rows
from consumers.read_models import Entry, Generations, ReadModel, RowKeeper, Tables, catch_up
from streams.errors import LogError
from streams.memory import MemoryLog
from streams.memory.reader import MemoryLogReader
from streams.topics import TASKS, Namespace
from tests.consumers.read_models.models import CODEC, Senders, fill

RECORDS = 300
PARTITIONS = 4
_counter = itertools.count()


class Ground:
    """A log, and read models of it in one database."""

    def __init__(self, database: Database, namespace: str) -> None:
        self.namespace = Namespace(namespace)
        self.log = MemoryLog()
        self.log.provision(self.namespace)
        self.database = database
        for partition in range(PARTITIONS):
            numbers = range(partition * RECORDS, (partition + 1) * RECORDS)
            fill(self.log, self.namespace, numbers, partition=partition)
        self.reader = MemoryLogReader(self.log)

    def live(self, model: ReadModel) -> Generations:
        """Its rows up to the log's end."""
        generations = Generations(self.database, model, self.namespace.name)
        end = self.reader.ends([self.namespace.topic(TASKS)])
        assert catch_up(RowKeeper(generations, CODEC), self.reader, end)
        return generations

    def prove(self, generations: Generations, seed: int = 1) -> Proof:
        return prove_rows(generations, self.reader, CODEC, seed)


@pytest.fixture
def ground(tmp_path: Path, namespace: str) -> Ground:
    return Ground(Database(f"sqlite:///{tmp_path / 'live.sqlite'}"), namespace)


class Numbered(Senders):
    """Gives each sender a number, as they come."""

    name = "numbered"

    def __init__(self) -> None:
        super().__init__()
        numbers = sa.Column("number", sa.Integer, primary_key=True)
        sa.Table("names", self.tables, numbers, sa.Column("sender", sa.String(40)))

    def apply(self, connection: sa.Connection, tables: Tables, entries: Sequence[Entry]) -> None:
        names = tables["names"]
        known = set(connection.execute(sa.select(names.c.sender)).scalars())
        for _, envelope in entries:
            if envelope.sender not in known:
                known.add(envelope.sender)
                connection.execute(sa.insert(names).values(sender=envelope.sender))
        super().apply(connection, tables, entries)


class NumberedAside(Numbered):
    """The same; it says which of its columns mean nothing."""

    def content(self, tables: Tables) -> Mapping[str, sa.Select[Any]]:
        return {"names": sa.select(tables["names"].c.sender), "sent": sa.select(tables["sent"])}


class Stamped(Senders):
    """Stores something about each record that the record does not say."""

    name = "stamped"

    def __init__(self, stamp: Callable[[], object]) -> None:
        super().__init__()
        self.stamp = stamp

    def apply(self, connection: sa.Connection, tables: Tables, entries: Sequence[Entry]) -> None:
        super().apply(connection, tables, entries)
        record = entries[-1].record
        here = tables["sent"].c
        connection.execute(
            sa.update(tables["sent"])
            .where(here.partition == record.partition, here.position == record.position)
            .values(sender=str(self.stamp()))
        )


def test_rows_that_the_log_comes_to_hold(ground: Ground) -> None:
    """However their partitions take turns; the rows are counted."""
    generations = ground.live(Senders())
    for seed in range(3):
        proof = ground.prove(generations, seed)
        assert proof.holds, proof.faults
        assert proof.digest == proof.live_digest
        assert (proof.records, proof.counts) == (PARTITIONS * RECORDS, {"sent": proof.records})


def test_rows_are_proven_where_they_are_though_the_log_goes_on(ground: Ground) -> None:
    """What came later is not asked for."""
    generations = ground.live(Senders())
    fill(ground.log, ground.namespace, range(5_000, 5_010), partition=0)
    assert ground.prove(generations).holds


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sent: sa.update(sent).where(sent.c.position == 7).values(sender="nobody"),
        lambda sent: sa.delete(sent).where(sent.c.position == 7),
        lambda sent: sa.insert(sent).values(partition=9, position=7, sender="ghost"),
    ],
    ids=["changed", "gone", "made up"],
)
def test_a_row_behind_the_model_s_back_is_named(ground: Ground, spoil: Callable[..., Any]) -> None:
    """One of a thousand, changed, gone or made up: which, and on which side."""
    generations = ground.live(Senders())
    with ground.database.reading() as connection:
        tables = generations.tables(generations.live(connection).number)
    with ground.database.writing() as connection:
        connection.execute(spoil(tables["sent"]))
    proof = ground.prove(generations)
    assert not proof.holds
    for fault in proof.faults:
        assert (fault.kind, fault.where) == ("rows", "table sent")
        rows = [row for one in fault.differences for row in (one.one, one.other) if "7" in row]
        assert rows
    assert {fault.other for fault in proof.faults} == {"rebuilt", "rebuilt by turns"}


@pytest.mark.parametrize(
    "stamp", [time.time_ns, lambda: next(_counter)], ids=["wall clock", "counter"]
)
def test_rows_that_say_more_than_the_log_are_caught(
    ground: Ground, stamp: Callable[[], object]
) -> None:
    """A clock, or what a process remembers."""
    assert not ground.prove(ground.live(Stamped(stamp))).holds


def test_numbers_that_were_given_out_count_unless_the_content_leaves_them_out(
    ground: Ground,
) -> None:
    """Rebuilt in the same order they are the same, by turns they are not."""
    proof = ground.prove(ground.live(Numbered()), seed=3)
    assert [(fault.where, fault.other) for fault in proof.faults] == [
        ("table names", "rebuilt by turns")
    ]
    assert ground.prove(Generations(ground.database, NumberedAside(), ground.namespace.name)).holds


def test_no_rows_are_no_proof(ground: Ground) -> None:
    """It says how to get them."""
    generations = Generations(ground.database, Senders(), ground.namespace.name)
    with pytest.raises(LogError, match="projections run senders"):
        ground.prove(generations)
