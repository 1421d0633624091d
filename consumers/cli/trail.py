"""`agentlog trail`: every record of an agent, a channel or a correlation, and what became of it."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import islice
from typing import Annotated, Any, Final

import typer

from consumers.cli.catching_up import WAIT_S, Wait, bring_up_to_date
from consumers.cli.cut import read_named
from consumers.cli.kept import Store, store_url
from consumers.cli.output import emit_line, stderr, stdout
from consumers.cli.session import connect
from consumers.cli.trace_views import trail_entry
from consumers.databases import Database
from consumers.index import Key, LogIndex
from consumers.read_models import Generations
from consumers.tracing.document import ending_document, payload_of
from consumers.tracing.trail import About, Entry, Trails
from streams.errors import ConfigurationError, LogError
from streams.headers import rfc3339
from streams.kafka.cuts import NamedCuts
from streams.kafka.lookup import KafkaLookup
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at

SHOWN: Final = 100
"""Records that are shown, unless another number is asked for."""


def trail(
    agent: Annotated[str | None, typer.Option(help="What it sent, and was sent.")] = None,
    channel: Annotated[str | None, typer.Option(help="What was said there.")] = None,
    correlation: Annotated[str | None, typer.Option(help="What belongs to it.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="MOMENT", help="Default: the log's start.")
    ] = None,
    to: Annotated[str, typer.Option("--to", metavar="MOMENT")] = "now",
    limit: Annotated[int, typer.Option(min=1, help="Show so many records.")] = SHOWN,
    wait: Wait = WAIT_S,
    store: Store = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a record.")] = False,
) -> None:
    """The audit trail: every record, oldest first, with how each group finished with it.

    It is found by the index, which is brought up to date first; what is not in it after --wait
    seconds is not shown, and said so. `agentlog projections run index` keeps it up to date.
    """
    about = _about(agent, channel, correlation)
    session = connect()
    model = LogIndex()
    with (
        closing(Database(store_url(store, model))) as database,
        KafkaLogReader(session.bootstrap_servers) as reader,
        KafkaLookup(session.bootstrap_servers) as lookup,
    ):
        topics = session.namespace.topics(model.topics)
        named = read_named(NamedCuts(reader, session.namespace, session.codec))
        now_ms = time.time_ns() // 1_000_000
        until = resolve_at(reader, topics, to, now_ms, named)
        since = resolve_at(reader, topics, from_, now_ms, named) if from_ else until.of(())
        generations = Generations(database, model, session.namespace.name)
        # Outcomes may be younger than the records that they are of.
        bring_up_to_date(session, reader, generations, wait)
        trails = Trails(generations, lookup, session.codec, session.namespace)
        entries = trails.read(about, since, until)
        nothing = True
        for entry in islice(entries, limit):
            nothing = False
            if json_:
                emit_line(_document(entry))
            else:
                stdout.print(trail_entry(entry))
        more = next(entries, None) is not None
    if nothing:
        raise LogError(f"nothing of {about.text!r} is on the log between the two moments")
    if more:
        stderr.print(f"there is more: --limit {limit * 10}, or --from later", style="yellow")


def _about(agent: str | None, channel: str | None, correlation: str | None) -> About:
    asked = [
        About(keys, text)
        for keys, text in (
            ((Key.SENDER, Key.RECIPIENT), agent),
            ((Key.CHANNEL,), channel),
            ((Key.CORRELATION,), correlation),
        )
        if text is not None
    ]
    if len(asked) != 1:
        raise ConfigurationError("whose trail? Give one of --agent, --channel, --correlation")
    return asked[0]


def _document(entry: Entry) -> dict[str, Any]:
    record, envelope, endings = entry
    return {
        "record": str(record.place),
        "appended_at": rfc3339(record.appended_at_ms * 1000),
        "id": envelope.id,
        "type": envelope.type,
        "kind": envelope.kind,
        "sender": envelope.sender,
        "recipients": list(envelope.recipients),
        "channel_id": envelope.channel_id,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
        "created_at": rfc3339(envelope.created_at),
        "endings": [ending_document(one) for one in endings],
        "payload": payload_of(envelope),
    }
