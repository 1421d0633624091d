"""`agentlog diff`: what changed about an agent between two moments, and which records did it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from consumers.cli.cut import read_named
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.replay import AsJson
from consumers.cli.session import connect
from consumers.differences import NOTHING, Difference, differences
from consumers.projections import AgentState, Filters
from consumers.replay import replay
from streams.cuts import Cut
from streams.envelope import Envelope
from streams.errors import ConfigurationError, DecodeError, LogError
from streams.headers import rfc3339
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at
from streams.record import Record
from streams.session import Session

SHOWN_MAX: Final = 50
"""Records of the table; `--json` has them all."""


def diff(
    agent: Annotated[str, typer.Argument()],
    from_: Annotated[str, typer.Option("--from", metavar="MOMENT")],
    to: Annotated[str, typer.Option("--to", metavar="MOMENT")] = "now",
    json_: AsJson = False,
) -> None:
    """What changed in what the log knows of an agent, and the records that did it."""
    session = connect()
    projection, filters = AgentState(), Filters(agent=agent)
    topics = session.namespace.topics(projection.topics)
    with KafkaLogReader(session.bootstrap_servers) as reader:
        named = read_named(NamedCuts(reader, session.namespace, session.codec))
        now_ms = time.time_ns() // 1_000_000
        before, after = (resolve_at(reader, topics, one, now_ms, named) for one in (from_, to))
        _require_order(before, after, from_, to)
        views = [_view(session, reader, projection, filters, cut, agent) for cut in (before, after)]
        if views[1] is None:
            raise LogError(f"no agent {agent!r} sent or was sent anything up to {to}")
        records = sorted(
            _between(session, reader, filters, before, after),
            key=lambda one: (one[0].appended_at_ms, one[0].topic, one[0].position),
        )
    changes = list(differences(views[0] or {}, views[1]))
    if json_:
        emit(
            {
                "agent": agent,
                "from": before.encode(),
                "to": after.encode(),
                "changes": [_change(one) for one in changes],
                "records": [_record(record, envelope) for record, envelope in records],
            }
        )
    else:
        _show(agent, changes, records)


def _require_order(before: Cut, after: Cut, from_: str, to: str) -> None:
    for source, end in before:
        if after.ends.get(source, 0) < end:
            raise ConfigurationError(f"--from {from_} is later than --to {to} on {source}")


def _view(
    session: Session,
    reader: KafkaLogReader,
    projection: AgentState,
    filters: Filters,
    cut: Cut,
    agent: str,
) -> dict[str, Any] | None:
    found = replay(
        projection,
        reader=reader,
        namespace=session.namespace,
        codec=session.codec,
        cut=cut,
        filters=filters,
    )
    view: dict[str, Any] | None = projection.view(found.state)["agents"].get(agent)
    return view


def _between(
    session: Session, reader: KafkaLogReader, filters: Filters, before: Cut, after: Cut
) -> Iterator[tuple[Record, Envelope]]:
    for source, end in after:
        for batch in reader.read(source, before.ends.get(source, 0), end):
            for record in batch:
                try:
                    envelope = session.codec.decode(record.value, record.headers)
                except DecodeError:
                    continue
                if filters.accept(envelope):
                    yield record, envelope


def _change(one: Difference) -> dict[str, Any]:
    return {
        "path": one.path,
        "before": None if one.before is NOTHING else one.before,
        "after": None if one.after is NOTHING else one.after,
    }


def _record(record: Record, envelope: Envelope) -> dict[str, Any]:
    return {
        "record": str(record),
        "appended_at": rfc3339(record.appended_at_ms * 1000),
        "id": envelope.id,
        "type": envelope.type,
        "sender": envelope.sender,
        "recipients": list(envelope.recipients),
        "correlation_id": envelope.correlation_id,
    }


def _show(agent: str, changes: list[Difference], records: list[tuple[Record, Envelope]]) -> None:
    if not changes:
        stdout.print(f"nothing changed about {agent}", markup=False)
        return
    table = Table(agent, "before", "after", box=box.SIMPLE_HEAD)
    for one in changes:
        table.add_row(one.path, str(one.before), str(one.after))
    stdout.print(table)
    did = Table("appended", "record", "type", "from", "to", box=box.SIMPLE_HEAD)
    for record, envelope in records[:SHOWN_MAX]:
        did.add_row(
            rfc3339(record.appended_at_ms * 1000),
            f"{record.topic.rpartition('.')[2]}[{record.partition}]@{record.position}",
            envelope.type.rpartition(".")[2],
            envelope.sender,
            ", ".join(envelope.recipients) or "*",
        )
    stdout.print(did)
    if len(records) > SHOWN_MAX:
        stderr.print(f"and {len(records) - SHOWN_MAX:,} records more; --json has them all")
