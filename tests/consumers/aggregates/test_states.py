"""One suite for both tables of states, in memory and on disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.aggregates import MemoryStates, StateTable, StreamState
from consumers.aggregates.rocks import RocksStates, rocks_states
from streams.errors import ConfigurationError
from streams.record import Partition

SOURCE = Partition("ns.commands", 3)


@pytest.fixture(params=["memory", "rocksdb"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateTable]:
    made: StateTable
    made = MemoryStates() if request.param == "memory" else rocks_states(tmp_path)(SOURCE)
    yield made
    made.close()


def test_a_table_gives_back_what_was_put_last(table: StateTable) -> None:
    """None for what nobody put."""
    assert table.get("a:1") is None
    table.put("a:1", StreamState.of(1, {"n": 1}))
    table.put("a:1", StreamState.of(2, {"n": [2, None, "ü"]}))
    held = table.get("a:1")
    assert held is not None
    assert (held.version, held.value()) == (2, {"n": [2, None, "ü"]})


def test_a_value_is_its_takers_own(table: StateTable) -> None:
    """Changing it changes nothing here."""
    table.put("a:1", StreamState.of(1, {"n": 1}))
    for _ in range(2):
        held = table.get("a:1")
        assert held is not None
        value = held.value()
        assert value == {"n": 1}
        value["n"] = 7


def test_items_come_by_id(table: StateTable) -> None:
    """As bytes order them, which is as code points do."""
    for name in ("b:2", "a:10", "a:ü", "a:1"):
        table.put(name, StreamState.of(1, name))
    assert [(name, state.value()) for name, state in table.items()] == [
        (name, name) for name in ("a:1", "a:10", "a:ü", "b:2")
    ]


def test_closing_forgets_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Twice does no harm; another table begins empty."""
    make = rocks_states(tmp_path)
    table = make(SOURCE)
    table.put("a:1", StreamState.of(1, 1))
    table.close()
    table.close()
    assert list(tmp_path.iterdir()) == []
    again = make(SOURCE)
    assert again.get("a:1") is None
    again.close()


def test_what_a_killed_process_left_is_deleted_and_nobody_elses(tmp_path: Path) -> None:
    """The next user of the folder tidies up; a table in use stays."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from consumers.aggregates.rocks import rocks_states\n"
        "from streams.record import Partition\n"
        "rocks_states(Path(sys.argv[1]))(Partition('t', 0)); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    assert len(list(tmp_path.iterdir())) == 1
    used = RocksStates(tmp_path, SOURCE)
    rocks_states(tmp_path)
    assert list(tmp_path.iterdir()) == [used._folder]
    used.close()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """Where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be kept in"):
        rocks_states(tmp_path / "file")
