"""How dead letters look: to people as tables, to programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consumers.dead_letters import Entry, Plan, Resolution
from streams.dead_letters import NOWHERE, DeadLetter
from streams.errors import DecodeError
from streams.headers import rfc3339
from streams.messages import payload_json
from streams.record import Record
from streams.schemas import Codec
from streams.topics import Namespace

HEX_BYTES_MAX: Final = 512
"""Bytes shown of a value that cannot be decoded; `--json` has them all."""


def group_shown(namespace: Namespace, group: str) -> str:
    """A group as people name it: without the namespace; `-` where there was none."""
    return group.removeprefix(f"{namespace.name}.") or "-"


def entry_document(namespace: Namespace, entry: Entry) -> dict[str, Any]:
    """One dead letter of a list; `source` is null for what was dead before it was on a topic."""
    letter, facts, resolution = entry.letter, entry.facts, entry.resolution
    return {
        "position": entry.place.shown(namespace),
        "dead_at": rfc3339(entry.appended_at_ms * 1000),
        "source": f"{letter.source}@{letter.position}" if letter.position != NOWHERE else None,
        "group": group_shown(namespace, letter.group),
        "handlers": list(letter.handlers),
        "type": facts.type,
        "id": facts.id,
        "sender": facts.sender,
        "recipients": list(facts.recipients),
        "correlation_id": facts.correlation_id,
        "error": {"name": letter.error_name, "message": letter.error_message},
        "attempts": letter.attempts,
        "retry_count": letter.retry_count,
        "state": entry.state,
        "redrive": resolution.redrive if resolution else 0,
        "note": resolution.note if resolution else "",
    }


def list_table(namespace: Namespace, entries: Iterable[Entry], *, notes: bool) -> Table:
    """A list of dead letters, in the order given."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("position", no_wrap=True)
    for name in ("when", "group", "type", "id", "error", "attempts", "state"):
        table.add_column(name, justify="right" if name == "attempts" else "left", overflow="fold")
    if notes:
        table.add_column("note", overflow="fold")
    for entry in entries:
        letter, facts = entry.letter, entry.facts
        cells = [
            entry.place.shown(namespace),
            f"{datetime.fromtimestamp(entry.appended_at_ms / 1000, UTC):%m-%d %H:%M:%S}",
            group_shown(namespace, letter.group),
            facts.type.rpartition(".")[2] or "?",
            facts.id or "?",
            letter.error_name,
            str(letter.attempts),
            entry.state,
        ]
        if notes:
            cells.append(entry.resolution.note if entry.resolution else "")
        table.add_row(*map(Text, cells))
    return table


def plan_document(namespace: Namespace, plan: Plan) -> dict[str, Any]:
    """What is about to be done."""
    return {
        "planned": len(plan.entries),
        "by": [
            {
                "topic": namespace.logical(topic),
                "group": group_shown(namespace, group),
                "error": error,
                "count": count,
            }
            for (topic, group, error), count in plan.counts()
        ],
        "already_resolved": plan.already,
        "more": plan.more,
    }


def plan_table(namespace: Namespace, plan: Plan) -> Table:
    """The same for people."""
    table = Table("topic", "group", "error", box=box.SIMPLE_HEAD)
    table.add_column("dead letters", justify="right")
    for (topic, group, error), count in plan.counts():
        cells = (namespace.logical(topic), group_shown(namespace, group), error, f"{count:,}")
        table.add_row(*map(Text, cells))
    return table


def message_document(record: Record, codec: Codec) -> tuple[Any, str]:
    """The dead envelope as JSON, or its bytes as hex; and why, if it cannot be decoded."""
    try:
        envelope = codec.decode(record.value, record.headers)
        fields = msgspec.structs.asdict(envelope)
        fields["created_at"] = rfc3339(envelope.created_at)
        fields["payload"] = payload_json(envelope.type, envelope.payload)
    except (DecodeError, ValueError) as error:
        hexed = {"hex": record.value.hex()} if record.value is not None else None
        return hexed, str(error)
    return fields, ""


def show_document(
    namespace: Namespace,
    entry: Entry,
    record: Record,
    history: Sequence[Resolution],
    codec: Codec,
) -> dict[str, Any]:
    """Everything about one dead letter; `dead_letter` is S3.11's record."""
    message, problem = message_document(record, codec)
    letter = DeadLetter.from_record(record)
    return {
        **entry_document(namespace, entry),
        "dead_letter": letter.document(message),
        "problem": problem,
        "key": _shown(record.key),
        "value_bytes": len(record.value) if record.value is not None else None,
        "headers": [[name, _shown(value)] for name, value in record.headers],
        "history": [
            {
                "at": rfc3339(one.at_ms * 1000),
                "by": one.by,
                "action": one.action,
                "redrive": one.redrive,
                "note": one.note,
            }
            for one in history
        ],
    }


def show_view(document: dict[str, Any]) -> RenderableType:
    """The same for people."""
    letter = document["dead_letter"]
    facts = _table()
    for label, value in (
        ("position", document["position"]),
        ("dead since", document["dead_at"]),
        ("state", document["state"]),
        ("came from", document["source"] or "nowhere: it was never on its topic"),
        ("group", document["group"]),
        ("handlers", ", ".join(document["handlers"]) or "none: it got to no handler, or all"),
        ("attempts", str(document["attempts"])),
        ("redriven before", str(document["retry_count"])),
        ("type", document["type"] or "?"),
        ("id", document["id"] or "?"),
        ("key", document["key"] or "-"),
        ("context", json.dumps(letter["context"], ensure_ascii=False)),
    ):
        facts.add_row(label, Text(value))
    error = letter["error"]
    parts: list[RenderableType] = [
        facts,
        Text(f"{error['name']}: {error['message']}", style="red"),
        Text(error["stack"]),
        Text("\nheaders", style="bold"),
        _rows((name, value or "") for name, value in document["headers"] if name[:4] != "dlq_"),
        Text("\nmessage", style="bold"),
        Text(_message_text(document)),
    ]
    if document["history"]:
        parts.append(Text("\nhistory", style="bold"))
        parts.append(
            _rows(
                (one["at"], f"{one['action']} by {one['by']}: {one['note'] or 'no note'}")
                for one in document["history"]
            )
        )
    return Group(*parts)


def _message_text(document: dict[str, Any]) -> str:
    message, problem = document["dead_letter"]["message"], document["problem"]
    if not problem:
        return json.dumps(message, indent=2, ensure_ascii=False)
    if message is None:
        return f"no value ({problem})"
    hexed = message["hex"]
    rest = len(hexed) // 2 - HEX_BYTES_MAX
    more = f"… and {rest:,} bytes more; --json has them all" if rest > 0 else ""
    return f"cannot be decoded: {problem}\n{hexed[: 2 * HEX_BYTES_MAX]}{more}"


def _rows(rows: Iterable[tuple[str, str]]) -> Table:
    table = _table()
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def _table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    return table


def _shown(value: bytes | None) -> str | None:
    """Bytes as text, or as hex where they are none."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"
