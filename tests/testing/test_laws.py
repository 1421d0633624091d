"""The laws that a user's projection is checked with: kept by those that keep them, else named."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from consumers.testing import MemoryStage, virtual_time
from consumers.testing.laws import laws_of, records_of
from streams.envelope import Envelope
from streams.errors import ConfigurationError
from streams.record import Record
from tests.consumers.proving import planted

LAWS = (
    "merge_commutes",
    "merge_associates",
    "the_initial_state_is_neutral",
    "an_interleaved_fold_is_the_merge_of_its_parts",
    "a_stored_state_goes_on",
    "a_fold_repeats",
    "the_view_is_json",
)


@virtual_time
async def recorded() -> list[Record]:
    """What is on a log in memory after somebody published; one key is the culprit's."""
    async with MemoryStage() as stage:
        for n in range(48):
            key = planted.CULPRIT if n % 12 == 7 else f"key-{n % 12}"
            await stage.publish(
                Envelope(
                    type="agentlog.task.AssignTask",
                    payload={"task": {"id": f"t{n}", "type": "test"}},
                    sender=f"agent-{n % 5}",
                    correlation_id=key,
                )
            )
        return records_of(planted.Steady(), stage.reader, stage.namespace)


RECORDS = recorded()


def broken(projection: Any, *laws: str) -> dict[str, str]:
    """Which of these laws a projection breaks, with what is said of each."""
    tests, found = laws_of(projection, RECORDS)(), {}
    for law in laws:
        try:
            getattr(tests, f"test_{law}")()
        except (AssertionError, ExceptionGroup) as error:
            found[law] = str(error)
    return found


class TestSteady(laws_of(planted.Steady(), RECORDS)):  # type: ignore[misc]  # a class made here
    """A class of laws is one that pytest collects."""


def test_a_projection_without_a_mistake_keeps_every_law() -> None:
    """By records that were on a log."""
    assert len(RECORDS) == 48
    assert broken(planted.Steady(), *LAWS) == {}


@pytest.mark.parametrize(
    ("mistake", "law", "says"),
    [
        (planted.TakesTheOther, "merge_commutes", "merge does not commute: by_sender"),
        (planted.Averages, "merge_associates", "merge does not associate: messages is "),
        (planted.CountsMerges, "the_initial_state_is_neutral", "initial() is not neutral"),
        (planted.FloatSum, "merge_associates", "merge does not associate: cost is "),
        (planted.Unstorable, "a_stored_state_goes_on", "a stored state goes on otherwise"),
        (planted.WallClock, "a_fold_repeats", "a fold is not the same twice: seen is "),
        (planted.Averages, "an_interleaved_fold_is_the_merge_of_its_parts", "messages is "),
    ],
)
def test_a_law_that_is_broken_is_named_with_the_path_and_both_values(
    mistake: Any, law: str, says: str
) -> None:
    """Each mistake by the law that it breaks."""
    assert says in broken(mistake(), law)[law]


def test_a_view_that_is_no_json_is_named() -> None:
    """A set is a list in JSON; an object of the user's own is nothing."""

    class Opaque(planted.Steady):
        def view(self, state: planted.State) -> planted.State:
            return {"it": object()}

    tests = laws_of(Opaque(), RECORDS)()
    with pytest.raises(TypeError, match="object"):
        tests.test_the_view_is_json()


def test_without_hypothesis_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a development dependency."""
    find = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("hypothesis"):
            raise ImportError(name)
        return find(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match="pip install hypothesis"):
        laws_of(planted.Steady(), RECORDS)


@virtual_time
async def test_a_log_without_records_is_an_error() -> None:
    """Nothing would be checked."""
    async with MemoryStage() as stage:
        with pytest.raises(ConfigurationError, match=r"no records on test\.tasks"):
            records_of(planted.Steady(), stage.reader, stage.namespace)
    with pytest.raises(ConfigurationError, match="no records"):
        laws_of(planted.Steady(), [])


@virtual_time
async def test_records_are_taken_from_every_partition_alike() -> None:
    """No partition takes the share of the others."""
    async with MemoryStage() as stage:
        for n in range(60):
            await stage.publish(
                Envelope(
                    type="agentlog.task.AssignTask",
                    payload={"task": {"id": f"t{n}", "type": "test"}},
                    correlation_id=f"key-{n % 12}",
                )
            )
        found = records_of(planted.Steady(), stage.reader, stage.namespace, records_max=16)
        filled = {one.source for one in stage.records("tasks")}
    assert len(found) == 16
    assert {one.source for one in found} == filled
