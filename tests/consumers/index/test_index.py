"""The index, filled from a log in memory: keys to positions, positions to outcomes.

In SQLite, and in PostgreSQL where it is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from consumers.databases import Database
from consumers.index import Ended, Index, Key, LogIndex, has_key
from consumers.journal import Ending, Outcome, PartitionCommit, Settled, journal_envelopes
from consumers.read_models import Generations, RowKeeper, catch_up, read_live
from streams.envelope import Envelope, Kind
from streams.headers import record_headers
from streams.identity import message_id
from streams.memory import MemoryLog
from streams.memory.reader import MemoryLogReader
from streams.record import Partition, Place
from streams.schemas import Catalogue, Codec
from streams.topics import JOURNAL, TASKS, Namespace
from streams.topics.routing import route

CODEC = Codec(Catalogue.load())


class Stage:
    """A log in memory and an index of it."""

    def __init__(self, database: Database, namespace: str) -> None:
        self.namespace = Namespace(namespace)
        self.log = MemoryLog()
        self.log.provision(self.namespace)
        self.reader = MemoryLogReader(self.log)
        self.generations = Generations(database, LogIndex(), self.namespace.name)
        self.tasks = Partition(self.namespace.topic(TASKS), 0)

    def append(self, envelope: Envelope, partition: int = 0) -> list[Place]:
        """Where it is routed to, all on one partition."""
        places = []
        for logical, key in route(envelope):
            source = Partition(self.namespace.topic(logical), partition)
            value, headers = CODEC.encode(envelope), record_headers(envelope)
            places.append(Place(source, self.log.append(source, key, value, tuple(headers))))
        return places

    def commit(
        self, group: str, first: int, last: int, endings: Sequence[tuple[int, Outcome, int | None]]
    ) -> None:
        settled = [
            Settled(
                position,
                1_000,
                1,
                Ending(outcome, "" if outcome is Outcome.HANDLED else "because"),
                delivery_ms=waited,
            )
            for position, outcome, waited in endings
        ]
        commit = PartitionCommit(self.tasks, first, last, settled)
        for made in journal_envelopes(self.namespace.group(group), commit, writer="w", now_us=5):
            self.append(made.with_(kind=Kind.EVENT))

    def ask(self, question: Any) -> Any:
        keeper = RowKeeper(self.generations, CODEC)
        topics = self.namespace.topics(LogIndex.topics)
        assert catch_up(keeper, self.reader, self.reader.ends(topics))
        return read_live(self.generations, lambda view: question(Index(view, self.namespace)))

    def positions(self, key: Key, *texts: str, limit: int = 100) -> list[Place]:
        found: list[Place] = self.ask(lambda index: index.positions(key, texts, limit))
        return found

    def outcomes(self, *positions: int) -> dict[int, list[Ended]]:
        places = [Place(self.tasks, position) for position in positions]
        found = self.ask(lambda index: index.outcomes(places))
        return {place.position: ended for place, ended in found.items()}

    def group(self, name: str) -> str:
        return self.namespace.group(name)


@pytest.fixture
def stage(database: Database, namespace: str) -> Stage:
    return Stage(database, namespace)


def envelope(n: int, **fields: Any) -> Envelope:
    return Envelope(
        type="agentlog.Json",
        kind=Kind.REQUEST,
        payload={"json": "{}"},
        id=message_id(n, "0" * 9),
        sender="asker",
        created_at=1,
        recipients=("worker",),
    ).with_(**fields)


def test_a_record_is_found_by_everything_that_it_is_known_by(stage: Stage) -> None:
    """Each key leads there and to nothing else; in an inbox only to its owner's records."""
    two = envelope(1, recipients=("a", "b"), correlation_id="c", causation_id="m", channel_id="x")
    places = stage.append(two)
    stage.append(envelope(2, correlation_id="other"))
    assert len(places) == 2
    for key, text in (
        (Key.ID, two.id),
        (Key.CORRELATION, "c"),
        (Key.CAUSATION, "m"),
        (Key.CHANNEL, "x"),
    ):
        assert stage.positions(key, text) == places
    assert stage.positions(Key.RECIPIENT, "b") == places[1:]
    assert len(stage.positions(Key.SENDER, "asker")) == 3
    assert stage.positions(Key.CORRELATION, "c", "other", limit=2) == places
    assert stage.positions(Key.CORRELATION, "nobody's") == []
    assert stage.positions(Key.ID, "c") == []


def test_records_that_share_a_hash_are_told_apart_by_reading_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a hash has four bits."""
    monkeypatch.setattr("consumers.index.keys.key_hash", lambda text: sum(text.encode()) & 0xF)
    placed = {f"c{n}": stage.append(envelope(n, correlation_id=f"c{n}"))[0] for n in range(64)}
    found = stage.positions(Key.CORRELATION, "c7")
    assert len(found) > 1
    mine = []
    for place in found:
        (record,) = next(iter(stage.reader.read(place.source, place.position, place.position + 1)))
        read = CODEC.decode(record.value, record.headers)
        if has_key(record, read, Key.CORRELATION, frozenset({"c7"})):
            mine.append(place)
    assert mine == [placed["c7"]]


def test_an_outcome_is_found_by_position_for_each_group(stage: Stage) -> None:
    """In the prefix and beyond it, in whichever order they were finished."""
    handled, skipped, dead = Outcome.HANDLED, Outcome.SKIPPED, Outcome.DEAD_LETTERED
    stage.commit("one", 0, 3, [(0, handled, 5), (1, skipped, 6), (2, handled, 40)])
    stage.commit("one", 3, 3, [(5, handled, 17)])
    stage.commit("one", 3, 6, [(3, handled, 8), (4, dead, None)])
    stage.commit("two", 0, 1, [(0, handled, 12)])
    found, one, two = stage.outcomes(*range(7)), stage.group("one"), stage.group("two")
    assert {at: [(it.group, it.outcome) for it in ended] for at, ended in found.items()} == {
        0: [(one, "handled"), (two, "handled")],
        1: [(one, "skipped")],
        2: [(one, "handled")],
        3: [(one, "handled")],
        4: [(one, "dead_lettered")],
        5: [(one, "handled")],
    }
    assert (found[5][0].waited_ms_min, found[5][0].waited_ms_max) == (17, 17)
    assert (found[0][1].waited_ms_min, found[0][1].waited_ms_max) == (12, 12)
    assert found[0][0].waited_ms_min == 5
    assert (found[0][0].waited_ms_max or 0) >= 40
    journal = found[4][0].journal
    batch = next(iter(stage.reader.read(journal.source, journal.position, journal.position + 1)))
    payload = CODEC.decode(batch[0].value).payload
    assert [one["reason"] for one in payload["exceptions"]] == ["because"]


def test_runs_that_overlap_hide_no_outcome(stage: Stage) -> None:
    """At least once, a commit may be in the journal again with other neighbours."""
    handled = Outcome.HANDLED
    stage.commit("one", 0, 20, [(n, handled, 1) for n in range(20)])
    stage.commit("one", 10, 13, [(n, handled, 1) for n in range(10, 13)])
    assert sorted(stage.outcomes(5, 11, 15)) == [5, 11, 15]


def test_what_is_in_flight_has_no_outcome(stage: Stage) -> None:
    """Though what came after it has."""
    stage.commit("one", 0, 0, [(4, Outcome.HANDLED, 1), (5, Outcome.HANDLED, 1)])
    assert list(stage.outcomes(0, 3, 4, 6)) == [4]


def test_a_journal_that_nobody_can_read_is_passed_over(stage: Stage) -> None:
    """Runs that `encode_runs` never writes, and topics that are not in the catalogue."""
    stage.commit("one", 0, 1, [(0, Outcome.HANDLED, 1)])
    source = Partition(stage.namespace.topic(JOURNAL), 0)
    (batch,) = stage.reader.read(source, 0, 1)
    good = CODEC.decode(batch[0].value, batch[0].headers)
    for change in (
        {"finished": [{"outcome": "handled", "runs": [7]}]},
        {"topic": stage.namespace.topic("elsewhere")},
    ):
        bad = good.with_(payload={**good.payload, **change}, id=message_id(9, "x" * 9))
        stage.append(bad)
    assert list(stage.outcomes(0, 7)) == [0]
