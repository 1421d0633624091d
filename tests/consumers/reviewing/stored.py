"""A log in memory with records of a user's own type, and folders that change it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from consumers.reviewing.sides import Sides
from streams.envelope import Envelope
from streams.identity import message_id
from streams.memory import MemoryLog
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.topics import EVENTS, TOPICS, Namespace
from streams.topics.partitioning import partition_for
from tests.schemas.folder import field, record, write_folder, write_type

NAMESPACE: Final = Namespace("test")
PLACED: Final = "acme.order.Placed"


class Ticking:
    """A millisecond passes with each look at it."""

    def __init__(self) -> None:
        self._now_us = 1_700_000_000_000_000

    def now_us(self) -> int:
        self._now_us += 1_000
        return self._now_us


def placed(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The type, with a SKU that nothing ever happens to."""
    return record("Placed", field("sku"), *fields, **more)


def new_log() -> MemoryLog:
    log = MemoryLog(Ticking())
    log.provision(NAMESPACE, TOPICS)
    return log


def envelope(n: int, payload: dict[str, Any]) -> Envelope:
    return Envelope(
        type=PLACED,
        id=message_id(1_700_000_000_000 + n, f"{n:09d}"),
        sender="shop",
        correlation_id=f"k{n % 5}",
        created_at=1_700_000_000_000_000 + n,
        payload={"sku": f"sku-{n}", **payload},
    )


def append(log: MemoryLog, folder: Path, payloads: Iterable[dict[str, Any]]) -> list[str]:
    """Records as the folder's types are written; where each is."""
    codec, topic = Codec(Catalogue.load(folder)), NAMESPACE.topic(EVENTS)
    places = []
    for n, payload in enumerate(payloads):
        one = envelope(n, payload)
        key = (one.correlation_id or "").encode()
        source = Partition(topic, partition_for(key, len(log.partitions(topic))))
        places.append(f"{source}@{log.append(source, key, codec.encode(one))}")
    return places


def sides_of(base: Path, *schemas: dict[str, Any], text: str = "") -> Sides:
    """The folder, and beside it the candidate's; `text` is its upcasters, which lock it too."""
    head = base.parent / f"{base.name}-head"
    shutil.copytree(base, head)
    if text:
        (head / "upcasters.py").write_text(text)
        write_folder(head, *schemas)
        return Sides(base, head)
    for schema in schemas:
        write_type(head, schema)
    return Sides(base, head)
