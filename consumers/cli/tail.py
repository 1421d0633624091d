"""`agentlog tail`: watch the log, as it is or as it grows."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.markup import escape

from consumers.cli.output import emit_line, stdout
from consumers.cli.session import connect
from streams.envelope import Envelope
from streams.errors import ConfigurationError, DecodeError
from streams.headers import rfc3339
from streams.kafka.reader import KafkaLogReader
from streams.kafka.tail import Filter, Sighting
from streams.kafka.tail import tail as watch
from streams.messages import payload_json
from streams.ranges import Bound, parse_bound, parse_range, resolve
from streams.session import Session
from streams.topics import AGENT_TOPICS, TOPICS

DEFAULT_FROM: Final = "-10"
PAYLOAD_CHARS_MAX: Final = 160
"""Characters of a payload in the pretty form."""

_COLOURS: Final = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green")


def tail(
    topics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TOPIC]...", help="Which topics; default: those that agents write to."
        ),
    ] = None,
    from_: Annotated[
        str, typer.Option("--from", help="start, end, +N, -N, N, @-1h, @TIME, or a range A:B.")
    ] = DEFAULT_FROM,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Where to end; default: the end as it is, or never with --follow."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="End after this many.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Records with this key.")] = None,
    agent: Annotated[str | None, typer.Option(help="Sent by, or to, this agent.")] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Payload type (full or last name) or kind.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="In this channel.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show records, the last ten of each partition first."""
    names = _topics(topics)
    start, end = _bounds(from_, to, follow=follow)
    wanted = Filter(key=key, agent=agent, type=type_, channel=channel)
    asyncio.run(_tail(connect(), names, start, end, wanted, limit, json_=json_))


def _topics(asked: list[str] | None) -> tuple[str, ...]:
    for name in asked or ():
        if name not in TOPICS:
            raise ConfigurationError(f"no topic {name!r}; there are {', '.join(TOPICS)}")
    return tuple(asked) if asked else AGENT_TOPICS


def _bounds(from_: str, to: str | None, *, follow: bool) -> tuple[Bound, Bound | None]:
    now_ms = time.time_ns() // 1_000_000
    start, end = parse_range(from_, now_ms)
    if end is not None and (to is not None or follow):
        raise ConfigurationError("--from gives a range already: leave out --to and --follow")
    if to is not None:
        if follow:
            raise ConfigurationError("--to ends where --follow goes on: give one of them")
        end = parse_bound(to, now_ms)
    if end is None and not follow:
        end = parse_bound("end", now_ms)
    return start, end


async def _tail(
    session: Session,
    names: tuple[str, ...],
    start: Bound,
    end: Bound | None,
    wanted: Filter,
    limit: int | None,
    *,
    json_: bool,
) -> None:
    with KafkaLogReader(session.bootstrap_servers) as reader:
        spans = resolve(reader, session.namespace.topics(names), start, end)
    shown = 0
    async with aclosing(watch(session.bootstrap_servers, session.codec, spans, wanted)) as seen:
        async for sighting in seen:
            if json_:
                emit_line(_document(sighting))
            else:
                _print(sighting)
            shown += 1
            if limit is not None and shown >= limit:
                break


def _document(sighting: Sighting) -> dict[str, Any]:
    record, envelope, problem = sighting
    document: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "position": record.position,
        "appended_at": rfc3339(record.appended_at_ms * 1000),
        "key": record.key.decode(errors="replace") if record.key is not None else None,
    }
    if envelope is None:
        return document | {"problem": problem}
    fields = msgspec.structs.asdict(envelope)
    fields["created_at"] = rfc3339(envelope.created_at)
    try:
        fields["payload"] = payload_json(envelope.type, envelope.payload)
    except (DecodeError, ValueError) as error:
        fields["payload"] = None
        document["problem"] = str(error)
    return document | {"envelope": fields}


def _print(sighting: Sighting) -> None:
    record, envelope, problem = sighting
    at = datetime.fromtimestamp(record.appended_at_ms / 1000, UTC)
    where = f"{record.topic.partition('.')[2]}[{record.partition}]@{record.position}"
    front = f"[dim]{at:%m-%d %H:%M:%S.%f}"[:-3] + f" {where}[/dim]"
    if envelope is None:
        stdout.print(f"{front} [red]{escape(problem or '')}[/red]", soft_wrap=True)
        return
    stdout.print(
        f"{front} {_agent(envelope.sender)} → {_to(envelope)} "
        f"[bold]{envelope.type.rpartition('.')[2]}[/bold]"
        f"{f' #{escape(envelope.channel_id)}' if envelope.channel_id else ''} "
        f"{escape(_payload_text(envelope))}",
        soft_wrap=True,
    )


def _payload_text(envelope: Envelope) -> str:
    try:
        document = payload_json(envelope.type, envelope.payload)
    except (DecodeError, ValueError) as error:
        return f"({error})"
    text = msgspec.json.encode(document).decode()
    return text if len(text) <= PAYLOAD_CHARS_MAX else text[:PAYLOAD_CHARS_MAX] + "…"


def _to(envelope: Envelope) -> str:
    if not envelope.recipients:
        return escape(envelope.broadcast_pattern or "*")
    return ", ".join(_agent(name) for name in envelope.recipients)


def _agent(name: str) -> str:
    colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
    return f"[{colour}]{escape(name)}[/{colour}]"
