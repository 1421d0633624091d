"""Columns and rows are two ways to one state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.projections import EVERYTHING, Filters, Metrics
from consumers.projections.columnar import ColumnDecoder
from consumers.projections.partition_fold import ColumnFold, PartitionFold, Tally
from streams.digest import digest
from streams.record import Record
from streams.schemas.framing import SCHEMA_ID_HEADER
from tests.consumers.projections.strategies import CODEC, envelopes, histories, record_of

FILTERS = st.sampled_from(
    [
        EVERYTHING,
        Filters(agent="agent-1"),
        Filters(origin="import:a"),
        Filters(origin="import:"),
        Filters(agent="ägent", origin="import:b"),
    ]
)
shared_decoder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


@pytest.fixture
def decoder() -> Iterator[ColumnDecoder]:
    with ColumnDecoder(CODEC) as opened:
        yield opened


def both(
    decoder: ColumnDecoder, records: Sequence[Record], filters: Filters = EVERYTHING
) -> tuple[tuple[Any, Tally], tuple[Any, Tally]]:
    by_rows = PartitionFold(Metrics(), CODEC, filters)
    in_columns = ColumnFold(Metrics(), CODEC, filters, decoder)
    for fold in (by_rows, in_columns):
        fold.add(records)
    return by_rows.finish(), in_columns.finish()


def data_only(records: Sequence[Record]) -> list[Record]:
    """Columns are offered on data topics alone, and the journal has its own."""
    return [it for it in records if b"OutcomesRecorded" not in (it.value or b"")]


@shared_decoder
@given(history=histories(partitions=1, records=20), filters=FILTERS)
def test_s3_18_columns_equal_rows(
    decoder: ColumnDecoder, history: list[list[Record]], filters: Filters
) -> None:
    """For any history and filter, both ways give one digest and one tally."""
    by_rows, in_columns = both(decoder, data_only(history[0]), filters)
    assert digest(in_columns[0]) == digest(by_rows[0])
    assert in_columns[1] == by_rows[1]


@shared_decoder
@given(
    history=histories(partitions=1, records=8),
    damage=st.lists(
        st.tuples(
            st.integers(0, 7),
            st.sampled_from(["cut", "grow", "flip", "drop"]),
            st.integers(0, 400),
            st.integers(1, 255),
        ),
        max_size=3,
    ),
)
def test_damaged_values_cannot_tell_columns_from_rows(
    decoder: ColumnDecoder, history: list[list[Record]], damage: list[tuple[int, str, int, int]]
) -> None:
    """Truncated, extended and flipped values fall back to the codec, neighbours unharmed."""
    records = data_only(history[0])
    for which, how, place, bits in damage:
        if which < len(records):
            records[which] = damaged(records[which], how, place, bits)
    by_rows, in_columns = both(decoder, records)
    assert digest(in_columns[0]) == digest(by_rows[0])
    assert (in_columns[1].records, in_columns[1].undecodable) == (
        by_rows[1].records,
        by_rows[1].undecodable,
    )


def damaged(record: Record, how: str, place: int, bits: int) -> Record:
    value = record.value or b"\x00"
    place %= len(value)
    changed: bytes | None = {
        "cut": value[:place],
        "grow": value + bytes([bits] * 3),
        "flip": value[:place] + bytes([value[place] ^ bits]) + value[place + 1 :],
        "drop": None,
    }[how]
    return Record(
        record.topic,
        record.partition,
        record.position,
        record.appended_at_ms,
        record.key,
        changed,
        record.headers,
    )


@shared_decoder
@given(envelope=envelopes())
def test_the_header_form_is_read_too(decoder: ColumnDecoder, envelope: Any) -> None:
    """A bare body whose schema id is in a header goes record by record."""
    framed = record_of(envelope)
    assert framed.value is not None
    bare = Record(
        "ns.tasks", 0, 0, 1, None, framed.value[5:], ((SCHEMA_ID_HEADER, framed.value[:5]),)
    )
    by_rows, in_columns = both(decoder, data_only([bare]))
    assert digest(in_columns[0]) == digest(by_rows[0])
    assert in_columns[1] == by_rows[1]
    assert in_columns[1].undecodable == 0


@shared_decoder
@given(found=st.lists(envelopes(), min_size=1, max_size=20))
def test_whole_blocks_are_decoded_in_columns(decoder: ColumnDecoder, found: list[Any]) -> None:
    """Nothing falls back where every value is written by the catalogue's own schemas."""
    assert decoder.decode([record_of(envelope).value for envelope in found]).rest == []
