"""Pairs of schemas: one that wrote, and one that came of it by a few changes.

Names are few, so that they meet: types move between namespaces, take each other's names, are used
again and hold themselves. A seed makes a pair: `pair_of(Random(7))`; `pairs()` is the same for
hypothesis.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from streams.schemas.compatibility import InvalidSchema, parse_schema

PRIMITIVES: Final = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
LOGICAL: Final = (
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "int", "logicalType": "date"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3},
)
_TYPES: Final = ("A", "B", "C", "D")
_SPACES: Final = ("", "n", "n", "m")
_FIELDS: Final = ("a", "b", "c", "d")
_SYMBOLS: Final = ("X", "Y", "Z")
DEPTH_MAX: Final = 3
CHANGES_MAX: Final = 3
TRIES_MAX: Final = 50


class Pair(NamedTuple):
    """Schemas as JSON."""

    writer: Any
    reader: Any


def pairs() -> st.SearchStrategy[Pair]:
    """Pairs for hypothesis, which shrinks the choices that make them."""
    return st.randoms(use_true_random=False).map(pair_of)


def pair_of(random: Random) -> Pair:
    """A writer's schema, and a reader's: mostly the same after some changes, rarely another."""
    writer = schema_of(random)
    if random.random() < 0.05:
        return Pair(writer, schema_of(random))
    reader = writer
    for _ in range(random.randint(1, CHANGES_MAX)):
        reader = _changed(random, reader)
    return Pair(writer, reader)


def schema_of(random: Random) -> Any:
    """A schema: a record, mostly."""
    for _ in range(TRIES_MAX):
        made = _Maker(random)
        schema = made.record(0) if random.random() < 0.9 else made.type(0)
        if _is_schema(schema):
            return schema
    return "int"


class _Maker:
    def __init__(self, random: Random, names: set[str] | None = None) -> None:
        self.random = random
        self.names = set(names or ())
        self.open: set[str] = set()

    def type(self, depth: int) -> Any:
        random = self.random
        if depth >= DEPTH_MAX or random.random() < 0.45:
            return self._leaf()
        if self.names and random.random() < 0.25:
            return self._again(random.choice(sorted(self.names)))
        make: Callable[[int], Any] = random.choice(
            (self.record, self.record, self.enum, self.fixed, self.array, self.map, self.union)
        )
        return make(depth)

    def record(self, depth: int) -> Any:
        name = self._name()
        self.open.add(name)
        names = self.random.sample(_FIELDS, self.random.randint(0, 3))
        fields = [self.field(field, depth) for field in names]
        self.open.discard(name)
        return {"type": "record", "name": name, "fields": fields}

    def field(self, name: str, depth: int) -> dict[str, Any]:
        field = {"name": name, "type": self.type(depth + 1)}
        if self.random.random() < 0.3:
            _set_default(self.random, field)
        return field

    def enum(self, depth: int) -> Any:
        symbols = self.random.sample(_SYMBOLS, self.random.randint(1, 3))
        made = {"type": "enum", "name": self._name(), "symbols": symbols}
        if self.random.random() < 0.3:
            made["default"] = self.random.choice(symbols)
        return made

    def fixed(self, depth: int) -> Any:
        return {"type": "fixed", "name": self._name(), "size": self.random.choice((1, 2, 4))}

    def array(self, depth: int) -> Any:
        return {"type": "array", "items": self.type(depth + 1)}

    def map(self, depth: int) -> Any:
        return {"type": "map", "values": self.type(depth + 1)}

    def union(self, depth: int) -> Any:
        branches: list[Any] = ["null"] if self.random.random() < 0.7 else []
        for _ in range(self.random.randint(1, 3)):
            branch = self.type(depth + 1)
            if not isinstance(branch, list) and _kind(branch) not in map(_kind, branches):
                branches.append(branch)
        return branches or ["null"]

    def _again(self, name: str) -> Any:
        """A type that is there already; one that holds itself must be able to end."""
        if name not in self.open:
            return name
        how = self.random.choice(("optional", "array", "map"))
        if how == "optional":
            return ["null", name]
        return {"type": "array", "items": name} if how == "array" else {"type": how, "values": name}

    def _leaf(self) -> Any:
        if self.random.random() < 0.12:
            return dict(self.random.choice(LOGICAL))
        return self.random.choice(PRIMITIVES[1:])

    def _name(self) -> str:
        free = [_qualified(space, name) for space in _SPACES for name in _TYPES]
        free = [name for name in free if name not in self.names] or ["m.E"]
        name = self.random.choice(free)
        while name in self.names:
            name += "E"
        self.names.add(name)
        return name


def _changed(random: Random, schema: Any) -> Any:
    """The schema after one change that leaves it one."""
    for _ in range(TRIES_MAX):
        changed = [copy.deepcopy(schema)]  # in a list, so that the root has a place, too
        places = list(_places(changed))
        container, key = random.choice(places)
        random.choice(_CHANGES)(random, container, key, changed)
        if changed[0] != schema and _is_schema(changed[0]):
            return changed[0]
    return schema


def _is_schema(schema: Any) -> bool:
    try:
        parse_schema(schema)
    except InvalidSchema:
        return False
    return True


def _places(container: Any) -> Iterator[tuple[Any, Any]]:
    """Where a schema stands, and every one inside of it."""
    for key in (
        range(len(container)) if isinstance(container, list) else ("type", "items", "values")
    ):
        if isinstance(container, dict) and key not in container:
            continue
        schema = container[key]
        yield container, key
        if isinstance(schema, list):
            yield from _places(schema)
        elif isinstance(schema, dict):
            for field in schema.get("fields", ()):
                yield from _places(field)
            for part in ("items", "values"):
                if part in schema:
                    yield schema, part
                    inner = schema[part]
                    yield from _inside(inner)


def _inside(schema: Any) -> Iterator[tuple[Any, Any]]:
    """The places below a schema, not the schema's own."""
    held = [schema]
    for container, key in _places(held):
        if container is not held:
            yield container, key


def _named(changed: Any) -> list[Any]:
    return [c[k] for c, k in _places(changed) if isinstance(c[k], dict) and "name" in c[k]]


def _replaced(random: Random, container: Any, key: Any, root: Any) -> None:
    maker = _Maker(random, {schema["name"] for schema in _named(root)})
    container[key] = maker.type(DEPTH_MAX - 1)


def _promoted(random: Random, container: Any, key: Any, root: Any) -> None:
    further = {
        "int": ("long", "float", "double"),
        "long": ("float", "double"),
        "float": ("double",),
        "string": ("bytes",),
        "bytes": ("string",),
    }
    kind = _kind(container[key])
    if kind in further:
        container[key] = random.choice(further[kind])


def _fields(random: Random, container: Any, key: Any, root: Any) -> None:
    records = [schema for schema in _named(root) if schema["type"] == "record"]
    if not records:
        return
    fields = random.choice(records)["fields"]
    if not fields or random.random() < 0.3:
        names = {schema["name"] for schema in _named(root)}
        added = _Maker(random, names).field(random.choice(_FIELDS), DEPTH_MAX - 1)
        if random.random() < 0.6:
            _set_default(random, added)
        fields.insert(random.randint(0, len(fields)), added)
        return
    field = random.choice(fields)
    match random.choice(("remove", "rename", "alias", "shuffle", "default", "take")):
        case "remove":
            fields.remove(field)
        case "rename" | "alias" as how:
            _rename(random, field, how)
        case "take":
            field["aliases"] = [*field.get("aliases", []), random.choice(_FIELDS)]
        case "shuffle":
            random.shuffle(fields)
        case "default":
            if field.pop("default", None) is None:
                _set_default(random, field)


def _rename(random: Random, field: dict[str, Any], how: str) -> None:
    old, field["name"] = field["name"], random.choice(_FIELDS)
    if how == "alias" and old != field["name"]:
        field["aliases"] = [*field.get("aliases", []), old]


def _unions(random: Random, container: Any, key: Any, root: Any) -> None:
    schema = container[key]
    if not isinstance(schema, list):
        container[key] = [schema, "null"] if random.random() < 0.3 else ["null", schema]
        return
    match random.choice(("add", "remove", "shuffle", "take")):
        case "add":
            names = {named["name"] for named in _named(root)}
            branch = _Maker(random, names).type(DEPTH_MAX - 1)
            schema.insert(random.randint(0, len(schema)), branch)
        case "remove" if schema:
            schema.pop(random.randrange(len(schema)))
        case "take" if schema:
            container[key] = random.choice(schema)
        case _:
            random.shuffle(schema)


def _names(random: Random, container: Any, key: Any, root: Any) -> None:
    named = _named(root)
    if not named:
        return
    schema = random.choice(named)
    old = schema["name"]
    space, _, short = old.rpartition(".")
    match random.choice(("rename", "move", "alias", "alias", "short alias", "take")):
        case "rename":
            new = _qualified(space, random.choice(_TYPES))
        case "move":
            new = _qualified(random.choice(_SPACES), short)
        case "alias":
            new = _qualified(random.choice(_SPACES), random.choice(_TYPES))
            schema["aliases"] = [*schema.get("aliases", []), old]
        case "short alias":
            new = _qualified(space, random.choice(_TYPES))
            schema["aliases"] = [*schema.get("aliases", []), short]
        case _:
            new = old
            schema["aliases"] = [_qualified(random.choice(_SPACES), random.choice(_TYPES))]
    schema["name"] = new
    for place, at in list(_places(root)):
        if place[at] == old:
            place[at] = new


def _symbols(random: Random, container: Any, key: Any, root: Any) -> None:
    for schema in _named(root):
        if schema["type"] == "enum":
            schema["symbols"] = random.sample(_SYMBOLS, random.randint(1, 3))
            schema.pop("default", None)
            if random.random() < 0.4:
                schema["default"] = random.choice(schema["symbols"])
        if schema["type"] == "fixed" and random.random() < 0.5:
            schema["size"] = random.choice((1, 2, 4))


_CHANGES: Final[tuple[Callable[[Random, Any, Any, Any], None], ...]] = (
    _replaced,
    _promoted,
    _promoted,
    _fields,
    _fields,
    _fields,
    _unions,
    _unions,
    _names,
    _names,
    _symbols,
)


def _set_default(random: Random, field: dict[str, Any]) -> None:
    """A default that fits, of a type that has an easy one."""
    type_ = field["type"]
    if isinstance(type_, list):
        type_ = type_[0] if type_ else None
    defaults: dict[Any, Any] = {
        "null": None,
        "boolean": True,
        "int": 1,
        "long": 2,
        "float": 1.5,
        "double": 2.5,
        "bytes": "b",
        "string": "s",
        "array": [],
        "map": {},
    }
    kind = _kind(type_)
    if kind == "enum" and isinstance(type_, dict):
        field["default"] = random.choice(type_["symbols"])
    elif kind in defaults:
        field["default"] = defaults[kind]


def _kind(schema: Any) -> Any:
    """What a union may hold once: a kind, or a name."""
    if isinstance(schema, list):
        return "union"
    if isinstance(schema, dict):
        kind = schema["type"]
        return schema["name"] if kind in {"record", "fixed"} else kind
    return schema


def _qualified(space: str, name: str) -> str:
    # A name without a dot would take the namespace around it, so the null namespace is not nested.
    return f"{space}.{name}" if space else name
