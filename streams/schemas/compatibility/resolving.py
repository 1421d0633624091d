"""Resolving: what there is to say of two types that match, and the pairs of types inside of them.

`said` is what one look shows: a kind of finding, where (a step of the path, empty for the place
itself) and a sentence. `inside` is where to look next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from streams.schemas.compatibility.defaults import default_problem
from streams.schemas.compatibility.findings import FindingKind
from streams.schemas.compatibility.logical import logical_difference
from streams.schemas.compatibility.model import (
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
    says_nothing,
)
from streams.schemas.compatibility.names import unqualified
from streams.schemas.compatibility.promotions import EXACT, PROMOTIONS
from streams.schemas.compatibility.renames import fields_taken


class Said(NamedTuple):
    """One thing to say of a pair, `step` further down its path."""

    kind: FindingKind
    message: str
    step: str = ""


class Inside(NamedTuple):
    """A pair of types that data of the outer pair brings together."""

    step: str
    writer: AvroType
    reader: AvroType


Resolved = tuple[list[Said], list[Inside]]


def resolved(writer: AvroType, reader: AvroType, schema: ParsedSchema) -> Resolved:
    """What there is to say of two types that match, neither a union; `schema` is the reader's."""
    said = _names(writer, reader, schema) if isinstance(writer, Named) else []
    match writer, reader:
        case Primitive(), Primitive():
            return _primitives(writer, reader), []
        case Array(), Array():
            return said, [Inside("[]", writer.items, reader.items)]
        case Map(), Map():
            return said, [Inside("{}", writer.values, reader.values)]
        case Enum(), Enum():
            return [*said, *_symbols(writer, reader)], []
        case Fixed(), Fixed():
            difference = logical_difference(writer.logical, reader.logical)
            return [*said, Said(*difference)] if difference else said, []
        case Record(), Record():
            told, inside = _fields(writer, reader, claimed=bool(schema.alias_owners))
            return [*said, *told], inside
        case _:
            raise AssertionError(f"{describe(writer)} does not match {describe(reader)}")


def _names(writer: Named, reader: AvroType, schema: ParsedSchema) -> list[Said]:
    assert isinstance(reader, Named)
    said = []
    claimed = [owner for owner in schema.alias_owners.get(writer.name, ()) if owner != reader.name]
    if writer.name != reader.name and writer.name in schema.named:
        claimed.append(writer.name)
    if claimed:
        said.append(
            Said(
                FindingKind.ALIAS_AMBIGUOUS,
                f"{writer.name} is read as {reader.name} here, and {' and '.join(claimed)} of the "
                "reader claims that name too: readers that rename the writer's schema first, as "
                "Java's does, take that one; remove the alias",
            )
        )
    if writer.name == reader.name:
        return said
    if writer.name in reader.aliases:
        said.append(
            Said(
                FindingKind.RENAMED, f"{reader.name} takes the writer's {writer.name} by its alias"
            )
        )
    else:
        said.append(
            Said(
                FindingKind.NAMESPACE_DIFFERS,
                f"{describe(writer)} is read as {reader.name}, by the unqualified name alone, as "
                "the specification says; readers that go by full names refuse it, Java's decoder "
                f"inside unions: give the reader the alias {writer.name!r}",
            )
        )
    return said


def _primitives(writer: Primitive, reader: Primitive) -> list[Said]:
    said = []
    if writer.kind != reader.kind:
        lost = PROMOTIONS[writer.kind, reader.kind]
        both = f"{writer.kind} is read as {reader.kind}"
        if lost is EXACT:
            said.append(Said(FindingKind.PROMOTION, f"{both}, exactly"))
        else:
            said.append(Said(FindingKind.LOSSY_PROMOTION, f"{both}: {lost}"))
    difference = logical_difference(writer.logical, reader.logical)
    return [*said, Said(*difference)] if difference else said


def _symbols(writer: Enum, reader: Enum) -> list[Said]:
    known = set(reader.symbols)
    missing = [symbol for symbol in writer.symbols if symbol not in known]
    if not missing:
        return []
    names = ", ".join(missing)
    if reader.default is None:
        return [
            Said(
                FindingKind.MISSING_SYMBOLS,
                f"{describe(reader)} lacks the writer's {names} and has no default symbol (a "
                "field's default is for a field that is missing): add them, or a default to the "
                "enum",
            )
        ]
    return [
        Said(
            FindingKind.SYMBOLS_DEFAULTED,
            f"{describe(reader)} lacks the writer's {names}: they are read as {reader.default}",
        )
    ]


def _fields(writer: Record, reader: Record, *, claimed: bool) -> Resolved:
    said: list[Said] = []
    inside: list[Inside] = []
    places = {name: n for n, name in enumerate(writer.fields)}
    order = []
    for field, written, about in fields_taken(writer, reader):
        step = f".{field.name}"
        if about:
            said += [Said(kind, message, step) for kind, message in about]
        if written is not None:
            order.append(places.pop(written.name, -1))
            if claimed or not says_nothing(written.type, field.type):
                inside.append(Inside(step, written.type, field.type))
        elif not any(kind is FindingKind.ALIAS_CONFLICT for kind, _ in about):
            said.append(_filled(field, step, writer))
            said += _taken_otherwise(field, step) if field.has_default else ()
    if order != sorted(order):
        said.append(
            Said(FindingKind.FIELD_ORDER, f"the fields of {reader.name} stand in another order")
        )
    said += [
        Said(FindingKind.FIELD_IGNORED, f"the writer's {name} is not read", f".{name}")
        for name in places
    ]
    return said, inside


def _taken_otherwise(field: Field, step: str) -> list[Said]:
    """Where a union's default is of one branch, and another reader takes it for an earlier one."""
    union, default = field.type, field.default
    if not isinstance(union, Union) or not union.branches:
        return []
    if default is None and union.branches[0].kind == "null":
        return []
    first = next((one for one in union.branches if _may_look_like(one.kind, default)), None)
    if first is None or default_problem(first, default) is None:
        return []
    taken = next((one for one in union.branches if default_problem(one, default) is None), None)
    if taken is None:
        return []
    return [
        Said(
            FindingKind.UNION_CHOICE,
            f"the default of {field.name} is of {describe(taken)}, and Java's decoder takes the "
            f"default for {describe(first)}: put {describe(taken)} first",
            step,
        )
    ]


def _may_look_like(kind: str, value: Any) -> bool:
    """Whether Java's decoder takes a default for a branch of this kind."""
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long" | "float" | "double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string" | "bytes" | "fixed":
            return isinstance(value, str)
        case _:
            return True


def _filled(field: Field, step: str, writer: Record) -> Said:
    if field.has_default:
        return Said(
            FindingKind.DEFAULT_USED,
            f"{unqualified(writer.name)} of the writer has no {field.name}: the default is read",
            step,
        )
    hint = ""
    if isinstance(field.type, Enum) and field.type.default is not None:
        hint = " (the enum's own default stands for unknown symbols, and fills no field)"
    return Said(
        FindingKind.MISSING_DEFAULT,
        f"{field.name} is not in the writer's {writer.name} and has no default{hint}: give it one, "
        "or the name that it had as an alias",
        step,
    )
