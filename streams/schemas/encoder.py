r"""Encoders: Python source made from a schema, compiled once, as the decoders are.

fastavro walks the schema anew for each value, and a check of the value walks both once more. An
encoder made for one schema does both in one pass, for values of the usual classes:

    def encode(v0, p):                       # {"name": "note", "type": ["null", "string"]}
        if v0.__class__ is not dict: unusual(v0)
        v1 = v0['note']
        if v1 is None: p(b'\x00')
        else:
            p(b'\x02')
            s = utf8(v1)
            n = len(s)
            p(COUNTS[n] if n < 1024 else long(n))
            p(s)
        if len(v0) != 1: unusual(v0)

It never writes what does not fit the schema, and what it writes is what fastavro would have
written (Avro 1.12 specification, "Binary Encoding"). What it does not take may fit all the same,
say a subclass of int, or a Mapping that is no dict: it raises one of `UNUSUAL`, and the slow way
decides. Schemas with logical types other than times in microseconds, and with unions that need a
closer look than one at the value's class, have no encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from struct import Struct
from typing import Any, Final, NoReturn

import msgspec
from fastavro.write import LOGICAL_WRITERS

from streams.schemas.function_text import FunctionText

Append = Callable[[bytes], None]
Encoder = Callable[[Any, Append], None]
"""Hands the pieces of a value's Avro body to an append function, in order. Whatever it had handed
over before it raised is of no use."""

UNUSUAL: Final = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What an encoder raises on values that it does not take."""

_DEPTH_MAX: Final = 12
_COUNTS_MAX: Final = 1024


def encoder_of(schema: Any) -> Encoder | None:
    """The encoder of a (parsed) record schema's values, from dicts; None if it has none."""
    return _made(schema, "v0[{!r}]", whole=True)


def attributes_encoder_of(schema: Any) -> Encoder | None:
    """The same from objects that have the record's fields as attributes, and perhaps others."""
    names = [field["name"] for field in schema["fields"]]
    return _made(schema, "v0.{}", whole=False) if all(map(str.isidentifier, names)) else None


def _made(schema: Any, access: str, *, whole: bool) -> Encoder | None:
    pieces = _Pieces()
    try:
        pieces.begin("encode(v0, p)")
        if whole:
            pieces.value(schema, "v0", 1)
        else:
            for field in schema["fields"]:
                variable = pieces.fresh()
                pieces.add(1, f"{variable} = {access.format(field['name'])}")
                pieces.value(field["type"], variable, 1)
        encode: Encoder = pieces.compiled("encode")
    except _NoEncoder:
        return None
    return encode


class _NoEncoder(Exception):
    """The schema holds what only fastavro writes."""


class _Pieces(FunctionText):
    """The text of one schema's encoder. `v0` is the value, `p` takes the next piece."""

    def __init__(self, named: dict[str, Any] | None = None) -> None:
        super().__init__(_CONSTANTS)
        self._named = {} if named is None else named

    def value(self, schema: Any, v: str, depth: int) -> None:
        """The steps that write what the variable `v` holds."""
        if depth > _DEPTH_MAX:
            raise _NoEncoder
        if isinstance(schema, list):
            self._union(schema, v, depth)
        elif not isinstance(schema, str):
            self._complex(schema, v, depth)
        elif schema in _PRIMITIVES:
            self._primitive(schema, v, depth)
        else:
            self._complex(self._known(schema), v, depth)

    def _complex(self, schema: Any, v: str, depth: int) -> None:
        match schema["type"], schema.get("logicalType"):
            case "record", None:
                self._record(schema, v, depth)
            case "enum", None:
                self._enum(schema, v, depth)
            case "array", None:
                self._array(schema["items"], v, depth)
            case "map", None:
                self._map(schema["values"], v, depth)
            case "long", "timestamp-micros":
                self.add(depth, f"if {v}.__class__ is datetime: {v} = micros({v})")
                self._primitive("long", v, depth)
            case str(kind), None if kind in _PRIMITIVES:
                self._primitive(kind, v, depth)
            case (dict() | list()) as nested, None:
                self.value(nested, v, depth)
            case _:
                raise _NoEncoder

    def _enum(self, schema: Any, v: str, depth: int) -> None:
        self._named[schema["name"]] = schema
        symbols = {symbol: long(n) for n, symbol in enumerate(schema["symbols"])}
        self.add(depth, f"p({self.constant(symbols)}[{v}])")

    def _known(self, name: str) -> Any:
        """An enum may come again by its name; a record may hold itself, and has none then."""
        schema = self._named.get(name)
        if schema is None:
            raise _NoEncoder
        return schema

    def _primitive(self, kind: str, v: str, depth: int) -> None:
        self.add(depth, *(line.format(v=v) for line in _PRIMITIVES[kind]))

    def _union(self, branches: list[Any], v: str, depth: int) -> None:
        """By the value's class alone. None first: it is the usual one, wherever it stands."""
        word = "if"
        others = list(enumerate(branches))
        if "null" in branches:
            null = others.pop(branches.index("null"))[0]
            self.add(depth, f"if {v} is None: p({long(null)!r})")
            if len(others) == 1:
                self.add(depth, "else:")
                self._branch(*others[0], v, depth)
                return
            word = "elif"
        classes = [_class_of(branch) for _, branch in others]
        if len(set(classes)) < len(classes) or {"int", "float"} <= set(classes):
            raise _NoEncoder  # an int may be meant for either number
        for one, cls in zip(others, classes, strict=True):
            self.add(depth, f"{word} {v}.__class__ is {cls}:")
            self._branch(*one, v, depth)
            word = "elif"
        self.add(depth, f"else: unusual({v})")

    def _branch(self, n: int, branch: Any, v: str, depth: int) -> None:
        self.add(depth + 1, f"p({long(n)!r})")
        self.value(branch, v, depth + 1)

    def _record(self, schema: Any, v: str, depth: int) -> None:
        count = self.fresh("n")
        self.add(depth, f"if {v}.__class__ is not dict: unusual({v})")
        fields = schema["fields"]
        self.add(depth, f"{count} = {len(fields)}")
        for field in fields:
            name, variable = field["name"], self.fresh()
            if "default" not in field:
                self.add(depth, f"{variable} = {v}[{name!r}]")
                self.value(field["type"], variable, depth)
                continue
            self.add(
                depth,
                f"{variable} = {v}.get({name!r}, missing)",
                f"if {variable} is missing:",
                f"    p({self._default(field)!r})",
                f"    {count} -= 1",
                "else:",
            )
            self.value(field["type"], variable, depth + 1)
        self.add(depth, f"if len({v}) != {count}: unusual({v})")

    def _default(self, field: Any) -> bytes:
        """What is written where the field is missing."""
        pieces = _Pieces(dict(self._named))
        pieces.begin("encode(v0, p)")
        pieces.value(field["type"], "v0", 1)
        found: list[bytes] = []
        try:
            pieces.compiled("encode")(field["default"], found.append)
        except UNUSUAL as error:
            raise _NoEncoder from error
        return b"".join(found)

    def _array(self, items: Any, v: str, depth: int) -> None:
        item = self.fresh()
        self.add(
            depth,
            f"if {v}.__class__ is not list and {v}.__class__ is not tuple: unusual({v})",
            f"if {v}:",
            f"    n = len({v})",
            f"    p(COUNTS[n] if n < {_COUNTS_MAX} else long(n))",
            f"    for {item} in {v}:",
        )
        self.value(items, item, depth + 2)
        self.add(depth, f"p({_END!r})")

    def _map(self, values: Any, v: str, depth: int) -> None:
        key, item = self.fresh(), self.fresh()
        self.add(
            depth,
            f"if {v}.__class__ is not dict: unusual({v})",
            f"if {v}:",
            f"    n = len({v})",
            f"    p(COUNTS[n] if n < {_COUNTS_MAX} else long(n))",
            f"    for {key}, {item} in {v}.items():",
        )
        self._primitive("string", key, depth + 2)
        self.value(values, item, depth + 2)
        self.add(depth, f"p({_END!r})")


def _class_of(branch: Any) -> str:
    """The class of a union's branch in Python, if that alone says that a value is meant for it."""
    kind = branch.get("type") if isinstance(branch, dict) else branch
    plain = isinstance(branch, str) or "logicalType" not in branch
    found = _CLASSES.get(kind) if isinstance(kind, str) and plain else None
    if found is None:
        raise _NoEncoder
    return found


def long(value: int) -> bytes:
    """A whole number of 64 bits. Raises `OverflowError` beyond."""
    if not -(2**63) <= value < 2**63:
        raise OverflowError(value)
    rest = (value << 1) ^ (value >> 63)
    if _SEVEN_BYTES <= rest < _EIGHT_BYTES:
        # As a time in microseconds is: the gaps that `varints.long_at` closes open in three steps.
        rest = rest & 0x000000000FFFFFFF | (rest & 0x00FFFFFFF0000000) << 4
        rest = rest & 0x00003FFF00003FFF | (rest & 0x0FFFC0000FFFC000) << 2
        rest = rest & 0x007F007F007F007F | (rest & 0x3F803F803F803F80) << 1
        return (rest | _CONTINUED).to_bytes(8, "little")
    written = bytearray()
    while rest > 0x7F:
        written.append((rest & 0x7F) | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def _int(value: int) -> bytes:
    if not -(2**31) <= value < 2**31:
        raise OverflowError(value)
    return long(value)


def _micros(value: datetime) -> Any:
    if value.tzinfo is None:
        raise ValueError(value)
    return LOGICAL_WRITERS["long-timestamp-micros"](value, {})


def _unusual(value: Any) -> NoReturn:
    raise TypeError(value)


_SEVEN_BYTES: Final = 1 << 49
_EIGHT_BYTES: Final = 1 << 56
_CONTINUED: Final = 0x0080808080808080
_END: Final = b"\x00"
_WHOLE: Final = (
    "if {v}.__class__ is not int: unusual({v})",
    f"p(COUNTS[{{v}}] if 0 <= {{v}} < {_COUNTS_MAX} else long({{v}}))",
)
_PRIMITIVES: Final[dict[str, tuple[str, ...]]] = {
    "null": ("if {v} is not None: unusual({v})",),
    "boolean": (
        "if {v} is True: p(b'\\x01')",
        "elif {v} is False: p(b'\\x00')",
        "else: unusual({v})",
    ),
    "int": (*_WHOLE[:1], _WHOLE[1].replace("else long(", "else small(")),
    "long": _WHOLE,
    "float": ("if {v}.__class__ is not float: unusual({v})", "p(float32({v}))"),
    "double": ("if {v}.__class__ is not float: unusual({v})", "p(float64({v}))"),
    "bytes": (
        "if {v}.__class__ is not bytes: unusual({v})",
        "n = len({v})",
        f"p(COUNTS[n] if n < {_COUNTS_MAX} else long(n))",
        "p({v})",
    ),
    "string": (
        "s = utf8({v})",
        "n = len(s)",
        f"p(COUNTS[n] if n < {_COUNTS_MAX} else long(n))",
        "p(s)",
    ),
}
_CLASSES: Final = {
    "boolean": "bool",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "bytes": "bytes",
    "string": "str",
    "array": "list",
    "record": "dict",
    "map": "dict",
}
_CONSTANTS: Final[dict[str, Any]] = {
    "COUNTS": tuple(map(long, range(_COUNTS_MAX))),
    "datetime": datetime,
    "float32": Struct("<f").pack,
    "float64": Struct("<d").pack,
    "long": long,
    "micros": _micros,
    "missing": msgspec.UNSET,
    "small": _int,
    "unusual": _unusual,
    "utf8": str.encode,
}
