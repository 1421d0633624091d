"""Parsing: a schema's JSON, checked against the specification, as types.

A candidate is held to all of it. A `released` version is not asked for its names and defaults
again: records of it are on the log, and the way to mend those is a reader (section "Fixing an
invalid, but previously accepted, schema").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final, TypeGuard, TypeVar

from streams.errors import ConfigurationError
from streams.schemas.compatibility.defaults import default_problem, fills_itself
from streams.schemas.compatibility.logical import logical_of
from streams.schemas.compatibility.model import (
    NO_DEFAULT,
    Array,
    AvroType,
    Enum,
    Field,
    Fixed,
    Map,
    Named,
    ParsedSchema,
    Primitive,
    Record,
    Union,
    describe,
)
from streams.schemas.compatibility.names import (
    PRIMITIVES,
    full_name,
    is_full_name,
    is_name,
    namespace_of,
    namespace_within,
    unqualified,
)

NESTING_MAX: Final = 100
"""How deep schemas may be nested in one another; deeper ones are refused."""
PATH_KEYS_MAX: Final = 40
"""How many keys of a path are shown."""
_KEYS_AT_ENDS: Final = 10
_ORDERS: Final = ("ascending", "descending", "ignore")

_T = TypeVar("_T", Record, Enum, Fixed)

Path = tuple[str | int, ...]
"""Keys and indexes from the root of a JSON value."""


class InvalidSchema(ConfigurationError):
    """This is no Avro schema: `path` is the place in it, as in `$.fields[2].type`.

    `source` names the file, with line and column, where it was read from text.
    """

    def __init__(self, path: Path, problem: str, source: str = "") -> None:
        self.keys = path
        self.path = path_text(path)
        self.problem = problem
        self.source = source
        where = f"{source}: {self.path}" if source else self.path
        super().__init__(f"{where}: {problem}")


def path_text(path: Path) -> str:
    """A path as people write it; of a long one the ends, with how many keys are left out."""
    keys = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in path]
    if len(keys) > PATH_KEYS_MAX:
        left_out = len(keys) - 2 * _KEYS_AT_ENDS
        keys[_KEYS_AT_ENDS:-_KEYS_AT_ENDS] = [f" … {left_out} more … "]
    return "$" + "".join(keys)


def parse_schema(schema: Any, *, released: bool = False) -> ParsedSchema:
    """The types of a schema given as JSON. Raises `InvalidSchema`."""
    parser = _Parser(released=released)
    root = parser.parse(schema, (), "")
    parser.check_defaults()
    return ParsedSchema(root, parser.named, schema)


class _Parser:
    def __init__(self, *, released: bool) -> None:
        self.named: dict[str, Named] = {}
        self._released = released
        self._depth = 0
        self._defaults: list[tuple[Path, Field]] = []

    def parse(self, schema: Any, path: Path, namespace: str) -> AvroType:
        if self._depth == NESTING_MAX:
            raise InvalidSchema(path, f"schemas are nested deeper than {NESTING_MAX}")
        self._depth += 1
        try:
            if isinstance(schema, str):
                return self._reference(schema, path, namespace)
            if isinstance(schema, list):
                return self._union(schema, path, namespace)
            if isinstance(schema, dict):
                return self._object(schema, path, namespace)
        finally:
            self._depth -= 1
        raise InvalidSchema(path, f"{schema!r} is no schema; give a name, an object or an array")

    def check_defaults(self) -> None:
        """Once all types are known, for a default may be a record that was not whole yet."""
        for path, field in () if self._released else self._defaults:
            problem = default_problem(field.type, field.default)
            if problem:
                raise InvalidSchema(
                    path,
                    f"the default of {field.name} does not fit its type, "
                    f"{describe(field.type)}: {problem}",
                )
        for path, field in () if self._released else self._defaults:
            if fills_itself(field):
                raise InvalidSchema(
                    path,
                    f"the default of {field.name} leaves out {field.name} itself, and so has no "
                    "end; say what is in it",
                )

    def _object(self, schema: dict[str, Any], path: Path, namespace: str) -> AvroType:
        kind = schema.get("type")
        if not isinstance(kind, str):
            raise InvalidSchema(
                (*path, "type") if "type" in schema else path,
                "a schema's type is the name of one, in quotes" if kind else "has no type",
            )
        if kind in PRIMITIVES:
            return Primitive(kind, logical_of(schema, kind))
        if make := self._COMPLEX.get(kind):
            return make(self, schema, path, namespace)
        named = self._reference(kind, path, namespace)
        if not self._released:
            # Java's parser takes it up to 1.12.1, and no more after that (AVRO-4176).
            raise InvalidSchema(
                path, f"a type that is defined elsewhere is named alone: write {kind!r} here"
            )
        return named

    def _reference(self, name: str, path: Path, namespace: str) -> AvroType:
        if name in PRIMITIVES:
            return _BARE[name]
        found = self.named.get(full_name(name, namespace))
        if found is None:
            raise InvalidSchema(
                path, f"type {full_name(name, namespace)!r} is not defined, or only further down"
            )
        return found

    def _union(self, schema: list[Any], path: Path, namespace: str) -> Union:
        bare = [one for one in schema if type(one) is str and one in PRIMITIVES]
        if len(set(bare)) == len(schema):
            return _bare_union(tuple(bare))
        branches = [self.parse(one, (*path, n), namespace) for n, one in enumerate(schema)]
        seen = set()
        for n, branch in enumerate(branches):
            if isinstance(branch, Union):
                raise InvalidSchema((*path, n), "a union stands immediately inside a union")
            name = branch.name if isinstance(branch, Named) else branch.kind
            if name in seen:
                raise InvalidSchema((*path, n), f"the union has {name} twice")
            seen.add(name)
        return Union(tuple(branches))

    def _array(self, schema: dict[str, Any], path: Path, namespace: str) -> Array:
        return Array(self._part(schema, "items", path, namespace))

    def _map(self, schema: dict[str, Any], path: Path, namespace: str) -> Map:
        return Map(self._part(schema, "values", path, namespace))

    def _part(self, schema: dict[str, Any], key: str, path: Path, namespace: str) -> AvroType:
        if key not in schema:
            raise InvalidSchema(path, f"has no {key!r}")
        return self.parse(schema[key], (*path, key), namespace)

    def _enum(self, schema: dict[str, Any], path: Path, namespace: str) -> Enum:
        name, aliases = self._names(schema, path, namespace)
        symbols = schema.get("symbols")
        if not _is_strings(symbols):
            raise InvalidSchema((*path, "symbols"), "an enum's symbols are an array of strings")
        for n, symbol in enumerate(symbols):
            if not self._released and not is_name(symbol):
                raise InvalidSchema((*path, "symbols", n), f"{symbol!r} is no name")
            if symbol in symbols[:n]:
                raise InvalidSchema((*path, "symbols", n), f"symbol {symbol!r} is there twice")
        default = schema.get("default")
        # Java's parser takes null for no default; the specification has a string there.
        no_default = "default" not in schema or (self._released and default is None)
        if not no_default and default not in symbols:
            raise InvalidSchema((*path, "default"), f"{default!r} is no symbol of enum {name}")
        return self._define(Enum(name, aliases, tuple(symbols), default), path)

    def _fixed(self, schema: dict[str, Any], path: Path, namespace: str) -> Fixed:
        name, aliases = self._names(schema, path, namespace)
        size = schema.get("size")
        if type(size) is not int or size < 0:
            raise InvalidSchema((*path, "size"), "a fixed's size is a whole number of bytes")
        return self._define(Fixed(name, aliases, size, logical_of(schema, "fixed", size)), path)

    def _record(self, schema: dict[str, Any], path: Path, namespace: str) -> Record:
        name, aliases = self._names(schema, path, namespace)
        record = self._define(Record(name, aliases), path)
        fields = schema.get("fields")
        if not isinstance(fields, list):
            raise InvalidSchema((*path, "fields"), f"the fields of record {name} are an array")
        inner = namespace_of(name)
        for n, field in enumerate(fields):
            self._field(record, field, (*path, "fields", n), inner)
        record.complete()
        return record

    def _field(self, record: Record, schema: Any, path: Path, namespace: str) -> None:
        if not isinstance(schema, dict) or not isinstance(name := schema.get("name"), str):
            raise InvalidSchema(path, f"a field of {record.name} is no object with a name")
        if not self._released and not is_name(name):
            raise InvalidSchema((*path, "name"), f"{name!r} is no name; {_NAME_RULE}")
        if name in record.fields:
            raise InvalidSchema((*path, "name"), f"{record.name} has two fields named {name!r}")
        if "type" not in schema:
            raise InvalidSchema(path, f"field {name!r} of {record.name} has no type")
        if schema.get("order", "ascending") not in _ORDERS:
            raise InvalidSchema((*path, "order"), f"the order is one of {', '.join(_ORDERS)}")
        aliases = schema.get("aliases", ())
        if "aliases" in schema and not _is_strings(aliases):
            raise InvalidSchema((*path, "aliases"), "aliases are an array of strings")
        type_ = self.parse(schema["type"], (*path, "type"), namespace)
        field = Field(name, type_, tuple(aliases), schema.get("default", NO_DEFAULT))
        if field.has_default:
            self._defaults.append(((*path, "default"), field))
        record.fields[name] = field

    def _names(
        self, schema: dict[str, Any], path: Path, namespace: str
    ) -> tuple[str, frozenset[str]]:
        name, own = schema.get("name"), namespace_within(schema, namespace)
        if not isinstance(name, str) or not name:
            raise InvalidSchema(path, f"this {schema['type']} has no name")
        if not isinstance(own, str):
            raise InvalidSchema((*path, "namespace"), "a namespace is a string")
        full = full_name(name, own)
        if not self._released and not is_full_name(full):
            raise InvalidSchema((*path, "name"), f"{full!r} is no name; {_NAME_RULE}")
        if unqualified(full) in PRIMITIVES:
            raise InvalidSchema((*path, "name"), f"{full!r} has the name of a primitive type")
        aliases = schema.get("aliases", [])
        if not _is_strings(aliases):
            raise InvalidSchema((*path, "aliases"), "aliases are an array of strings")
        # A leading dot is how some write the null namespace.
        relative = (full_name(alias, namespace_of(full)).removeprefix(".") for alias in aliases)
        return full, frozenset(relative)

    def _define(self, named: _T, path: Path) -> _T:
        if named.name in self.named:
            raise InvalidSchema((*path, "name"), f"type {named.name!r} is defined twice")
        self.named[named.name] = named
        return named

    _COMPLEX: ClassVar[Mapping[str, Callable[..., AvroType]]] = {
        "record": _record,
        "error": _record,
        "enum": _enum,
        "fixed": _fixed,
        "array": _array,
        "map": _map,
    }


_NAME_RULE: Final = "names begin with a letter or _ and go on with letters, digits and _"


# Most types of most schemas are these, and nothing tells one from another: they are made once.
_BARE: Final = {kind: Primitive(kind) for kind in PRIMITIVES}


@lru_cache(maxsize=256)
def _bare_union(kinds: tuple[str, ...]) -> Union:
    return Union(tuple(_BARE[kind] for kind in kinds))


def _is_strings(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
