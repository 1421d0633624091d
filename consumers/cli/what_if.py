"""`agentlog what-if`: what another code, or other schemas, would have made of the same history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from consumers.aggregates import Aggregate, AggregateApp
from consumers.cli.asked import AsJson, At
from consumers.cli.comparing import plain
from consumers.cli.cut import read_named
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.progress import following
from consumers.cli.replaying import load_projection
from consumers.cli.session import connect
from consumers.cli.stream import load_aggregates
from consumers.differences import NOTHING, Difference
from consumers.projections import Projection
from consumers.references import load_reference
from consumers.what_if import Divergence, Side, WhatIf, what_if_projection, what_if_streams
from streams.errors import ConfigurationError
from streams.headers import rfc3339
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at
from streams.schemas import Catalogue, Codec
from streams.session import Session, schema_sources
from streams.topics import EVENTS

SHOWN_MAX: Final = 30
"""Rows of each table; `--json` has more."""
STREAMS: Final = "streams"
BUILT_IN: Final = frozenset({"state", "metrics"})

Fold = Projection[Any] | Sequence[Aggregate]


def what_if(
    fold: Annotated[
        str,
        typer.Argument(
            metavar="FOLD",
            help="state, metrics, streams, or MODULE:NAME of a projection or of aggregates.",
        ),
    ],
    other: Annotated[
        str | None,
        typer.Option("--other", metavar="MODULE:NAME", help="The code to compare it with."),
    ] = None,
    schemas: Annotated[
        Path | None,
        typer.Option(
            "--schemas",
            metavar="FOLDER",
            help="The other side reads as this folder's schemas say, locked or not.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    at: At = "now",
    json_: AsJson = False,
) -> None:
    """Fold the same history two ways: the first record after which they differ, and the final diff.

    Nothing is written. To compare with code of yesterday, put that beside today's under another
    name: `git show HEAD~1:shop/folds.py > folds_before.py`.
    """
    if other is None and schemas is None:
        raise ConfigurationError(
            "what-if compares two: name the other code (--other MODULE:NAME) or other schemas "
            "(--schemas FOLDER)"
        )
    session = connect()
    folds = load_fold(fold), load_fold(other or fold)
    labels = fold, f"{other or fold} under {schemas}" if schemas is not None else other or fold
    codecs = session.codec, _other_codec(session, schemas)
    sides: Sequence[Side[Any]] = [Side(*parts) for parts in zip(labels, folds, codecs, strict=True)]
    found = _compared(session, sides, at)
    if json_:
        emit(document(found))
    else:
        show(found)


def load_fold(name: str) -> Fold:
    """What MODULE:NAME refers to: a projection, or aggregates. Built in are `state` and `metrics`,
    and as `streams` the aggregates that `agentlog stream` knows.
    """
    if name == STREAMS:
        return load_aggregates(None)
    if name not in BUILT_IN and isinstance(load_reference(name), (Aggregate, AggregateApp)):
        return load_aggregates(name)
    return load_projection(name)


def _other_codec(session: Session, schemas: Path | None) -> Codec:
    if schemas is None:
        return session.codec
    catalogue = Catalogue.reading(schemas, session.codec.catalogue)
    return Codec(catalogue, schema_sources(session.bootstrap_servers, session.settings))


def _compared(session: Session, sides: Sequence[Side[Any]], at: str) -> WhatIf:
    are_streams = [isinstance(side.fold, Sequence) for side in sides]
    if are_streams[0] != are_streams[1]:
        kinds = ["aggregates" if one else "a projection" for one in are_streams]
        raise ConfigurationError(
            f"{sides[0].label} is {kinds[0]} and {sides[1].label} is {kinds[1]}; compare two alike"
        )
    logical = (EVENTS,) if are_streams[0] else tuple(sides[0].fold.topics)
    compare = what_if_streams if are_streams[0] else what_if_projection
    with KafkaLogReader(session.bootstrap_servers) as reader:
        named = NamedCuts(reader, session.namespace, session.codec)
        topics, now_ms = session.namespace.topics(logical), time.time_ns() // 1_000_000
        cut = resolve_at(reader, topics, at, now_ms, read_named(named))
        with following("what if") as on_progress:
            return compare(
                *sides,
                reader=reader,
                namespace=session.namespace,
                cut=cut,
                on_progress=on_progress,
            )


def document(found: WhatIf) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "equal": found.equal,
        "cut": found.cut.encode(),
        "records": found.records,
        "seconds": round(found.seconds, 3),
        "this": found.this,
        "other": found.other,
        "first": _divergence(found.first) if found.first is not None else None,
        "diverged": found.diverged,
        "divergences": [_divergence(one) for one in found.divergences],
        "different": found.different,
        "differences": [_difference(one) for one in found.differences],
    }


def _divergence(one: Divergence) -> dict[str, Any]:
    record = one.record
    return {
        "where": str(one.where),
        "record": None if record is None else str(record),
        "appended_at": None if record is None else rfc3339(record.appended_at_ms * 1000),
        "type": one.type,
        "sender": one.sender,
        "id": one.id,
        "steady": one.steady,
        "differences": [_difference(found) for found in one.differences],
    }


def _difference(one: Difference) -> dict[str, Any]:
    sides = {"this": one.before, "other": one.after}
    # What is not there has no name in the object: null is a value.
    return {"path": one.path, **{k: v for k, v in sides.items() if v is not NOTHING}}


def show(found: WhatIf) -> None:
    """What people see."""
    stderr.print(f"{found.records:,} records in {found.seconds:.2f} s", style="dim")
    for side in (found.this, found.other):
        if side.undecodable:
            stderr.print(
                f"{side.label}: {side.undecodable:,} records could not be decoded; first: "
                f"{side.first_undecodable}",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
    if found.equal:
        stdout.print("no difference: both come to the same")
        return
    if found.first is not None:
        _show_first(found.first, found)
    elif found.different:
        stdout.print("each partition comes to the same; merging them makes the difference")
    if not found.different:
        stdout.print("in the end both are the same again")
        return
    title = f"in the end {found.different:,} values are different"
    stdout.print(_table(title, found.differences, found))
    if found.different > SHOWN_MAX:
        stderr.print(f"and {found.different - SHOWN_MAX:,} more; --json has more of them")


def _show_first(first: Divergence, found: WhatIf) -> None:
    if first.record is None:
        where = "they differ before the first record"
    else:
        when = rfc3339(first.record.appended_at_ms * 1000)
        where = (
            f"the first record after which they differ is {first.record}, {first.type} "
            f"from {first.sender}, appended {when}"
        )
    stdout.print(where, markup=False, soft_wrap=True)
    if not first.steady:
        stderr.print(
            "folded once more from there both came to the same: one of the two is not a function "
            "of its records (a clock, random, the order of a set), so the record is only near "
            "where it began",
            style="yellow",
            soft_wrap=True,
        )
    if first.differences:
        stdout.print(_table("after this record", first.differences, found))
    if found.diverged > 1:
        kind = "streams" if found.this.digest is None else "partitions"
        stdout.print(f"{found.diverged:,} {kind} differ after some record; --json has the first")


def _table(title: str, differences: Sequence[Difference], found: WhatIf) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in (title, found.this.label, found.other.label):
        table.add_column(plain(name), overflow="fold")
    for one in differences[:SHOWN_MAX]:
        table.add_row(*map(plain, (one.path or "(all)", one.before, one.after)))
    return table
