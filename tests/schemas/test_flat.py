"""Flat records: the same bytes as fastavro writes, for every value that fits."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.schemas import Catalogue
from streams.schemas.flat import flat_encoder

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LONG = st.integers(-(2**63), 2**63 - 1)
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Flat",
        "fields": [
            {"name": "text", "type": "string"},
            {"name": "number", "type": "long"},
            {"name": "small", "type": {"type": "int"}},
            {"name": "flag", "type": "boolean"},
            {"name": "share", "type": "double"},
            {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["a", "b", "c"]}},
            {"name": "maybe_text", "type": ["null", "string"]},
            {"name": "maybe_number", "type": ["null", "long"]},
            {"name": "maybe_flag", "type": ["null", "boolean"]},
            {"name": "names", "type": {"type": "array", "items": "string"}},
            {"name": "notes", "type": {"type": "map", "values": "string"}},
        ],
    }
)
ROWS = st.fixed_dictionaries(
    {
        "text": TEXT,
        "number": LONG,
        "small": st.integers(-(2**31), 2**31 - 1),
        "flag": st.booleans(),
        "share": st.floats(),
        "kind": st.sampled_from("abc"),
        "maybe_text": st.none() | TEXT,
        "maybe_number": st.none() | LONG,
        "maybe_flag": st.none() | st.booleans(),
        "names": st.lists(TEXT, max_size=70),
        "notes": st.dictionaries(TEXT, TEXT),
    }
)


def written(schema: Any, row: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, schema, row)
    return buffer.getvalue()


@given(row=ROWS)
def test_the_bytes_are_fastavros(row: dict[str, Any]) -> None:
    """Whatever the values: long texts, both ends of the integers, nulls, empty lists and maps."""
    encode = flat_encoder(SCHEMA)
    assert encode is not None
    assert encode(row) == written(SCHEMA, row)


def test_every_types_envelope_is_flat() -> None:
    """So the fast way is the one that is taken; a field that is not flat would show here."""
    for event in Catalogue.load().types.values():
        assert event.writer.prefix_encoder is not None, event.name


@pytest.mark.parametrize(
    "other",
    [
        ["string", "null"],
        ["null", "string", "long"],
        {"type": "array", "items": "long"},
        {"type": "map", "values": "long"},
        {"type": "record", "name": "Inner", "fields": []},
        "bytes",
        "float",
        {"type": "fixed", "name": "F", "size": 2},
    ],
)
def test_what_is_not_flat_has_no_encoder(other: Any) -> None:
    """fastavro writes those records."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "it", "type": other}]}
    assert flat_encoder(fastavro.parse_schema(schema)) is None
