"""A read model to test with, and a log in memory to fill it from."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from consumers.read_models import Entry, Generations, Tables, View, read_live
from streams.envelope import Envelope, Kind
from streams.identity import message_id
from streams.memory import MemoryLog
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.topics import TASKS, Namespace

CODEC = Codec(Catalogue.load())


class Senders:
    """One row for each record: whose it was."""

    name, topics = "senders", (TASKS,)

    def __init__(self, version: int = 1, fails_at: int | None = None) -> None:
        self.version = version
        self.fails_at = fails_at
        self.tables = sa.MetaData()
        sa.Table(
            "sent",
            self.tables,
            sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("sender", sa.String(40), nullable=False),
            sa.Index("sent_by_sender", "sender"),
        )

    def apply(self, connection: sa.Connection, tables: Tables, entries: Sequence[Entry]) -> None:
        rows = []
        for record, envelope in entries:
            if record.position == self.fails_at:
                raise ZeroDivisionError("planted")
            rows.append((record.partition, record.position, envelope.sender))
        names = ("partition", "position", "sender")
        connection.execute(
            sa.insert(tables["sent"]), [dict(zip(names, row, strict=True)) for row in rows]
        )


def task(n: int) -> Envelope:
    return Envelope(
        type="agentlog.task.AssignTask",
        kind=Kind.TASK_ASSIGNMENT,
        payload={"task": {"id": f"task-{n}", "type": "t"}},
        id=message_id(n + 1, "abcdefghi"),
        sender=f"agent-{n % 7}",
        created_at=1_000_000 + n,
    )


def fill(log: MemoryLog, namespace: Namespace, numbers: range, *, partition: int = 0) -> None:
    """In one transaction, so that the partition ends in a marker."""
    producer = log.init_producer(f"tx-{partition}-{numbers.start}")
    for n in numbers:
        source = Partition(namespace.topic(TASKS), partition)
        log.append(source, b"k", CODEC.encode(task(n)), producer=producer)
    log.commit(producer)


def count(generations: Generations) -> int:
    """Rows of the live generation."""

    def ask(view: View) -> int:
        found = view.connection.execute(sa.select(sa.func.count()).select_from(view.tables["sent"]))
        return int(found.scalar_one())

    return read_live(generations, ask)
