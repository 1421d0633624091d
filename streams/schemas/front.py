"""Fronts: from a value's bytes to its envelope in one function, made from the writer's schema.

The envelope's own fields stand first in a value, so they are read one after the other into
variables and handed to `Envelope` by name, without a dict between. Fields that the writer lacks
get the envelope's defaults, fields that the envelope lacks are read and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from streams.envelope import Envelope, Kind, Lane
from streams.schemas.steps import Steps
from streams.schemas.stored import PayloadReader, StoredPayload

Front = Callable[[bytes, int, PayloadReader], Envelope]
"""Bytes, where the envelope begins in them, what reads its payload → the envelope."""

_KINDS: Final = {kind.value: kind for kind in Kind}
_LANES: Final = {lane.value: lane for lane in Lane}
_SYMBOLS: Final[dict[str, tuple[dict[str, Any], Any]]] = {
    "kind": (_KINDS, Kind.UNKNOWN),
    "lane": (_LANES, Lane.DATA),
}
# msgspec takes thrice as long for two dozen keywords as for one dozen, and most of these are None.
_NONE_AT_FIRST: Final = frozenset(
    field.name for field in msgspec.structs.fields(Envelope) if field.default is None
)
_ENVELOPE_FIELDS: Final = frozenset(Envelope.__struct_fields__) - {"payload"}


def front_of(prefix: Any) -> Front:
    """The front of a writer's (parsed) schema that was cut off before `payload`.

    It raises one of `BAD_BYTES` where the bytes are not what the schema says. A field whose type
    is not ours is handed on as it is, as long as `Envelope` can be made from it.
    """
    steps = Steps(
        prefix, Envelope=Envelope, StoredPayload=StoredPayload, force_setattr=force_setattr
    )
    steps.begin("front(b, i, reader)")
    given: dict[str, str] = {}
    optional: dict[str, str] = {}
    for field in prefix["fields"]:
        name, schema, variable = field["name"], field["type"], steps.fresh()
        _field(steps, name, schema, variable)
        if name in _ENVELOPE_FIELDS:
            found = optional if name in _NONE_AT_FIRST and isinstance(schema, list) else given
            found[name] = variable
    steps.add(
        1,
        "if i > len(b): wrong_end(b, i)",
        "found = Envelope(",
        "    payload=StoredPayload(reader, b, i),",
        *(f"    {name}={variable}," for name, variable in given.items()),
        ")",
    )
    for name, variable in optional.items():
        steps.add(1, f"if {variable} is not None: force_setattr(found, {name!r}, {variable})")
    steps.add(1, "return found")
    front: Front = steps.compiled("front")
    return front


def _field(steps: Steps, name: str, schema: Any, variable: str) -> None:
    if name not in _SYMBOLS:
        steps.value(schema, variable, 1)
        if name == "recipients":
            steps.add(1, f"{variable} = tuple({variable})")
        return
    known, unknown = _SYMBOLS[name]
    if isinstance(schema, dict) and schema["type"] == "enum":
        steps.symbols([known.get(symbol, unknown) for symbol in schema["symbols"]], variable, 1)
    else:
        steps.value(schema, variable, 1)
        lookup = f"{steps.constant(known)}.get({variable}, {steps.constant(unknown)})"
        steps.add(1, f"{variable} = {lookup}")
