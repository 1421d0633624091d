"""Lint: for every rule what breaks it and what does not, and what waivers make of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest

from streams.errors import ConfigurationError
from streams.schemas.compatibility import Mode
from streams.schemas.folders import SchemaFolder, builtin_folder, read_avsc, reserved_names
from streams.schemas.lint import RULES, LintReport, lint
from streams.schemas.subjects import Subject, Waiver
from tests.schemas.folder import field, record

TODAY = date(2026, 11, 22)
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
UUID = {"type": "string", "logicalType": "uuid"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}


def enum(name: str, *symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


def lone(*fields: Any, **more: Any) -> dict[str, Any]:
    return record("Placed", *fields, **more)


def linted(*schemas: dict[str, Any], subjects: Iterable[Subject] = ()) -> LintReport:
    return lint(
        {f"{one.get('namespace', '')}.{one['name']}": one for one in schemas},
        {one.type: one for one in subjects},
        reserved=reserved_names(),
        today=TODAY,
        other_rules=("type_mismatch",),
    )


def subject(*waivers: Waiver, personal_data: Iterable[str] = ()) -> Subject:
    return Subject(
        "acme.order.Placed", Mode.FULL, "orders", "", frozenset(personal_data), tuple(waivers)
    )


# Rule: what breaks it and where, and what does not.
TABLE: dict[str, tuple[list[tuple[dict[str, Any], str]], list[dict[str, Any]]]] = {
    "type-name": (
        [(lone(field("a", enum("colour", "red", default="red"))), "a"), (record("placed"), "")],
        [lone(field("a", enum("Colour2", "red", default="red")))],
    ),
    "field-name": (
        [(lone(field("skuCode")), "skuCode"), (lone(field("_sku")), "_sku")],
        [lone(field("sku_code_2"))],
    ),
    "symbol-name": (
        [(lone(field("a", enum("Colour", "red", "Dark_Blue", default="red"))), "a")],
        [
            lone(field("a", enum("Colour", "red", "dark_blue", default="red"))),
            lone(field("a", enum("Colour", "RED", "DARK_BLUE", default="RED"))),
        ],
    ),
    "namespace-name": ([(lone(namespace="acme.Order"), "")], [lone(namespace="acme.order_2")]),
    "reserved-name": (
        [
            (lone(field("sender")), "sender"),
            (lone(field("payload")), "payload"),
            (record("OrderEnvelope"), ""),
        ],
        [lone(field("item", record("Item", field("sender"))))],
    ),
    "type-doc": (
        [
            (lone(doc=" "), ""),
            (lone(doc=None), ""),
            (lone(field("item", record("Item", doc=""))), "item"),
        ],
        [lone(field("item", record("Item")))],
    ),
    "field-doc": (
        [
            (lone({"name": "a", "type": "int"}), "a"),
            (lone(field("a", doc=None)), "a"),
            (
                lone(field("b", {"type": "array", "items": record("B", field("c", doc=""))})),
                "b[].c",
            ),
        ],
        [lone(field("a"))],
    ),
    "nullable-default": (
        [(lone(field("a", ["null", "string"])), "a"), (lone(field("a", ["int", "null"])), "a")],
        [lone(field("a", ["null", "string"], default=None)), lone(field("a", ["int", "string"]))],
    ),
    "default-first-branch": (
        [
            (lone(field("a", ["string", "null"], default=None)), "a"),
            (lone(field("a", ["null", "string"], default="x")), "a"),
            (lone(field("a", ["int", "string"], default="x")), "a"),
            (lone(field("a", ["long", "boolean"], default=True)), "a"),
        ],
        [
            lone(field("a", ["string", "null"], default="x")),
            lone(field("a", ["double", "int", "null"], default=1)),
        ],
    ),
    "enum-default": (
        [(lone(field("a", enum("Colour", "red"))), "a")],
        [lone(field("a", enum("Colour", "red", default="red")))],
    ),
    "bytes-for-number": (
        [
            (lone(field("total_price", "bytes")), "total_price"),
            (lone(field("amounts", {"type": "map", "values": "bytes"})), "amounts"),
        ],
        [lone(field("total_price", DECIMAL)), lone(field("state", "bytes"))],
    ),
    "float-for-money": (
        [(lone(field("cost", ["null", "double"], default=None)), "cost")],
        [lone(field("cost", DECIMAL)), lone(field("score", "double"))],
    ),
    "time-logical-type": (
        [
            (lone(field("paid_at", "long")), "paid_at"),
            (lone(field("paid_at_ms", "long")), "paid_at_ms"),
            (lone(field("due_date", ["null", "string"], default=None)), "due_date"),
            (lone(field("shipped_at")), "shipped_at"),
            (lone(field("start_time")), "start_time"),
            (lone(field("open_times", {"type": "array", "items": "string"})), "open_times"),
        ],
        [
            lone(field("paid_at", MICROS), field("start_time", MICROS)),
            lone(field("chat"), field("at_home"), field("time_zone")),
            lone(field("wait_time_ms", "long")),
        ],
    ),
    "id-type": (
        [
            (lone(field("order_id", "long")), "order_id"),
            (lone(field("order_ids", {"type": "array", "items": "int"})), "order_ids"),
            (lone(field("order_uuid")), "order_uuid"),
        ],
        [lone(field("order_id"), field("order_uuid", UUID), field("paid", "int"))],
    ),
    "unit-in-name": (
        [
            (lone(field("timeout", "int")), "timeout"),
            (lone(field("load", "double", doc="Share of the CPU, percent.")), "load"),
        ],
        [
            lone(field("timeout_ms", "int"), field("wait_ms_max", "int"), field("size", "string")),
            lone(field("memory_count", "int"), field("age_days", "int")),
        ],
    ),
    "personal-data-tag": (
        [
            (lone(field("email")), "email"),
            (lone(field("buyer", record("Buyer", field("display_name")))), "buyer.display_name"),
            (lone(field("email", personal_data="yes")), "email"),
            (lone(field("address")), "address"),
            (lone(field("addresses", {"type": "array", "items": "string"})), "addresses"),
            (lone(field("homeAddress")), "homeAddress"),
            (lone(field("buyer_postal_address")), "buyer_postal_address"),
            (lone(field("shipping_address_2")), "shipping_address_2"),
            (lone(field("address_line_1")), "address_line_1"),
        ],
        [
            lone(field("email", personal_data=True)),
            lone(field("phone", personal_data=False)),
            lone(field("file_name"), field("ship"), field("address", personal_data=False)),
            lone(field("wallet_address"), field("broker_addresses")),
        ],
    ),
}


@pytest.mark.parametrize(
    ("rule", "schema", "path"),
    [(rule, schema, path) for rule, (bad, _) in TABLE.items() for schema, path in bad],
)
def test_what_breaks_a_rule_is_found_there(rule: str, schema: dict[str, Any], path: str) -> None:
    found = [(one.rule, one.path) for one in linted(schema).problems]
    assert (rule, path) in found


@pytest.mark.parametrize(
    ("rule", "schema"), [(rule, schema) for rule, (_, good) in TABLE.items() for schema in good]
)
def test_what_keeps_a_rule_is_let_through(rule: str, schema: dict[str, Any]) -> None:
    assert rule not in {one.rule for one in linted(schema).problems}


def test_every_rule_has_a_case_and_a_reason() -> None:
    assert TABLE.keys() | {"one-definition"} == RULES.keys()
    assert all(rule.reason.endswith(".") for rule in RULES.values())


def test_a_name_has_one_definition() -> None:
    """In whichever file; docs may differ, and whether it is written out or named."""
    item = record("Item", field("sku"), namespace="acme.order")
    placed = record("Placed", field("item", item), field("other", "Item"))
    paid = record("Paid", field("item", {**item, "doc": "Another doc."}))
    assert linted(placed, paid).is_clean
    paid = record("Paid", field("item", record("Item", field("sku", "int"))))
    problems = [(one.type, one.path, one.message) for one in linted(placed, paid).problems]
    assert problems == [
        ("acme.order.Placed", "item", "acme.order.Item is something else in acme.order.Paid"),
        ("acme.order.Paid", "item", "acme.order.Item is something else in acme.order.Placed"),
    ]


def test_a_waiver_lets_what_it_names_until_its_day() -> None:
    """Other fields and other rules are not its own; afterwards the problem is back."""
    schema = lone(field("timeout", "int"), field("delay", "int"))
    waiver = Waiver("unit-in-name", "released", TODAY, ("timeout",), "orders")
    report = linted(schema, subjects=[subject(waiver)])
    assert [one.path for one in report.waived] == ["timeout"]
    assert [one.path for one in report.problems] == ["delay"]
    late = Waiver("unit-in-name", "released", date(2026, 11, 21), (), "orders")
    (timeout, _) = linted(schema, subjects=[subject(late)]).problems
    assert timeout.message.endswith("(waived until 2026-11-21; orders decides)")


def test_a_waiver_goes_by_fields_whatever_the_branch() -> None:
    """So that it stays the same where a union gets another record."""
    card, cash = record("Card", field("timeout", "int")), record("Cash")
    waiver = Waiver("unit-in-name", "released", TODAY, ("paid.timeout",), "orders")
    for among in ([card], [card, cash]):
        report = linted(lone(field("paid", among)), subjects=[subject(waiver)])
        assert report.is_clean
        assert len(report.waived) == 1


def test_a_waiver_that_nothing_needs_is_a_problem() -> None:
    """One for a compatibility finding is not judged here, but for its day."""
    unused = Waiver("unit-in-name", "released", TODAY, ("delay",), "orders")
    other = Waiver("type_mismatch", "nobody reads it", TODAY, (), "orders")
    (problem,) = linted(lone(), subjects=[subject(unused, other)]).problems
    assert (problem.rule, problem.reason) == (
        "unused-waiver",
        "A waiver that nothing needs hides the next breach.",
    )
    past = Waiver("type_mismatch", "nobody reads it", date(2026, 1, 1), (), "orders")
    (problem,) = linted(lone(), subjects=[subject(past)]).problems
    assert problem.rule == "expired-waiver"


def test_a_waiver_of_no_rule_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean unit-in-name\?"):
        linted(lone(), subjects=[subject(Waiver("units-in-name", "r", TODAY))])


def test_personal_data_may_be_told_of_beside_a_released_schema() -> None:
    """Of fields that are there."""
    schema = lone(field("email"))
    assert linted(schema, subjects=[subject(personal_data=["email"])]).is_clean
    report = linted(schema, subjects=[subject(personal_data=["email", "mail"])])
    assert [one.path for one in report.problems] == ["mail"]


def test_our_own_schemas_are_clean() -> None:
    """The envelope too; what their names were given for is waived."""
    ours = SchemaFolder(builtin_folder())
    report = lint(
        {name: file.schema for name, file in ours.types.items()},
        {one.type: one for one in ours.subjects},
        reserved=reserved_names(),
        today=TODAY,
    )
    assert report.problems == ()
    envelope = read_avsc(builtin_folder() / "envelope.avsc")
    found = lint({"agentlog.Envelope": envelope}, {}, reserved=(), today=TODAY)
    assert found.problems == ()
