"""Steps: the source text that reads a value of a schema, as `decoder` and `front` put it together.

`b` is the bytes, `i` where the next value begins. Steps may run past the end without a check each:
a slice is then too short, the next index fails, and `wrong_end` refuses the last one. What a table
answers with None is rare or wrong, and the functions of `varints` read it. Nothing of a schema
gets into the text but through `repr`; its names are never Python's.

A type that is referred to by its name, and one that is nested deeper than Python would compile, is
read by a function of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastavro.read import LOGICAL_READERS

from streams.schemas.function_text import FunctionText
from streams.schemas.varints import (
    ONE_BYTE_COUNTS,
    ONE_BYTE_LONGS,
    count_at,
    index_at,
    long_at,
    no_more_than,
    span_at,
    symbol_at,
    wrong_end,
)

_DEPTH_MAX: Final = 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Steps(FunctionText):
    """The text of the functions that one schema needs."""

    def __init__(self, schema: Any, **constants: Any) -> None:
        super().__init__({**_CONSTANTS, **constants})
        self._named = dict(_named_in(schema))
        self._function_of: dict[str, str] = {}
        self._missing: list[tuple[str, Any]] = []

    def compiled(self, name: str) -> Any:
        """The function of this name, with those that it calls."""
        while self._missing:
            function, schema = self._missing.pop()
            self.begin(f"{function}(b, i)")
            self.value(schema, "v0", 1)
            self.add(1, "return v0, i")
        return super().compiled(name)

    def value(self, schema: Any, target: str, depth: int) -> None:
        """The steps that read a value into the variable `target`."""
        if isinstance(schema, list):
            self._union(schema, target, depth)
        elif isinstance(schema, str):
            if schema in _PRIMITIVES:
                self.add(depth, *(line.format(v=target) for line in _PRIMITIVES[schema]))
            else:
                self._reference(schema, target, depth)
        elif not isinstance(schema["type"], str):
            self.value(schema["type"], target, depth)
        else:
            self._complex(schema, target, depth)
            self._logical(schema, target, depth)

    def symbols(self, symbols: Sequence[Any], target: str, depth: int) -> None:
        """The steps that read an enum, whose symbols in their order are read as these."""
        table = [symbols[n >> 1] if n < 0x80 and not n & 1 and n >> 1 < len(symbols) else None
                 for n in range(256)]  # fmt: skip
        self.add(
            depth,
            f"{target} = {self.constant(tuple(table))}[b[i]]",
            f"if {target} is None: {target}, i = symbol_at(b, i, {self.constant(tuple(symbols))})",
            "else: i += 1",
        )

    def _complex(self, schema: Any, target: str, depth: int) -> None:
        match schema["type"]:
            case "record" | "error":
                self._record(schema, target, depth)
            case "enum":
                self.symbols(schema["symbols"], target, depth)
            case "fixed":
                self._fixed(schema["size"], target, depth)
            case "array":
                self._blocks(schema["items"], target, depth, keyed=False)
            case "map":
                self._blocks(schema["values"], target, depth, keyed=True)
            case primitive:
                self.value(primitive, target, depth)

    def _fixed(self, size: Any, target: str, depth: int) -> None:
        if not isinstance(size, int) or size < 0:
            raise ValueError(f"the size of a `fixed` is {size!r}")
        # Checked at once, for no index fails in an array of these.
        self.add(
            depth,
            "s = i",
            f"i += {size}",
            "if i > len(b): wrong_end(b, i)",
            f"{target} = b[s:i]",
        )

    def _record(self, schema: Any, target: str, depth: int) -> None:
        found = []
        for field in schema["fields"]:
            variable = self.fresh()
            self._nested(field["type"], variable, depth)
            found.append(f"{field['name']!r}: {variable}")
        self.add(depth, f"{target} = {{{', '.join(found)}}}")

    def _blocks(self, schema: Any, target: str, depth: int, *, keyed: bool) -> None:
        count, key, item = self.fresh("n"), self.fresh(), self.fresh()
        self.add(
            depth,
            f"{target} = {'{}' if keyed else '[]'}",
            f"{count} = COUNTS[b[i]]",
            f"if {count} is None: {count}, i = count_at(b, i)",
            "else: i += 1",
            f"while {count}:",
        )
        if not keyed and not _takes_bytes(schema, self._named):
            self.add(depth + 1, f"no_more_than({count} + len({target}))")
        self.add(depth + 1, f"for _ in range({count}):")
        if keyed:
            self.value("string", key, depth + 2)
        self._nested(schema, item, depth + 2)
        self.add(depth + 2, f"{target}[{key}] = {item}" if keyed else f"{target}.append({item})")
        self.add(
            depth + 1,
            f"if b[i]: {count}, i = count_at(b, i)",
            "else:",
            "    i += 1",
            "    break",
        )

    def _union(self, branches: list[Any], target: str, depth: int) -> None:
        if len(branches) == 2 and branches[0] == "null":
            self.add(
                depth,
                f"{target} = None",
                "n = b[i]",
                "i += 1",
                "if n:",
                "    if n != 2:",
                "        n, i = index_at(b, i - 1, 2, 'branch')",
                "    if n:",
            )
            self._nested(branches[1], target, depth + 2)
            return
        index = self.fresh("n")
        self.add(
            depth,
            f"{index} = COUNTS[b[i]]",
            f"if {index} is None or {index} >= {len(branches)}: "
            f"{index}, i = index_at(b, i, {len(branches)}, 'branch')",
            "else: i += 1",
        )
        for n, branch in enumerate(branches):
            self.add(depth, f"if {index} == {n}:")
            self._nested(branch, target, depth + 1)

    def _nested(self, schema: Any, target: str, depth: int) -> None:
        if depth > _DEPTH_MAX and not (isinstance(schema, str) and schema in _PRIMITIVES):
            self._call(schema, target, depth)
        else:
            self.value(schema, target, depth)

    def _reference(self, name: str, target: str, depth: int) -> None:
        schema = self._named[name]
        if schema["type"] in {"record", "error"}:
            self._call(schema, target, depth)
        else:
            self.value(schema, target, depth)

    def _call(self, schema: Any, target: str, depth: int) -> None:
        name = schema.get("name") if isinstance(schema, dict) else None
        function = self._function_of.get(name or "")
        if function is None:
            function = self.fresh("read")
            self._missing.append((function, schema))
            if name is not None:
                self._function_of[name] = function
        self.add(depth, f"{target}, i = {function}(b, i)")

    def _logical(self, schema: Any, target: str, depth: int) -> None:
        logical = f"{schema['type']}-{schema.get('logicalType')}"
        read = LOGICAL_READERS.get(logical)
        if logical == "long-timestamp-micros":
            self.add(depth, f"{target} = EPOCH + timedelta(0, 0, {target})")
        elif read is not None:
            self.add(
                depth,
                f"{target} = {self.constant(read)}({target}, {self.constant(schema)}, None)",
            )


def _named_in(schema: Any) -> Iterator[tuple[str, Any]]:
    """The named types that a schema defines, by their full names."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _named_in(branch)
    elif isinstance(schema, dict):
        if isinstance(schema["type"], str) and schema["type"] in _NAMED:
            yield schema["name"], schema
        for field in schema.get("fields", ()):
            yield from _named_in(field["type"])
        for inner in ("type", "items", "values"):
            yield from _named_in(schema.get(inner))


def _takes_bytes(schema: Any, named: Mapping[str, Any]) -> bool:
    """Whether each value takes at least one byte."""
    if isinstance(schema, str):
        if schema == "null":
            return False
        # A record that is still open when it is named here holds itself: it ends in a byte.
        return schema not in named or _takes_bytes(named[schema], {**named, schema: "string"})
    if isinstance(schema, list):
        return True
    match schema["type"]:
        case "record" | "error":
            inner = {**named, schema["name"]: "string"}
            return any(_takes_bytes(field["type"], inner) for field in schema["fields"])
        case "fixed":
            return bool(schema["size"])
        case "null":
            return False
        case str():
            return True
        case nested:
            return _takes_bytes(nested, named)


_NAMED: Final = {"record", "error", "enum", "fixed"}
_SPAN: Final = (
    "s = i + 1",
    "n = COUNTS[b[i]]",
    "if n is None: s, i = span_at(b, i)",
    "else: i = s + n",
)
_LONG: Final = (
    "{v} = LONGS[b[i]]",
    "if {v} is None: {v}, i = long_at(b, i)",
    "else: i += 1",
)
_PRIMITIVES: Final[Mapping[str, tuple[str, ...]]] = {
    "null": ("{v} = None",),
    "boolean": ("{v} = b[i] != 0", "i += 1"),
    "int": _LONG,
    "long": _LONG,
    "float": ("({v},) = float_at(b, i)", "i += 4"),
    "double": ("({v},) = double_at(b, i)", "i += 8"),
    "bytes": (*_SPAN, "{v} = b[s:i]"),
    "string": (*_SPAN, "{v} = b[s:i].decode()"),
}
_CONSTANTS: Final[Mapping[str, Any]] = {
    "COUNTS": ONE_BYTE_COUNTS,
    "EPOCH": _EPOCH,
    "LONGS": ONE_BYTE_LONGS,
    "count_at": count_at,
    "double_at": struct.Struct("<d").unpack_from,
    "float_at": struct.Struct("<f").unpack_from,
    "index_at": index_at,
    "long_at": long_at,
    "no_more_than": no_more_than,
    "span_at": span_at,
    "symbol_at": symbol_at,
    "timedelta": timedelta,
    "wrong_end": wrong_end,
}
