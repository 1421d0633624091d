"""codec: our encode and decode against fastavro alone on the whole record.

Ours checks the envelope and its payload before it writes, and reads the envelope first, its
payload when somebody touches it; fastavro writes what it is given and reads everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figures import Results, ratio
from benchmarks.history import history
from benchmarks.plain import PlainMessage, plain_message, plain_reader, plain_schemas
from benchmarks.rounds import Contender, Run, alternate
from benchmarks.stage import Stage, open_codec


def bench(stage: Stage) -> Results:
    """Encode and decode in memory."""
    codec = open_codec()
    envelopes = history(stage.size(40_000, 4_000))
    schemas = plain_schemas(codec.catalogue)
    messages = [plain_message(envelope, schemas) for envelope in envelopes]
    values = [codec.encode(envelope) for envelope in envelopes]
    if values != [message.value() for message in messages]:
        raise AssertionError("the two encoders do not write the same bytes")
    measured = alternate(
        stage,
        [
            Contender("encode", _each(codec.encode, envelopes)),
            Contender("encode: fastavro", _each(PlainMessage.value, messages)),
            Contender("decode, envelope only", _each(codec.decode, values)),
            Contender(
                "decode, payload too",
                _each(
                    lambda value: codec.decode(value).payload.fields,  # type: ignore[attr-defined]
                    values,
                ),
            ),
            Contender("decode: fastavro", _each(plain_reader(codec.catalogue), values)),
        ],
        stage.size(9, 3),
    )
    encode, plain_encode, prefix, whole, plain_decode = measured
    size = sum(map(len, values)) / len(values)
    return Results(
        bench="codec",
        workload=f"{len(values):,} envelopes of the history, {size:.0f} bytes each on average, in "
        "memory, one thread. Both encoders were checked to write the same bytes.",
        measured=measured,
        figures=[
            ratio("encode, checks included, over fastavro's writer", encode, plain_encode),
            ratio("decode of the envelope over fastavro's reader of all", prefix, plain_decode),
            ratio("decode of envelope and payload over fastavro's reader", whole, plain_decode),
        ],
    )


def _each(function: Callable[[Any], object], items: Sequence[Any]) -> Run:
    def run() -> float:
        began = time.perf_counter()
        for item in items:
            function(item)
        return len(items) / (time.perf_counter() - began)

    return run
