"""Two projections over one history: where they first differ, found without a digest per record."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

import consumers.what_if.pair as pair_module
from consumers.projections import AgentState, Projection
from consumers.what_if import Side, WhatIf, what_if_projection
from streams.digest import digest
from streams.envelope import Envelope
from streams.errors import AgentlogError, ConfigurationError, LogError
from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition, Record
from streams.schemas import Catalogue, Codec
from streams.topics import TASKS, Namespace
from streams.topics.partitioning import partition_for
from tests.consumers.worker.harness import CODEC, assign_task

NAMESPACE = Namespace("test")


class Tasks:
    """Per assignee: how many tasks, and their last id."""

    name = "tasks-of"
    version = 1
    topics: tuple[str, ...] = (TASKS,)

    def __init__(self, differs: Callable[[str, dict[str, Any]], None] | None = None) -> None:
        self._differs = differs

    def initial(self) -> dict[str, Any]:
        return {}

    def apply(self, state: dict[str, Any], record: Record, envelope: Envelope) -> dict[str, Any]:
        task = envelope.payload["task"]["id"]
        mine = state.setdefault(envelope.correlation_id or "", {"count": 0, "last": ""})
        mine["count"] += 1
        mine["last"] = task
        if self._differs is not None:
            self._differs(task, mine)
        return state

    def merge(self, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
        return {**a, **b}

    def view(self, state: dict[str, Any]) -> dict[str, Any]:
        return state


class Ticking:
    """A millisecond passes with each look at it: no two records were appended at once."""

    def __init__(self) -> None:
        self._now_us = 1_700_000_000_000_000

    def now_us(self) -> int:
        self._now_us += 1_000
        return self._now_us


def from_task(n: int) -> Tasks:
    """From the n-th task on, its last id is another."""

    def differs(task: str, mine: dict[str, Any]) -> None:
        if int(task[1:]) >= n:
            mine["last"] = f"{task}!"

    return Tasks(differs)


@pytest.fixture
def log() -> MemoryLog:
    made = MemoryLog(Ticking())
    made.provision(NAMESPACE)
    return made


def append(log: MemoryLog, envelopes: Iterable[Envelope]) -> list[tuple[Partition, int]]:
    """Where they are on `tasks`."""
    places = []
    topic = NAMESPACE.topic(TASKS)
    count = len(log.partitions(topic))
    for envelope in envelopes:
        key = (envelope.correlation_id or "").encode()
        source = Partition(topic, partition_for(key, count))
        places.append((source, log.append(source, key, CODEC.encode(envelope))))
    return places


def compare(
    log: MemoryLog, this: Projection[Any], other: Projection[Any], codec: Codec = CODEC
) -> WhatIf:
    return what_if_projection(
        Side("this", this, CODEC),
        Side("other", other, codec),
        reader=MemoryLogReader(log),
        namespace=NAMESPACE,
    )


@pytest.mark.parametrize("n", [0, 1, 2, 63, 500, 1_998, 1_999])
def test_the_first_record_is_named_wherever_it_is(log: MemoryLog, n: int) -> None:
    """On one key: its position, type, sender and time, and what differs after it."""
    places = append(log, [assign_task(one, "k") for one in range(2_000)])
    found = compare(log, Tasks(), from_task(n))
    assert found.first is not None
    assert found.first.record is not None
    assert (found.first.record.source, found.first.record.position) == places[n]
    assert (found.first.type, found.first.sender) == ("agentlog.task.AssignTask", "boss")
    assert found.first.steady
    [one] = found.first.differences
    assert (one.path, one.before, one.after) == ("k.last", f"t{n}", f"t{n}!")
    [last] = found.differences
    assert (last.path, last.before, last.after) == ("k.last", "t1999", "t1999!")
    assert not found.equal
    assert found.this.digest != found.other.digest
    assert found.records == 2_000


@pytest.mark.parametrize("held_max", [0, 16, 10_000])
def test_of_several_partitions_each_has_its_first_and_the_earliest_is_the_first(
    log: MemoryLog, held_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the records of a bisection are kept or read again; keys are on all partitions."""
    monkeypatch.setattr(pair_module, "HELD_MAX", held_max)
    rng = random.Random(7)
    tasks = [assign_task(n, f"k{rng.randrange(40)}") for n in range(3_000)]
    places = append(log, tasks)
    found = compare(log, Tasks(), from_task(1_000))
    expected: dict[Partition, int] = {}
    for source, position in places[1_000:]:
        expected.setdefault(source, position)
    assert {
        one.where: one.record.position for one in found.divergences if one.record is not None
    } == expected
    assert found.diverged == len(expected) > 4
    assert found.first is not None
    assert found.first.record is not None
    assert (found.first.record.source, found.first.record.position) == places[1_000]


def test_the_same_code_is_the_same_and_reads_the_log_once(log: MemoryLog) -> None:
    """Nothing differs, and nothing is read a second time; the digest is the state's."""
    append(log, [assign_task(n, f"k{n % 3}") for n in range(500)])
    read: list[tuple[Partition, int, int]] = []

    class Counting(MemoryLogReader):
        def read(self, source: Partition, start: int, end: int) -> Any:
            read.append((source, start, end))
            return super().read(source, start, end)

    found = what_if_projection(
        Side("this", Tasks(), CODEC),
        Side("other", Tasks(), CODEC),
        reader=Counting(log),
        namespace=NAMESPACE,
    )
    assert found.equal
    assert found.first is None
    assert found.this.digest == found.other.digest
    assert len(read) == len({source for source, _, _ in read})


def test_what_heals_is_no_difference_in_the_end(log: MemoryLog) -> None:
    """Seen where it falls on a comparison: the first batch's end is one."""
    append(log, [assign_task(n, "k") for n in range(10)])

    def nine(task: str, mine: dict[str, Any]) -> None:
        if task == "t9":
            mine["last"] = "other"

    assert compare(log, Tasks(), Tasks(nine)).diverged == 1
    append(log, [assign_task(10, "k")])
    assert compare(log, Tasks(), Tasks(nine)).different == 0


def test_a_state_that_begins_otherwise_differs_before_the_first_record(log: MemoryLog) -> None:
    """There is no record to name, and the states say what it is."""

    class Begun(Tasks):
        def initial(self) -> dict[str, Any]:
            return {"began": 1}

    append(log, [assign_task(0, "k")])
    found = compare(log, Tasks(), Begun())
    assert found.first is not None
    assert found.first.record is None
    assert [one.path for one in found.first.differences] == ["began"]


def test_a_merge_alone_may_make_the_difference(log: MemoryLog) -> None:
    """No record is to blame then."""

    class Merging(Tasks):
        def merge(self, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
            return {**a, **b, "merged": True}

    append(log, [assign_task(0, "k")])
    found = compare(log, Tasks(), Merging())
    assert (found.diverged, found.different, found.equal) == (0, 1, False)


def test_a_tuple_is_a_list_and_equal_numbers_of_another_kind_are_not(log: MemoryLog) -> None:
    """As digests have it."""

    class Listed(Tasks):
        def __init__(self, made: Any) -> None:
            super().__init__(lambda _, mine: mine.__setitem__("made", made))

    append(log, [assign_task(0, "k")])
    assert compare(log, Listed((1, 2)), Listed([1, 2])).equal
    [one] = compare(log, Listed(1), Listed(1.0)).differences
    assert one.path == "k.made"


def test_a_fold_that_is_no_function_of_its_records_is_said_to_be_unsteady(log: MemoryLog) -> None:
    """Folded once more its states are other ones: where it began cannot be told."""
    count = iter(range(10_000))
    append(log, [assign_task(n, "k") for n in range(8)])

    def once(_task: str, mine: dict[str, Any]) -> None:
        if next(count) == 5:
            mine["count"] += 1

    found = compare(log, Tasks(), Tasks(once))
    assert found.first is not None
    assert not found.first.steady


def test_what_fails_names_the_side_and_the_record(log: MemoryLog) -> None:
    """A fold that raises; topics that are not the same; a history that is not whole."""
    [(source, position)] = append(log, [assign_task(0, "k")])

    def fails(_task: str, _mine: dict[str, Any]) -> None:
        raise ValueError("no")

    with pytest.raises(AgentlogError, match=r"other: projection tasks-of failed on .*ValueError"):
        compare(log, Tasks(), Tasks(fails))
    with pytest.raises(ConfigurationError, match="two histories"):
        compare(log, Tasks(), AgentState())

    class Late(MemoryLogReader):
        def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
            return {**super().starts(topics), source: position + 1}

    with pytest.raises(LogError, match="begins at 1: the records from 0 on were removed"):
        what_if_projection(
            Side("this", Tasks(), CODEC),
            Side("other", Tasks(), CODEC),
            reader=Late(log),
            namespace=NAMESPACE,
        )


class Texts(Tasks):
    """What each task says of itself."""

    def apply(self, state: dict[str, Any], record: Record, envelope: Envelope) -> dict[str, Any]:
        task = dict(envelope.payload["task"])
        state[task["id"]] = {name: task[name] for name in sorted(task) if task[name] is not None}
        return state


def folder_with(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A folder with one schema of its own: `AssignTask`, changed."""
    built_in = Path(__file__).parents[3] / "schemas-avro" / "task" / "AssignTask.avsc"
    schema = json.loads(built_in.read_text())
    change(schema)
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "AssignTask.avsc").write_text(json.dumps(schema))
    return tmp_path


def task_fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    [task] = [field["type"] for field in schema["fields"] if field["name"] == "task"]
    fields: list[dict[str, Any]] = task["fields"]
    return fields


def test_other_schemas_read_the_same_bytes_otherwise(log: MemoryLog, tmp_path: Path) -> None:
    """A field with a default is added, one is dropped; nobody has locked it, nothing is written."""
    append(log, [assign_task(n, "k") for n in range(3)])

    def change(schema: dict[str, Any]) -> None:
        fields = task_fields(schema)
        fields[:] = [one for one in fields if one["name"] != "description"]
        fields.append({"name": "colour", "type": "string", "default": "red"})

    folder = folder_with(tmp_path, change)
    codec = Codec(Catalogue.reading(folder, CODEC.catalogue))
    found = compare(log, Texts(), Texts(), codec)
    assert found.first is not None
    assert found.first.record is not None
    assert found.first.record.position == 0
    assert {(one.path, str(one.before), one.after) for one in found.first.differences} >= {
        ("t0.colour", "–", "red"),
    }
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == [
        folder / "task" / "AssignTask.avsc"
    ]


def test_other_schemas_that_cannot_read_a_record_count_it(log: MemoryLog, tmp_path: Path) -> None:
    """A new field without a default: each record that lacks it is undecodable for that side."""
    append(log, [assign_task(n, "k") for n in range(3)])
    folder = folder_with(
        tmp_path, lambda schema: task_fields(schema).append({"name": "must", "type": "string"})
    )
    codec = Codec(Catalogue.reading(folder, CODEC.catalogue))
    found = compare(log, Texts(), Texts(), codec)
    assert (found.this.undecodable, found.other.undecodable) == (0, 3)
    assert "@0: " in found.other.first_undecodable
    assert found.different == 3


def test_schemas_that_nobody_changed_are_the_same(log: MemoryLog, tmp_path: Path) -> None:
    """They keep their ids; a whole folder may stand for the built-in one."""
    append(log, [assign_task(0, "k")])
    known = CODEC.catalogue
    read = Catalogue.reading(folder_with(tmp_path, lambda _: None), known)
    name = "agentlog.task.AssignTask"
    assert read.type(name).schema_id == known.type(name).schema_id
    whole = Catalogue.reading(Path(__file__).parents[3] / "schemas-avro", known)
    assert set(whole.types) == set(known.types)
    assert {one.schema_id for one in whole.types.values()} == {
        one.schema_id for one in known.types.values()
    }
    with pytest.raises(ConfigurationError, match=r"no <family>/<Type>.avsc below"):
        Catalogue.reading(tmp_path / "none", known)


def test_digests_of_states_are_those_of_a_replay(log: MemoryLog) -> None:
    """Both sides' digests are what anybody else would compute."""
    append(log, [assign_task(0, "k")])
    expected: Sequence[Any] = [{"k": {"count": 1, "last": "t0"}}]
    assert compare(log, Tasks(), Tasks()).this.digest == digest(expected[0])
