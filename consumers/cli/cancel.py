"""`agentlog cancel`: say that envelopes are not to be handled, or not any longer."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from consumers.cli.output import emit, stderr
from consumers.cli.session import connect
from streams.control import OPERATOR
from streams.control import cancel as cancel_envelope
from streams.errors import ConfigurationError
from streams.identity import is_message_id
from streams.kafka.publisher import Published
from streams.session import Session


def cancel(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of envelopes.")],
    reason: Annotated[str, typer.Option(help="Why; the journal keeps it.")] = "",
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Cancel envelopes by id, wherever they are: waiting, running, or not there yet.

    What has been handled already stays as it is.
    """
    for message_id in ids:
        if not is_message_id(message_id):
            raise ConfigurationError(
                f"{message_id!r} is no envelope's id: msg-<13 digits>-<9 of a-z0-9>"
            )
    wanted = list(dict.fromkeys(ids))
    sent = asyncio.run(_publish(connect(), wanted, reason))
    if json_:
        emit({"cancelled": [_facts(*one) for one in zip(wanted, sent, strict=True)]})
        return
    for message_id, placed in zip(wanted, sent, strict=True):
        stderr.print(
            f"sent: cancel {message_id} ({placed.topic}[{placed.partition}]@{placed.position})",
            markup=False,
            soft_wrap=True,
        )
    stderr.print("a worker that has it running interrupts it; any other will skip it")


async def _publish(session: Session, ids: list[str], reason: str) -> list[Published]:
    async with session.publisher(OPERATOR) as publisher:
        return await publisher.publish_many(
            cancel_envelope(message_id, reason) for message_id in ids
        )


def _facts(message_id: str, placed: Published) -> dict[str, Any]:
    return {
        "id": message_id,
        "topic": placed.topic,
        "partition": placed.partition,
        "position": placed.position,
    }
