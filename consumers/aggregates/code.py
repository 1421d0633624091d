"""What an aggregate's states hang on: digests of its code and of its events' schemas.

A snapshot is only as good as the code that made it. The digests are careful rather than clever: the
whole source of every module that `initial` or a function of `evolve` is from counts, so a changed
comment makes snapshots useless too, and a changed state never passes for the same. What such a
module imports is not seen: raise the aggregate's `version` for that.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

from consumers.aggregates.aggregate import Aggregate
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
    for text in sorted({_text_of(function) for function in functions}):
        code.update(text.encode())
    for type_name, _ in aggregate.functions:
        try:
            text = codec.catalogue.type(type_name).writer.text
        except UnknownType:
            text = ""
        schemas.update(f"{type_name}\x00{text}\x00".encode())
    return Made(code.hexdigest(), schemas.hexdigest())


def _text_of(function: Callable[..., Any]) -> str:
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    try:
        if module is not None:
            return inspect.getsource(module)
    except (OSError, TypeError):
        pass
    # Typed into an interpreter, or built in: its name, and its instructions if it has any.
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(type(function)))
    return f"{name}\x00{_instructions(code)}" if isinstance(code, CodeType) else name


def _instructions(code: CodeType) -> str:
    constants = (
        _instructions(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts
    )
    return f"{sys.version_info[:2]}{code.co_code.hex()}{code.co_names}{tuple(constants)}"
