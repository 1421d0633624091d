"""Folding one partition where it goes wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest

from consumers.projections import EVERYTHING, AgentState, Filters, Metrics
from consumers.projections.columnar import ColumnDecoder, Rows
from consumers.projections.partition_fold import ColumnFold, PartitionFold
from examples.change_history import ChangeHistory, State
from streams.envelope import IMPORT_SEQ, Envelope, Kind
from streams.errors import AgentlogError
from streams.identity import message_id
from streams.record import Record
from tests.consumers.projections.strategies import CODEC


def stored(position: int, **fields: Any) -> Record:
    """A finished task on the log, as an import puts it there."""
    given = {
        "type": "agentlog.task.TaskFinished",
        "payload": {"task_id": "t", "status": "completed", "result": None},
        "kind": Kind.TASK_RESULT,
        "id": message_id(position, "0" * 9),
        "sender": "ann",
        "correlation_id": "job",
        "created_at": 1,
        "headers": {IMPORT_SEQ: "1"},
        **fields,
    }
    return Record("ns.tasks", 0, position, 1, b"k", CODEC.encode(Envelope(**given)))


class Broken(ChangeHistory):
    """A fold with a mistake in it."""

    def on_task_result(self, state: State, record: Record, envelope: Envelope) -> None:
        state["by_status"]["no such thing"] += 1


def test_a_fold_that_raises_names_the_record_and_the_line() -> None:
    """It is the user's code: one sentence must be enough to find the mistake."""
    fold = PartitionFold(Broken(), CODEC)
    here = re.escape(__file__)
    with pytest.raises(AgentlogError, match=rf"ns\.tasks\[0\]@7: KeyError.*\({here}:\d+\)"):
        fold.add([stored(7)])


class BrokenInColumns(Metrics, frozen=True):
    """A columnar fold with a mistake in it."""

    def apply_rows(self, state: Any, rows: Rows, filters: Filters) -> Any:
        raise ZeroDivisionError("one too many")


def test_a_columnar_fold_that_raises_names_the_records() -> None:
    """They come by the thousand: the first and the last of them, and the line."""
    with ColumnDecoder(CODEC) as decoder:
        fold = ColumnFold(BrokenInColumns(), CODEC, EVERYTHING, decoder)
        fold.add([stored(7), stored(9)])
        with pytest.raises(AgentlogError, match=r"from ns\.tasks\[0\]@7 to 9: ZeroDivisionError"):
            fold.finish()


def test_a_fold_goes_on_from_a_state_and_a_tally() -> None:
    """As if it had never stopped, what could not be decoded included."""
    damaged = [Record("ns.tasks", 0, position, 1, b"k", b"?") for position in (3, 20)]
    first, whole = PartitionFold(AgentState(), CODEC), PartitionFold(AgentState(), CODEC)
    first.add([stored(1), damaged[0]])
    again = PartitionFold(AgentState(), CODEC, EVERYTHING, *first.finish())
    again.add([damaged[1], stored(21)])
    whole.add([stored(1), *damaged, stored(21)])
    assert again.finish() == whole.finish()
    assert again.tally.undecodable == 2
    assert "@3" in again.tally.first_undecodable


@pytest.mark.parametrize("result", ['"done"', "[1]", "null", "3"])
def test_the_example_takes_a_result_of_any_json(result: str) -> None:
    """Only objects say what was inserted."""
    fold = PartitionFold(ChangeHistory(), CODEC)
    payload = {"task_id": "t", "status": "completed", "result": result}
    fold.add([stored(0, payload=payload)])
    assert fold.finish()[0]["insertions_by_agent"] == {"ann": 0}


def test_an_event_time_beyond_the_calendar_can_be_shown() -> None:
    """One odd envelope must not make the state of all agents unreadable."""
    fold = PartitionFold(AgentState(), CODEC)
    fold.add([stored(0, created_at=2**62)])
    shown = AgentState().view(fold.finish()[0])
    assert shown["agents"]["ann"]["last_seen"] == "9999-12-31T23:59:59.999999Z"
