"""`agentlog stream`: what an aggregate's stream was at a moment, and by which events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from consumers.aggregates import Aggregate, AggregateApp
from consumers.aggregates.history import StreamAt, stream_at
from consumers.aggregates.rebuilding import short_digest
from consumers.aggregates.shared_state import shared_state
from consumers.aggregates.task_life import task_life
from consumers.cli.asked import AsJson, At
from consumers.cli.cut import read_named
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from consumers.references import load_reference
from streams.errors import ConfigurationError
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at
from streams.schemas import Codec
from streams.topics import EVENTS

SHOWN_MAX = 20
"""Events of the table; `--json` has them all."""


def stream(
    stream_id: Annotated[str, typer.Argument(metavar="STREAM", help="As in state:goal.")],
    at: At = "now",
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="When it had so many events.")
    ] = None,
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="MODULE:NAME", help="An aggregate or an app of aggregates."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="From its first event on, past every checkpoint.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """The state of one stream at a moment or a version, and the events that made it so."""
    session = connect()
    with KafkaLogReader(session.bootstrap_servers) as reader:
        topics = (session.namespace.topic(EVENTS),)
        named = NamedCuts(reader, session.namespace, session.codec)
        cut = resolve_at(reader, topics, at, time.time_ns() // 1_000_000, read_named(named))
        found = stream_at(
            stream_id,
            load_aggregates(app),
            reader=reader,
            codec=session.codec,
            namespace=session.namespace,
            cut=cut,
            version=version,
            from_checkpoint=not whole,
        )
    events = [_event(record, session.codec) for record in found.events]
    if json_:
        emit(
            {
                "stream_id": found.stream_id,
                "version": found.version,
                "state": found.state,
                "digest": short_digest(found.state),
                "cut": cut.encode(),
                "from_position": found.began_at,
                "events": events,
            }
        )
        return
    _show(found, events)


def load_aggregates(reference: str | None) -> Sequence[Aggregate]:
    """Those that MODULE:NAME refers to; without it the built-in ones."""
    if reference is None:
        return (shared_state(), task_life())
    found: Any = load_reference(reference)
    if isinstance(found, AggregateApp):
        return found.aggregates
    if isinstance(found, Aggregate):
        return (found,)
    raise ConfigurationError(
        f"{reference} is a {type(found).__name__}, neither an Aggregate nor an AggregateApp"
    )


def _event(record: Any, codec: Codec) -> dict[str, Any]:
    envelope = codec.decode(record.value, record.headers)
    return {
        "version": envelope.stream_version,
        "type": envelope.type,
        "record": str(record),
        "appended_at": _utc(record.appended_at_ms),
        "sender": envelope.sender,
        "caused_by": envelope.causation_id,
        "writer_epoch": envelope.writer_epoch,
        "payload": {**envelope.payload},
    }


def _utc(epoch_ms: int) -> str:
    instant = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _show(found: StreamAt, events: Sequence[dict[str, Any]]) -> None:
    state = Table(found.stream_id, f"version {found.version}", box=box.SIMPLE_HEAD)
    content = found.state if isinstance(found.state, dict) else {"": found.state}
    for name, value in content.items():
        state.add_row(str(name), str(value))
    stdout.print(state)
    table = Table("version", "event", "record", "appended", "by", box=box.SIMPLE_HEAD)
    for one in events[-SHOWN_MAX:]:
        last = one["type"].rpartition(".")[2]
        table.add_row(str(one["version"]), last, one["record"], one["appended_at"], one["sender"])
    if len(events) > SHOWN_MAX:
        table.caption = f"the last {SHOWN_MAX} of {len(events)}; --json has them all"
    if events:
        stdout.print(table)
    if found.began_at:
        stderr.print(
            f"what was before {found.source}@{found.began_at} is in a checkpoint; --whole folds "
            "it all",
            style="dim",
            soft_wrap=True,
        )
