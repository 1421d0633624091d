"""What of a state CBOR does not keep: it comes back as something else.

A tuple comes back as a list, a defaultdict as a dict, a named tuple as a list. They are equal by
their digests, but code that goes on with them may not do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cbor2

from consumers.differences import Difference


def unkept(state: Any) -> Iterator[Difference]:
    """Every value that is of another type once it was stored and read back; the outermost ones."""
    return _unkept(state, cbor2.loads(cbor2.dumps(state)), "")


def _unkept(value: Any, kept: Any, path: str) -> Iterator[Difference]:
    if type(value) is not type(kept):
        yield Difference(path, value, kept)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in kept:
                named = isinstance(key, str) and key.isidentifier()
                step = f".{key}" if named else f"[{key!r}]"
                yield from _unkept(inner, kept[key], f"{path}{step}".lstrip("."))
    elif isinstance(value, list):
        for n, (inner, other) in enumerate(zip(value, kept, strict=True)):
            yield from _unkept(inner, other, f"{path}[{n}]")
