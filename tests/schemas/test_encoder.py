"""Generated encoders: what they write is what fastavro writes, and it always fits."""

from __future__ import annotations

from collections import UserDict
from datetime import UTC, datetime
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.schemas import Catalogue
from streams.schemas.encoder import UNUSUAL, Encoder, attributes_encoder_of, encoder_of
from streams.schemas.misfit import find_misfit
from tests.schemas.avro import Typed, records, written


class Word(StrEnum):
    """A text that is no plain str."""

    B = "b"


class Number(int):
    """A whole number that is no plain int."""


ODD = st.sampled_from(
    [
        None, True, 1, -(2**31) - 1, 2**63, 1.5, float("nan"), "b", "\ud800", b"b", Word.B,
        Number(7), [], ["b"], (1,), {}, {"b": 1}, {1: "b"}, {"b"}, UserDict({"f0": 1}), object(),
        datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2),  # noqa: DTZ001 - what is refused
    ]
)  # fmt: skip
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
NOW_US = 1_767_323_045_678_901


def encoded(encode: Encoder, value: Any) -> bytes:
    """All pieces."""
    pieces: list[bytes] = []
    encode(value, pieces.append)
    return b"".join(pieces)


def of_one(kind: Any, **more: Any) -> Any:
    """A parsed record of one field."""
    fields = [{"name": "it", "type": kind, **more}]
    return fastavro.parse_schema({"type": "record", "name": "One", "fields": fields})


def encoder(schema: Any) -> Encoder:
    """An encoder that must be there."""
    found = encoder_of(schema)
    assert found is not None
    return found


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """The value with something odd somewhere in it, missing or left over."""
    kind = draw(st.integers(0, 3))
    if isinstance(value, dict) and value and kind:
        key = draw(st.sampled_from(sorted(value)))
        if kind == 1:
            return {name: it for name, it in value.items() if name != key}
        return {**value, key: draw(damaged(value[key]))}
    if isinstance(value, dict) and draw(st.booleans()):
        return {**value, "left over": 1}
    if isinstance(value, list) and value and kind:
        return [draw(damaged(value[0])), *value[1:]]
    return draw(ODD)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), made=records())
def test_the_bytes_are_fastavros(data: st.DataObject, made: Typed) -> None:
    """Whatever the schema: where it has an encoder, all plain values that fit are taken."""
    schema = fastavro.parse_schema(made[0])
    encode, value = encoder_of(schema), data.draw(made[1])
    if encode is not None:
        assert encoded(encode, value) == written(schema, value)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), made=records())
def test_what_does_not_fit_is_never_written(data: st.DataObject, made: Typed) -> None:
    """Either it raises, so that the slow way decides, or the value fits and the bytes are its."""
    schema = fastavro.parse_schema(made[0])
    encode, value = encoder_of(schema), data.draw(damaged(data.draw(made[1])))
    if encode is None:
        return
    try:
        raw = encoded(encode, value)
    except UNUSUAL:
        return
    assert find_misfit(schema, value) is None
    assert raw == written(schema, value)


@given(st.integers(0, 63).flatmap(lambda bits: st.integers(-(1 << bits), (1 << bits) - 1)))
def test_whole_numbers_of_any_length(number: int) -> None:
    """One to ten bytes."""
    schema = of_one("long")
    assert encoded(encoder(schema), {"it": number}) == written(schema, {"it": number})


def test_every_type_of_ours_has_both_encoders() -> None:
    """So the quick way is the one that is taken; a field that it cannot write would show here."""
    for event in Catalogue.load().types.values():
        assert event.writer.prefix_encoder is not None, event.name
        assert event.writer.payload_encoder is not None, event.name


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("string", "so"),
        (["null", "long"], None),
        (["long", "null"], 7),
        ({"type": "array", "items": "string"}, []),
        ({"type": "map", "values": "long"}, {"b": 1}),
        ({"type": "enum", "name": "K", "symbols": ["a", "b"]}, "b"),
    ],
)
def test_a_missing_field_is_its_default(kind: Any, default: Any) -> None:
    """As fastavro fills it in; and one without a default is missed."""
    schema = of_one(kind, default=default)
    assert encoded(encoder(schema), {}) == written(schema, {})
    assert encoded(encoder(schema), {"it": default}) == written(schema, {"it": default})
    with pytest.raises(LookupError):
        encoded(encoder(of_one(kind)), {})


def test_a_time_is_an_instant_or_microseconds() -> None:
    """A time without a zone is no instant."""
    schema = of_one(["null", {"type": "long", "logicalType": "timestamp-micros"}])
    encode = encoder(schema)
    expected = written(schema, {"it": NOW})
    assert encoded(encode, {"it": NOW}) == encoded(encode, {"it": NOW_US}) == expected
    with pytest.raises(ValueError, match="2026"):
        encoded(encode, {"it": NOW.replace(tzinfo=None)})


def test_a_type_that_comes_again_by_its_name() -> None:
    """As an enum of ours does."""
    enum = {"type": "enum", "name": "K", "symbols": ["a", "b"]}
    fields = [{"name": "one", "type": enum}, {"name": "two", "type": ["null", "K"]}]
    schema = fastavro.parse_schema({"type": "record", "name": "R", "fields": fields})
    value = {"one": "b", "two": "a"}
    assert encoded(encoder(schema), value) == written(schema, value)


def test_an_object_is_read_by_its_attributes() -> None:
    """And may have more of them than the record has fields."""
    schema = of_one(["null", "string"])
    encode = attributes_encoder_of(schema)
    assert encode is not None
    it = SimpleNamespace(it="yes", more=1)
    assert encoded(encode, it) == written(schema, {"it": "yes"})
    with pytest.raises(AttributeError):
        encoded(encode, SimpleNamespace())


@pytest.mark.parametrize(
    "kind",
    [
        ["null", "long", "double"],
        ["null", "string", {"type": "enum", "name": "K", "symbols": ["a"]}],
        ["null", {"type": "map", "values": "long"}, "One"],
        ["null", "One"],
        {"type": "fixed", "name": "F", "size": 2},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        {"type": "int", "logicalType": "date"},
    ],
)
def test_what_needs_a_closer_look_has_no_encoder(kind: Any) -> None:
    """fastavro writes those records, after the slow check."""
    assert encoder_of(of_one(kind)) is None
