"""What an aggregate's states hang on: digests of its code and of its events' schemas.

A snapshot is only as good as the code that made it. The digests are careful rather than clever: the
whole source of every module that `initial` or a function of `evolve` is from counts, so a changed
comment makes snapshots useless too, and a changed state never passes for the same. What such a
module imports is not seen: raise the aggregate's `version` for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

from consumers.aggregates.aggregate import Aggregate
from consumers.source_code import text_of
from streams.errors import UnknownType
from streams.schemas import Codec


class Made(NamedTuple):
    """What states were made by."""

    code: str
    schemas: str


def made_by(aggregate: Aggregate, codec: Codec) -> Made:
    """The digests of an aggregate as it is here and now."""
    code, schemas = hashlib.sha256(), hashlib.sha256()
    code.update(f"{aggregate.name}\x00{aggregate.version}\x00".encode())
    functions: list[Callable[..., Any]] = [aggregate.initial]
    functions += [function for _, function in aggregate.functions]
    for text in sorted({text_of(function) for function in functions}):
        code.update(text.encode())
    for type_name, _ in aggregate.functions:
        try:
            text = codec.catalogue.type(type_name).writer.text
        except UnknownType:
            text = ""
        schemas.update(f"{type_name}\x00{text}\x00".encode())
    return Made(code.hexdigest(), schemas.hexdigest())
