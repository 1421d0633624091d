"""The metrics fold in columns: the same counts as `Metrics.apply`, a block at a time.

Counting commutes, so the order of records within a block does not matter here. A property test
holds both paths equal, digest by digest.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from consumers.projections.columnar import Rows
from consumers.projections.filters import Filters
from consumers.projections.folding import count, has_copies, is_first_copy, widen
from streams.envelope import ORIGIN

_COUNTED: Final = {"by_sender": "sender", "by_type": "kind", "by_channel": "channel_id"}


def count_rows(state: dict[str, Any], rows: Rows, filters: Filters) -> None:
    """Count what the filters accept of some data records."""
    table, times = rows.table, pa.array(rows.appended_at_ms, pa.int64())
    first = _first_copies(rows) if has_copies(rows.topic) else None
    if not filters.is_empty:
        mask = _accepted(table, filters)
        table, times = table.filter(mask), times.filter(mask)
        first = None if first is None else first.filter(mask)
    if not table.num_rows:
        return
    state["latest_ms"] = max(state["latest_ms"] or 0, pc.max(times).as_py())
    if first is not None:
        table, times = table.filter(first), times.filter(first)
    if table.num_rows:
        _count(state, table, times)


def _count(state: dict[str, Any], table: pa.Table, times: pa.Array) -> None:
    state["sent"] += table.num_rows
    for counts, column in _COUNTED.items():
        _count_values(state[counts], table.column(column))
    _count_values(state["addressed"], pc.list_flatten(table.column("recipients")))
    span = pc.min_max(times)
    widen(state, "sent_ms", span["min"].as_py(), span["max"].as_py())


def _count_values(counts: dict[str, int], column: Any) -> None:
    for found in column.value_counts().to_pylist() if len(column) else ():
        if found["values"] is not None:
            count(counts, found["values"], found["counts"])


def _accepted(table: pa.Table, filters: Filters) -> pa.Array:
    mask = pa.array([True] * table.num_rows)
    if filters.agent is not None:
        named = [filters.agent in names for names in table.column("recipients").to_pylist()]
        mask = pc.and_(
            mask, pc.or_(_flat(pc.equal(table.column("sender"), filters.agent)), pa.array(named))
        )
    if filters.origin is not None:
        headers = _flat(table.column("headers"))
        origins = pc.fill_null(pc.map_lookup(headers, pa.scalar(ORIGIN), "last"), "")
        mask = pc.and_(mask, pc.starts_with(origins, filters.origin))
    return mask


def _first_copies(rows: Rows) -> pa.Array:
    recipients, reply_to = (
        rows.table.column(name).to_pylist() for name in ("recipients", "reply_to")
    )
    return pa.array(
        [
            is_first_copy(rows.topic, *row)
            for row in zip(rows.keys(), recipients, reply_to, strict=True)
        ],
        pa.bool_(),
    )


def _flat(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
