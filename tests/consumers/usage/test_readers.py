"""Who reads a type and which of its fields: at least what is read, from the source alone."""

from __future__ import annotations

import pytest

from consumers.usage import Reader, ReaderKind, builtin_readers, reader_of, writers_in
from streams.errors import ConfigurationError
from streams.schemas import Catalogue
from tests.consumers.usage import code

CODE = "tests.consumers.usage.code"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def fields(readers: tuple[Reader, ...], name: str) -> dict[str, set[str]]:
    """By type, what one reader touches."""
    (found,) = (one for one in readers if one.name == name)
    return {reads.type: set(reads.fields) for reads in found.reads}


ERROR = {"error", "error.code", "error.details", "error.message"}
METRICS = {"metrics", "metrics.cpu_used", "metrics.execution_time", "metrics.memory_used"}
TOUCHED = {
    "nested": {"task.deadline", "task.priority", "task.id"},
    "branches": {"result", "status", "error.code", "metrics.cpu_used", "artifacts"},
    "loops": {"artifacts", "metrics", "result", *ERROR},
    "envelope": {"task_id"},
    "matching": {"error.message"},
    "followed": {*ERROR, "task_id", "metrics.execution_time"},
    "returned": {"error.message"},
    "recursive": {"status", "task_id"},
    "starred": {*ERROR, *METRICS},
    "nothing": set(),
}


@pytest.mark.parametrize("name", TOUCHED)
def test_the_fields_that_a_handler_touches_are_found(catalogue: Catalogue, name: str) -> None:
    """Through names, functions, methods and closures, in any branch."""
    found = fields(reader_of(f"{CODE}:app", catalogue), name)
    assert found == {code.ASSIGN if name == "nested" else code.FINISHED: TOUCHED[name]}


@pytest.mark.parametrize("name", ["whole", "computed", "handed_on"])
def test_what_the_source_does_not_tell_counts_as_all_fields(
    catalogue: Catalogue, name: str
) -> None:
    """And where the payload went is said."""
    readers = reader_of(f"{CODE}:app", catalogue)
    (found,) = (one for one in readers if one.name == name)
    (reads,) = found.reads
    assert reads.whole
    lost = [f"json.dumps (tests/consumers/usage/code.py:{line_of('json.dumps(payload)')})"]
    assert list(reads.lost) == (lost if name == "handed_on" else [])


def line_of(text: str) -> int:
    with open(code.__file__) as source:  # noqa: PTH123 - a test's own file
        return next(n for n, line in enumerate(source, 1) if text in line)


def test_a_reader_says_where_it_is(catalogue: Catalogue) -> None:
    nested = reader_of(f"{CODE}:app", catalogue)[0]
    assert (nested.kind, nested.owner, nested.topics) == (ReaderKind.HANDLER, "reading", ("tasks",))
    assert nested.place == f"tests/consumers/usage/code.py:{line_of('@app.on(ASSIGN)')}"


def test_a_condition_on_type_or_kind_tells_types_apart(catalogue: Catalogue) -> None:
    """In ifs, early returns, matches, tables; a fold reads what it touches and nothing else."""
    (fold,) = reader_of(f"{CODE}:narrowed", catalogue)
    assert fields((fold,), "apply") == {
        code.ASSIGN: {"task.id"},
        code.POSTED: {"content"},
        code.FINISHED: {"status"},
        code.STATUS: {"agent_status"},
    }
    assert fields(reader_of(f"{CODE}:everything", catalogue), "on_any") == {
        code.FINISHED: {"status"}
    }


def test_read_models_and_aggregates_are_readers(catalogue: Catalogue) -> None:
    assert fields(reader_of(f"{CODE}:rows", catalogue), "apply") == {
        code.FINISHED: {"task_id"},
        code.ASSIGN: {"task.type"},
    }
    command, event = reader_of(f"{CODE}:tasks", catalogue)
    assert (command.kind, command.name, command.topics) == (
        ReaderKind.COMMAND,
        "advance",
        ("commands",),
    )
    assert fields((command,), "advance") == {"agentlog.task.AdvanceTask": {"step"}}
    assert fields((event,), "advanced") == {"agentlog.task.TaskAdvanced": {"step"}}


def test_what_has_no_source_is_said_to_be_unknown(catalogue: Catalogue) -> None:
    (found,) = reader_of(f"{CODE}:unreadable", catalogue)
    assert not found.is_readable
    reads = found.of(code.FINISHED)
    assert reads is not None
    assert reads.whole


def test_what_reads_nothing_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(ConfigurationError, match="is a str: no app, projection, read model"):
        reader_of(f"{CODE}:ASSIGN", catalogue)


def test_our_own_readers_are_found(catalogue: Catalogue) -> None:
    """What the projections fold and the aggregates decide on."""
    readers = builtin_readers(catalogue)
    touched = {(one.owner, reads.type): set(reads.fields) for one in readers for reads in one.reads}
    assert touched["state", "agentlog.task.TaskFinished"] == {"task_id", "status"}
    journal = touched["metrics", "agentlog.journal.OutcomesRecorded"]
    assert {"finished[].runs", "delivery_ms_sum", "exceptions[].reason"} <= journal
    assert all(one.is_readable for one in readers)


def test_where_envelopes_are_made_is_found() -> None:
    """Where the source says the type; what it does not say is not guessed."""
    found = writers_in([CODE])
    made = [one.function for one in found if one.type == code.ASSIGN and one.module == CODE]
    assert made == ["write"]
    assert {one.type for one in found if one.function == "journal_envelopes"} == {
        "agentlog.journal.OutcomesRecorded"
    }
