"""The read model `agents`: where each agent was touched, and now and then what it had come to.

A record touches its sender and its recipients. `touches` has a row for each, by agent and
partition: its position, and with each `STEP`-th the state that this partition's records had brought
the agent to by then. `latest` has that state as of the last touch, to go on from. So the agent at
any cut is the merge, over the partitions, of the last state before it and of fewer than `STEP`
records each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import cbor2
import sqlalchemy as sa

from consumers.index.keys import TOPIC_NUMBERS
from consumers.projections import AgentState
from consumers.read_models import Entry, Tables
from streams.errors import DecodeError

STEP: Final = 8
"""Touches of an agent on a partition from one stored state to the next: what a question reads from
the log at most, for each partition."""
ASKED_MAX: Final = 500
"""Agents of one statement."""

_METADATA: Final = sa.MetaData()


def _key(name: str, kind: type[sa.Integer] = sa.Integer) -> sa.Column[int]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


sa.Table(
    "names",
    _METADATA,
    _key("number"),
    sa.Column("agent", sa.Text, nullable=False, unique=True),
)
sa.Table(
    "touches",
    _METADATA,
    _key("number"),
    _key("topic", sa.SmallInteger),
    _key("partition"),
    _key("position", sa.BigInteger),
    sa.Column("state", sa.LargeBinary),
    sqlite_with_rowid=False,
)
sa.Table(
    "latest",
    _METADATA,
    _key("number"),
    _key("topic", sa.SmallInteger),
    _key("partition"),
    sa.Column("touched", sa.BigInteger, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

_FOLD: Final = AgentState()


class AgentHistory:
    """The read model `agents`."""

    name: Final = "agents"
    version: Final = _FOLD.version
    topics: Final = _FOLD.topics
    tables: Final = _METADATA

    def apply(self, connection: sa.Connection, tables: Tables, entries: Sequence[Entry]) -> None:
        """The touches of some records of one partition."""
        record = entries[0].record
        place = TOPIC_NUMBERS[record.topic.partition(".")[2]], record.partition
        changes = list(_changes(entries))
        agents = sorted({agent for _, agent, _ in changes})
        numbers = _numbers(connection, tables["names"], agents)
        latest = _Latest(connection, tables["latest"], place, numbers)
        touches = []
        for position, agent, change in changes:
            stored = latest.add(agent, change)
            touches.append((numbers[agent], *place, position, stored))
        if touches:
            columns = [column.name for column in tables["touches"].columns]
            rows = [dict(zip(columns, touch, strict=True)) for touch in touches]
            connection.execute(sa.insert(tables["touches"]), rows)
        latest.write()

    def content(self, tables: Tables) -> Mapping[str, sa.Select[Any]]:
        """Agents by their names: their numbers are as they came."""
        names = tables["names"]

        def named(table: sa.Table) -> sa.Select[Any]:
            plain = [column for column in table.c if column.name != "number"]
            return sa.select(names.c.agent, *plain).join_from(
                table, names, table.c.number == names.c.number
            )

        return {name: named(tables[name]) for name in ("touches", "latest")}


def _changes(entries: Sequence[Entry]) -> Iterator[tuple[int, str, Any]]:
    """(position, agent, what the record makes of an agent that nothing is known of)."""
    for record, envelope in entries:
        try:
            change = _FOLD.apply({}, record, envelope)
        except DecodeError:
            continue  # a damaged payload: a replay passes over it, too
        for agent, state in change.items():
            yield record.position, agent, state


class _Latest:
    """The states that some agents have come to on one partition."""

    def __init__(
        self,
        connection: sa.Connection,
        table: sa.Table,
        place: tuple[int, int],
        numbers: dict[str, int],
    ) -> None:
        self._connection = connection
        self._table = table
        self._numbers = numbers
        self._here = (table.c.topic == place[0], table.c.partition == place[1])
        self._key = {"topic": place[0], "partition": place[1]}
        found = {
            row.number: row
            for some in _chunks(sorted(numbers.values()))
            for row in connection.execute(
                sa.select(table).where(*self._here, table.c.number.in_(some))
            )
        }
        self._known = set(found)
        self._states: dict[str, tuple[int, Any]] = {
            agent: (found[number].touched, cbor2.loads(found[number].state))
            for agent, number in numbers.items()
            if number in found
        }

    def add(self, agent: str, change: Any) -> bytes | None:
        """One more touch; the state after it, if it is to be kept."""
        touched, before = self._states.get(agent, (0, None))
        state = change if before is None else _FOLD.merge({agent: before}, {agent: change})[agent]
        self._states[agent] = touched + 1, state
        return cbor2.dumps(state) if (touched + 1) % STEP == 0 else None

    def write(self) -> None:
        """Keep all of them."""
        rows = [
            {
                **self._key,
                "number": self._numbers[agent],
                "touched": touched,
                "state": cbor2.dumps(state),
            }
            for agent, (touched, state) in self._states.items()
        ]
        known = [row["number"] for row in rows if row["number"] in self._known]
        for some in _chunks(known):
            gone = sa.delete(self._table).where(*self._here, self._table.c.number.in_(some))
            self._connection.execute(gone)
        if rows:
            self._connection.execute(sa.insert(self._table), rows)


def _numbers(connection: sa.Connection, names: sa.Table, agents: Sequence[str]) -> dict[str, int]:
    """The agents' numbers; those that are new get the next ones.

    Two members that do so at the same time collide on a key, and one of them begins anew.
    """
    found = {
        row.agent: row.number
        for some in _chunks(agents)
        for row in connection.execute(sa.select(names).where(names.c.agent.in_(some)))
    }
    if new := [agent for agent in agents if agent not in found]:
        query = sa.select(sa.func.coalesce(sa.func.max(names.c.number), 0))
        first = connection.execute(query).scalar_one() + 1
        found.update({agent: first + n for n, agent in enumerate(new)})
        rows = [{"number": found[agent], "agent": agent} for agent in new]
        connection.execute(sa.insert(names), rows)
    return found


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), ASKED_MAX):
        yield items[start : start + ASKED_MAX]
