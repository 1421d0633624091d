"""Schemas that refer to others become one that stands alone."""

from __future__ import annotations

import json
from typing import Any

import fastavro
import pytest

from streams.schemas.references import as_written, identity, inlined
from streams.schemas.spelling import in_full

MONEY = {
    "type": "record",
    "name": "Money",
    "namespace": "acme.money",
    "fields": [
        {"name": "cents", "type": "long"},
        {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR"]}},
    ],
}
PRICE = {
    "type": "record",
    "name": "Price",
    "namespace": "acme.shop",
    "fields": [{"name": "net", "type": "acme.money.Money"}],
}


def _order(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "Order",
        "namespace": "acme.shop",
        "fields": [{"name": name, "type": kind} for name, kind in fields],
    }


def test_a_definition_stands_where_its_name_comes_first() -> None:
    """And the name alone after that, also inside unions, arrays and maps."""
    schema = _order(
        ("total", ["null", "acme.money.Money"]),
        ("parts", {"type": "array", "items": "acme.money.Money"}),
        ("by", {"type": "map", "values": "acme.money.Money"}),
    )
    fields = inlined(schema, [MONEY])["fields"]
    assert fields[0]["type"][1]["name"] == "Money"
    assert fields[1]["type"]["items"] == "acme.money.Money"
    assert fields[2]["type"]["values"] == "acme.money.Money"
    fastavro.parse_schema(inlined(schema, [MONEY]))


def test_references_of_references_are_followed_in_any_order() -> None:
    """Names without a namespace mean the namespace that they stand in."""
    schema = _order(("price", "Price"), ("fee", "acme.money.Money"))
    for others in ([MONEY, PRICE], [PRICE, MONEY]):
        fastavro.parse_schema(inlined(schema, others))


def test_a_name_that_is_defined_inside_another_definition_is_found() -> None:
    """The enum of `Money` is wanted before `Money` itself."""
    schema = _order(("currency", "acme.money.Currency"), ("total", "acme.money.Money"))
    whole = inlined(schema, [MONEY])
    fastavro.parse_schema(whole)
    assert json.dumps(whole).count('"symbols"') == 1


def test_a_recursive_type_stays_recursive() -> None:
    """It is defined once, and refers to itself by name."""
    node = {
        "type": "record",
        "name": "Node",
        "namespace": "acme.tree",
        "fields": [{"name": "next", "type": ["null", "Node"]}],
    }
    whole = inlined(_order(("root", "acme.tree.Node")), [node])
    assert whole["fields"][0]["type"]["fields"][0]["type"] == ["null", "acme.tree.Node"]
    fastavro.parse_schema(whole)


def test_what_only_readers_look_at_makes_no_difference_to_what_is_written() -> None:
    """Docs, aliases, defaults, orders; not logical types, sizes, or the order of fields."""
    plain = _order(("at", {"type": "long", "logicalType": "timestamp-micros"}), ("b", "string"))
    dressed = json.loads(json.dumps(plain))
    dressed |= {"doc": "An order.", "aliases": ["Purchase"], "owner": "shop"}
    dressed["fields"][1] |= {"default": "", "order": "ignore", "aliases": ["c"]}
    dressed["fields"][1]["type"] = {"type": "string"}
    assert as_written(dressed) == as_written(plain)
    millis = json.loads(json.dumps(plain).replace("micros", "millis"))
    assert as_written(millis) != as_written(plain)
    turned = {**plain, "fields": plain["fields"][::-1]}
    assert as_written(turned) != as_written(plain)


def test_a_schema_is_the_same_however_it_is_spelled() -> None:
    """As registries hand it out; a doc, a default or an alias makes it another one."""
    spelled = {
        "type": "record",
        "name": "Order",
        "namespace": "acme.shop",
        "aliases": ["acme.shop.Purchase"],
        "fields": [
            {"name": "id", "type": {"type": "string"}, "order": "ascending"},
            {"name": "kind", "type": {**PRICE, "name": "Price", "namespace": "acme.shop"}},
        ],
    }
    terse: dict[str, Any] = {
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "kind", "type": {**PRICE, "name": "acme.shop.Price"}},
        ],
        "aliases": ["Purchase"],
        "name": "acme.shop.Order",
        "type": "record",
    }
    del terse["fields"][1]["type"]["namespace"]
    assert identity(spelled) == identity(terse)
    changes: list[dict[str, Any]] = [{"doc": "An order."}, {"aliases": []}]
    for change in changes:
        assert identity({**spelled, **change}) != identity(terse)


def test_spellings_that_parsers_differ_on_are_one() -> None:
    """A namespace or a default symbol that is null is none; an object with a name is the name."""
    terse = _order(("kind", {"type": "enum", "name": "Kind", "symbols": ["A"]}), ("other", "Kind"))
    spelled = json.loads(json.dumps(terse))
    spelled["fields"][0]["type"] |= {"namespace": None, "default": None}
    spelled["fields"][1]["type"] = {"type": "Kind", "doc": "The same."}
    assert identity(spelled) == identity(terse)
    parsed: Any = fastavro.parse_schema(in_full(spelled))
    assert [field["type"] for field in parsed["fields"]][1] == "acme.shop.Kind"


@pytest.mark.parametrize(
    "kind", [{"type": "int"}, ["null", "int"], {"type": "array", "items": "Money"}, 7, None]
)
def test_what_is_no_schema_stays_as_it_is(kind: Any) -> None:
    """Whoever parses it tells of it; a schema in the place of a type's name is looked into."""
    for schema in ({"type": kind}, _order(("a", {"type": kind})), _order(("a", {"items": kind}))):
        assert identity(schema)
        assert json.dumps(as_written(schema))
        assert json.dumps(inlined(schema, [MONEY, schema]))
    full = in_full(_order(("a", {"type": {"type": "array", "items": "Money"}})))
    assert full["fields"][0]["type"]["type"]["items"] == "acme.shop.Money"
    broken = _order() | {"fields": [7, {"name": "a"}], "aliases": None}
    assert inlined(broken, []) == broken
