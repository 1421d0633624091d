"""Planted faults among outputs are found, counted and named."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.journal.outputs import OutputCheck
from streams.envelope import Envelope
from streams.identity import derived_id
from streams.record import Record

APPENDED_MS = 1_700_000_000_000


def source(position: int, key: bytes = b"k", name: str = "") -> tuple[Record, Envelope]:
    """A handled record and its envelope."""
    record = Record("ns.tasks", 0, position, APPENDED_MS + position, key, b"")
    return record, Envelope(type="Ask", payload={}, id=name or f"source-{position}")


def output(
    of: tuple[Record, Envelope], position: int, *, n: int = 0, key: bytes = b"o"
) -> tuple[Record, Envelope]:
    """The n-th output of a handler on that record."""
    record, envelope = of
    made = derived_id(record.appended_at_ms, record.topic, 0, record.position, "handler", n)
    return (
        Record("ns.events", 0, position, APPENDED_MS, key, b""),
        Envelope(type="Answer", payload={}, id=made, causation_id=envelope.id),
    )


def checked(
    sources: list[tuple[Record, Envelope]], outputs: list[tuple[Record, Envelope]]
) -> OutputCheck:
    """Each source must cause one Answer."""

    def expect(_envelope: Envelope) -> Mapping[str, int]:
        return {"Answer": 1}

    check = OutputCheck(expect)
    for record, envelope in sources:
        check.add_source(record, envelope)
    for record, envelope in outputs:
        check.add_output(record, envelope)
    check.finish()
    return check


def counts(check: OutputCheck) -> tuple[int, int, int]:
    return check.lost, check.duplicated, check.reordered


def test_one_output_each_in_order_is_clean() -> None:
    """Envelopes of others, even answers to our sources, are nobody's outputs."""
    sources = [source(n) for n in range(5)]
    other = (
        Record("ns.events", 0, 99, 1, b"o", b""),
        Envelope(
            type="Answer", payload={}, id="msg-1999999999999-aaaaaaaaa", causation_id="source-1"
        ),
    )
    check = checked(sources, [*(output(one, at) for at, one in enumerate(sources)), other])
    assert counts(check) == (0, 0, 0)
    assert check.outputs == 5


def test_a_missing_output_is_lost() -> None:
    """The finding names the source record."""
    sources = [source(n) for n in range(3)]
    check = checked(sources, [output(sources[0], 0), output(sources[2], 1)])
    assert counts(check) == (1, 0, 0)
    assert check.findings[0].record == "ns.tasks[0]@1"


def test_the_same_id_twice_is_a_duplicate() -> None:
    """Not an order fault as well."""
    sources = [source(0), source(1)]
    check = checked(sources, [output(sources[0], 0), output(sources[1], 1), output(sources[0], 2)])
    assert counts(check) == (0, 1, 0)
    assert check.findings[0].record == "ns.events[0]@2"


def test_a_second_output_of_a_type_that_must_be_one_is_a_duplicate() -> None:
    """Under another derived id it is still one too many."""
    one = source(0)
    assert counts(checked([one], [output(one, 0), output(one, 1, n=1)])) == (0, 1, 0)


def test_copies_for_several_recipients_are_one_output() -> None:
    """One id under several keys is an envelope to several recipients."""
    one = source(0)
    assert counts(checked([one], [output(one, 0, key=b"a"), output(one, 1, key=b"b")])) == (0, 0, 0)


def test_outputs_of_one_key_in_another_order_are_reordered() -> None:
    """Keys do not wait for each other, so order is judged per source key."""
    one, two, other = source(0), source(1), source(2, b"another key")
    assert counts(
        checked([one, two, other], [output(other, 0), output(one, 1), output(two, 2)])
    ) == (0, 0, 0)
    check = checked([one, two], [output(two, 0), output(one, 1)])
    assert counts(check) == (0, 0, 1)
    assert "ns.tasks[0]@1" in check.findings[0].detail


def test_one_id_on_several_source_records_is_told_apart_by_append_time() -> None:
    """One inbox record per recipient, same id: each caused outputs of its own."""
    first, second = source(0, b"a", "same"), source(1, b"b", "same")
    check = checked([first, second], [output(first, 0), output(second, 1)])
    assert counts(check) == (0, 0, 0)
    assert check.outputs == 2


def test_one_id_on_source_records_of_one_moment_is_one_cause() -> None:
    """Nothing tells their outputs apart: they are counted together, none is called lost."""
    first, second = source(0, b"a", "same"), source(1, b"b", "same")
    second = (msgspec.structs.replace(second[0], appended_at_ms=first[0].appended_at_ms), second[1])
    outputs = [output(first, 0), output(second, 1)]
    assert counts(checked([first, second], outputs)) == (0, 0, 0)
    assert counts(checked([first, second], outputs[:1])) == (1, 0, 0)


@given(st.permutations(range(6)))
def test_reordering_is_found_in_any_permutation(order: list[int]) -> None:
    """Zero only for the order of the sources."""
    sources = [source(n) for n in range(6)]
    check = checked(sources, [output(sources[n], at) for at, n in enumerate(order)])
    assert (check.reordered == 0) == (order == sorted(order))
    assert (check.lost, check.duplicated) == (0, 0)


def test_findings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults are counted, the first ones are named."""
    monkeypatch.setattr("consumers.journal.outputs.FINDINGS_MAX", 2)
    check = checked([source(n) for n in range(5)], [])
    assert (check.lost, len(check.findings)) == (5, 2)
