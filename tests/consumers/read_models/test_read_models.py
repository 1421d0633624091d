"""Read models by themselves, on a log in memory: SQLite, and PostgreSQL where it is installed."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy as sa

from consumers.databases import Database
from consumers.following import Move
from consumers.read_models import (
    Generations,
    RowKeeper,
    catch_up,
    read_live,
    rebuild,
    wait_for_position,
)
from streams.errors import AgentlogError, ConfigurationError, LogError
from streams.memory import MemoryLog
from streams.memory.reader import MemoryLogReader
from streams.record import Partition
from streams.topics import TASKS, Namespace
from tests.consumers.read_models.models import CODEC, Senders, count, fill


class Stage:
    """A log with tasks, and the generations of a model of it."""

    def __init__(self, database: Database, namespace: str) -> None:
        self.namespace = Namespace(namespace)
        self.log = MemoryLog()
        self.log.provision(self.namespace)
        self.reader = MemoryLogReader(self.log)
        self.database = database
        self.generations = self.of(Senders())
        self.source = Partition(self.namespace.topic(TASKS), 0)

    def of(self, model: Senders) -> Generations:
        return Generations(self.database, model, self.namespace.name)

    def keeper(self, generations: Generations | None = None) -> RowKeeper:
        return RowKeeper(generations or self.generations, CODEC)

    def fill(self, numbers: range, partition: int = 0) -> None:
        fill(self.log, self.namespace, numbers, partition=partition)

    def catch_up(self, generations: Generations | None = None) -> RowKeeper:
        keeper = self.keeper(generations)
        assert catch_up(keeper, self.reader, self.reader.ends([self.namespace.topic(TASKS)]))
        return keeper

    def rebuild(self, generations: Generations | None = None, **options: object) -> object:
        return rebuild(
            generations or self.generations,
            reader=self.reader,
            namespace=self.namespace,
            codec=CODEC,
            **options,  # type: ignore[arg-type]
        )

    def table_names(self) -> set[str]:
        with self.database.reading() as connection:
            return set(sa.inspect(connection).get_table_names())


@pytest.fixture
def stage(database: Database, namespace: str) -> Stage:
    return Stage(database, namespace)


def test_every_record_is_in_the_rows_once_whoever_writes_them(stage: Stage) -> None:
    """In several goes, by several keepers, past the markers of transactions."""
    stage.fill(range(30))
    stage.fill(range(30, 50), partition=1)
    assert stage.catch_up().tally.records == 50
    assert count(stage.generations) == 50
    assert stage.catch_up().tally.records == 0
    stage.fill(range(50, 60))
    assert stage.catch_up().tally.records == 10
    assert count(stage.generations) == 60
    cut = read_live(stage.generations, lambda view: view.cut)
    assert cut is not None
    assert {source: end for source, end in cut if end} == {
        source: end for source, end in stage.reader.ends([stage.source.topic]) if end
    }


def test_a_zombie_changes_no_row(stage: Stage) -> None:
    """Whoever comes with an old position writes neither rows nor positions, not even others'."""
    stage.fill(range(10))
    stage.fill(range(10, 20), partition=1)
    other = Partition(stage.source.topic, 1)
    log = stage.reader.ends([stage.source.topic])
    zombie = stage.keeper()
    for source in (stage.source, other):
        assert zombie.load(source, log) is None
        for batch in stage.reader.read(source, 0, log.ends[source]):
            zombie.fold(source, batch)
    live = stage.keeper()
    live.load(stage.source, log)
    for batch in stage.reader.read(stage.source, 0, 5):
        live.fold(stage.source, batch)
    assert live.store([Move(stage.source, None, 5)], log)
    assert not zombie.store([Move(other, None, 11), Move(stage.source, None, 11)], log)
    assert count(stage.generations) == 5
    assert zombie.load(stage.source, log) == 5
    assert not live.store([Move(stage.source, 3, 11)], log)
    stage.catch_up()
    assert count(stage.generations) == 20


def test_a_rebuild_takes_the_place_of_what_was_live(stage: Stage) -> None:
    """The old tables go; a member that still writes to them goes on in the new ones."""
    stage.fill(range(20))
    member = stage.catch_up()
    before = member.generation
    log = stage.reader.ends([stage.source.topic])
    at = member.load(stage.source, log)
    done = stage.rebuild()
    assert count(stage.generations) == 20
    assert not [name for name in stage.table_names() if name.endswith(f"_g{before.number}")]
    stage.fill(range(20, 25))
    log = stage.reader.ends([stage.source.topic])
    for batch in stage.reader.read(stage.source, at or 0, log.ends[stage.source]):
        member.fold(stage.source, batch)
    # Its position is the new generation's, too: nothing is missing there, so it may go on.
    if not member.store([Move(stage.source, at, log.ends[stage.source])], log):
        assert member.load(stage.source, log) == at
    assert member.load(stage.source, log) is not None
    assert member.generation.number == done.generation  # type: ignore[attr-defined]
    stage.catch_up()
    assert count(stage.generations) == 25


def test_a_rebuild_that_was_killed_goes_on_where_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And reads see nothing of it until it is done."""
    stage.fill(range(1_200))  # more than one fetch of the log in memory
    stage.fill(range(1_200, 1_300), partition=3)
    stage.catch_up()
    monkeypatch.setattr("consumers.read_models.catching_up.WRITE_S", 0.0)

    def killed(passed: int, total: int) -> None:
        if passed >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.rebuild(on_progress=killed)
    assert count(stage.generations) == 1_300
    done = stage.rebuild()
    assert done.resumed  # type: ignore[attr-defined]
    assert 0 < done.tally.records < 1_300  # type: ignore[attr-defined]
    assert count(stage.generations) == 1_300


def test_rows_of_another_version_are_not_read_but_rebuilt(stage: Stage) -> None:
    """Until then the old program reads what it knows; afterwards it says what is wrong."""
    stage.fill(range(10))
    stage.catch_up()
    newer = stage.of(Senders(version=2))
    with pytest.raises(LogError, match=r"stored as version 1.* has version 2.*rebuild senders"):
        count(newer)
    with pytest.raises(LogError, match="stored as version 1"):
        stage.catch_up(newer)
    stage.rebuild(newer)
    assert count(newer) == 10
    with pytest.raises(LogError, match="stored as version 2"):
        count(stage.generations)


def test_rows_of_another_log_are_not_mixed_with_this_one(stage: Stage) -> None:
    """A topic that was made anew is told apart; a rebuild begins again, whatever was begun."""
    stage.fill(range(10))
    stage.catch_up()
    stage.generations.ensure_building()
    stage.log.create_topic(stage.source.topic, 8)
    stage.fill(range(3))
    with pytest.raises(LogError, match=r"deleted and made anew.*rebuild senders"):
        stage.catch_up()
    stage.rebuild()
    assert count(stage.generations) == 3


def test_what_the_log_has_lost_is_not_rebuilt(stage: Stage) -> None:
    """A generation without its beginning would never be noticed."""
    stage.fill(range(10))
    stage.catch_up()
    stage.log.remove_before(stage.source, 5)
    with pytest.raises(LogError, match=r"tasks\[0\] begins at 5"):
        stage.rebuild()
    assert count(stage.generations) == 10


def test_a_model_that_raises_is_named_with_the_records_and_writes_nothing(stage: Stage) -> None:
    """Neither rows nor position: it can be mended and run again."""
    stage.fill(range(10))
    broken = stage.of(Senders(fails_at=7))
    with pytest.raises(AgentlogError, match=r"senders failed on records .*tasks\[0\]@0 to 9: Zero"):
        stage.catch_up(broken)
    assert count(stage.generations) == 0
    stage.catch_up()
    assert count(stage.generations) == 10


def test_what_cannot_be_decoded_is_counted_named_and_passed_over(stage: Stage) -> None:
    """The rows of the others are there, and nothing stays in memory."""
    stage.fill(range(3))
    stage.log.append(stage.source, b"k", b"no envelope")
    stage.log.append(stage.source, b"k", None)
    stage.fill(range(3, 5))
    keeper = stage.catch_up()
    assert (keeper.tally.records, keeper.tally.undecodable) == (7, 2)
    assert keeper.tally.first_undecodable.startswith(f"{stage.source}@4: ")
    assert (keeper._records, keeper._bytes) == (0, 0)
    assert count(stage.generations) == 5


def test_a_catch_up_that_has_no_time_keeps_what_it_has(stage: Stage) -> None:
    """And says that it is not done."""
    stage.fill(range(10))
    stage.fill(range(10, 20), partition=1)
    cut = stage.reader.ends([stage.source.topic])
    assert not catch_up(stage.keeper(), stage.reader, cut, deadline=0.0)
    assert catch_up(stage.keeper(), stage.reader, cut, deadline=time.monotonic() + 60)
    assert count(stage.generations) == 20


def test_a_model_without_rows_says_how_to_get_them(stage: Stage) -> None:
    """Before anybody has kept it."""
    with pytest.raises(LogError, match="no rows here yet; `agentlog projections run senders`"):
        count(stage.generations)


def test_whoever_knows_a_position_reads_what_is_there(stage: Stage) -> None:
    """Not before the rows have it; a model that nobody keeps is named."""
    stage.fill(range(10))
    stage.generations.ensure_live()
    with pytest.raises(LogError, match=r"senders is at 0 on .*is `agentlog projections run` runn"):
        wait_for_position(stage.generations, stage.source, 9, 0.1)
    with pytest.raises(ConfigurationError, match="does not read"):
        wait_for_position(stage.generations, Partition("local.journal", 0), 0, 0.1)
    stage.catch_up()
    wait_for_position(stage.generations, stage.source, 9, 10)


def test_reads_never_stop_and_never_go_back(stage: Stage) -> None:
    """While generations are built, swapped and dropped, and records come in."""
    stage.fill(range(100))
    stage.catch_up()
    stop, seen, errors = threading.Event(), [100], []

    def read() -> None:
        try:
            while not stop.is_set():
                seen.append(count(stage.generations))
        except Exception as error:  # noqa: BLE001  # raised below, in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for n in range(1, 6):
            stage.fill(range(n * 100, (n + 1) * 100))
            stage.catch_up()
            stage.rebuild()
    finally:
        stop.set()
        thread.join(30)
    assert not errors
    assert seen == sorted(seen)
    assert len(seen) > 5
    assert count(stage.generations) == 600


def test_two_members_that_catch_up_at_once_write_every_row_once(stage: Stage) -> None:
    """Who was slower finds the position moved, and goes on behind the other."""
    for partition in range(4):
        stage.fill(range(partition * 300, partition * 300 + 300), partition=partition)
    errors = []

    def work() -> None:
        try:
            stage.catch_up()
        except Exception as error:  # noqa: BLE001  # raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert count(stage.generations) == 1_200
