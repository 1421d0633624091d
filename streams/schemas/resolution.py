"""Resolution: what one schema wrote, read as another says, as Avro resolves the two.

fastavro resolves them. It is given schemas on which it does what the specification says:

- Each name of a type is replaced by the type itself, so that recursion is a loop of dicts. Where a
  value that is no union meets a union that only names its type, fastavro takes the name for a type.
- Names have the kind of their type in them. fastavro takes an enum for a record of its name.
- Defaults are values of their types. fastavro hands out the JSON that stands in the schema, the
  text "\u00ff" for a byte, and one and the same list to each record.

Schemas that differ in their docs alone are not resolved at all. fastavro would, by the first branch
of a union that matches, and fail where one of a namesake wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import fastavro
from fastavro.read import SchemaResolutionError

from streams.errors import DecodeError
from streams.schemas.compatibility import InvalidSchema, ParsedSchema, parse_schema
from streams.schemas.compatibility.alike import is_alike
from streams.schemas.compatibility.model import Record
from streams.schemas.compatibility.names import full_name, namespace_of, unqualified
from streams.schemas.decoder import Decoder, decoder_of
from streams.schemas.default_values import fitting_bytes
from streams.schemas.walking import NAMED, RECORDS

if TYPE_CHECKING:
    from streams.schemas.writer_schema import Schema

_read: Final[Any] = fastavro.schemaless_reader
_ValueOf = Callable[[str, dict[str, Any]], Any]
"""The default of a record's field, as a value."""


def resolving(written: Schema, wanted: Schema) -> Decoder:
    """Decodes the bytes of one parsed schema into values of another one.

    fastavro skips past the bytes' end and takes an index from the list's end, so the writer's own
    decoder refuses first what is no value of its schema. Raises `DecodeError` if a schema is none.
    """
    decode_written = decoder_of(written)
    if _is_alike(written, wanted):
        return decode_written
    writer = _linked(written, lambda _, field: field["default"])
    # fastavro compares the two before it reads: what differs at once ends that, loops do not.
    writer = {"": "the writer's", **writer}
    reader = _linked(wanted, _values_of(wanted))

    def decode(b: bytes, i: int) -> Any:
        decode_written(b, i)
        try:
            return _read(BytesIO(b[i:]), writer, reader)
        except SchemaResolutionError as error:
            raise ValueError(str(error)) from error

    if _has_default_to_share(reader):
        return lambda b, i: _unshared(decode(b, i))
    return decode


def _is_alike(written: Schema, wanted: Schema) -> bool:
    try:
        return is_alike(*(parse_schema(one, released=True) for one in (written, wanted)))
    except InvalidSchema:
        return False


def _linked(schema: Schema, value_of: _ValueOf) -> dict[str, Any]:
    """A copy of a parsed record's schema without names: types in their places."""
    types: dict[str, Any] = {}

    def link(part: Schema) -> Schema:
        if isinstance(part, str):
            return types.get(part, part)
        if isinstance(part, list):
            return [link(branch) for branch in part]
        copy = dict(part)
        if part["type"] in NAMED:
            types[part["name"]] = copy
            copy |= _names_by_kind(part)
        if part["type"] in RECORDS:
            copy["fields"] = [link_field(part["name"], field) for field in part["fields"]]
        for key in {"array": ("items",), "map": ("values",)}.get(part["type"], ()):
            copy[key] = link(part[key])
        return copy

    def link_field(record: str, field: dict[str, Any]) -> dict[str, Any]:
        copy = {**field, "type": link(field["type"])}
        if "default" in field:
            copy["default"] = value_of(record, field)
        return copy

    whole: dict[str, Any] = link(schema)
    return {**whole, "__named_schemas": types}


def _names_by_kind(part: dict[str, Any]) -> dict[str, Any]:
    """The names of a type, its aliases in full, that no type of another kind can have."""
    kind = "record" if part["type"] in RECORDS else part["type"]
    space = namespace_of(part["name"])
    names = [part["name"], *(full_name(alias, space) for alias in part.get("aliases", ()))]
    name, *aliases = (f"{namespace_of(one)}.{kind} {unqualified(one)}" for one in names)
    return {"name": name, "aliases": aliases}


def _values_of(schema: Schema) -> _ValueOf:
    """Defaults of a parsed schema, each decoded as if it had been written."""
    try:
        parsed: ParsedSchema = parse_schema(schema, released=True)
    except InvalidSchema as error:
        raise DecodeError(f"a schema is not valid Avro: {error}") from error

    def value_of(name: str, field: dict[str, Any]) -> Any:
        record, default = parsed.named[name], field["default"]
        assert isinstance(record, Record)
        raw = fitting_bytes(record.fields[field["name"]].type, default)
        return default if raw is None else decoder_of(field["type"], within=schema)(raw, 0)

    return value_of


def _has_default_to_share(linked: dict[str, Any]) -> bool:
    return any(
        isinstance(field.get("default"), list | dict)
        for type_ in linked["__named_schemas"].values()
        if type_["type"] in RECORDS
        for field in type_["fields"]
    )


def _unshared(value: Any) -> Any:
    """The value, with lists and dicts of its own: defaults are the same ones for each record."""
    if type(value) is dict:
        return {key: _unshared(item) for key, item in value.items()}
    if type(value) is list:
        return [_unshared(item) for item in value]
    return value
