"""The state store by itself, without a log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from consumers.projections import AgentState, Metrics
from consumers.state_store import Change, Row, SqlStateStore, Stored, live_snapshot
from streams.record import Partition

TOGETHER = 8


def test_members_that_start_together_on_a_fresh_database_all_get_it(tmp_path: Path) -> None:
    """Each finds the table missing; only one can make it, and none may fail for that."""
    for attempt in range(10):
        ready = Barrier(TOGETHER)
        url = f"sqlite:///{tmp_path / f'{attempt}.sqlite'}"

        def start(ready: Barrier = ready, url: str = url) -> None:
            ready.wait(10)
            SqlStateStore(url).close()

        with ThreadPoolExecutor(TOGETHER) as pool:
            for started in [pool.submit(start) for _ in range(TOGETHER)]:
                started.result()


def test_a_store_says_which_projections_it_has(tmp_path: Path) -> None:
    """By name and version, of one namespace, whoever's code they are."""
    store = SqlStateStore(f"sqlite:///{tmp_path / 'states.sqlite'}")
    for fold, topic in ((AgentState(), "a.tasks"), (AgentState(version=2), "a.tasks")):
        for index in range(2):
            row = Row(Partition(topic, index), "id", "cluster", 3, b"\xa0")
            assert store.save(fold, [Change(None, row)])
    elsewhere = Row(Partition("ab.tasks", 0), "id", "cluster", 3, b"\xa0")
    assert store.save(Metrics(), [Change(None, elsewhere)])
    assert store.stored("a.") == [Stored("state", 1), Stored("state", 2)]
    assert store.stored("ab.") == [Stored("metrics", 1)]
    store.close()


def test_a_snapshot_has_the_rows_that_it_was_merged_from(tmp_path: Path) -> None:
    """Of the same moment."""
    store = SqlStateStore(f"sqlite:///{tmp_path / 'states.sqlite'}")
    rows = [Row(Partition("a.tasks", n), "id", "cluster", n + 1, b"\xa0") for n in range(3)]
    assert store.save(AgentState(), [Change(None, row) for row in rows])
    found = live_snapshot(store, AgentState(), ["a.tasks"])
    assert sorted(found.rows) == rows
    assert found.cut.ends == {row.source: row.position for row in rows}
    store.close()
