"""compatibility: every subject's candidate against all of its versions, both ways.

From the schemas' text, as a review has it: parsing is part of it. No broker is used.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from benchmarks.figures import Figure, Results, below
from benchmarks.quiet import wait_for_quiet
from benchmarks.stage import Stage
from streams.schemas.compatibility import Mode, check_mode, parse_text

VERSIONS: Final = 20
FULL_S_MAX: Final = 5.0
"""What a transitive check of 500 subjects with 20 versions may take."""


def bench(stage: Stage) -> Results:
    """A transitive check of all subjects, one process, one thread."""
    subjects = [_versions(n) for n in range(stage.size(500, 25))]
    one_way, both_ways, others = [], [], []
    for _ in range(stage.size(5, 2)):
        others.append(wait_for_quiet())
        one_way.append(_checked_s(subjects, Mode.BACKWARD_TRANSITIVE))
        both_ways.append(_checked_s(subjects, Mode.FULL_TRANSITIVE))
    size = sum(len(text) for versions in subjects for text in versions)
    count = len(subjects) * VERSIONS
    bar = None if stage.quick else below(FULL_S_MAX)
    return Results(
        bench="compatibility",
        workload=f"{len(subjects)} subjects with {VERSIONS} versions each, {size / count:,.0f} "
        "bytes of JSON a version: records of 12 to 31 fields with records, enums, unions, arrays "
        "and a recursion inside. The last version of each against the 19 before it, parsing "
        "included, in one thread.",
        figures=[
            Figure(meaning="BACKWARD_TRANSITIVE, all", rounds=one_way, unit="s", bar=bar),
            Figure(meaning="FULL_TRANSITIVE, all", rounds=both_ways, unit="s", bar=bar),
        ],
        others=[share for share in others if share is not None],
    )


def _checked_s(subjects: list[list[str]], mode: Mode) -> float:
    began = time.perf_counter()
    for texts in subjects:
        *versions, candidate = (parse_text(text, "") for text in texts)
        if not check_mode(mode, versions, candidate).compatible:
            raise AssertionError("a subject of the workload is not compatible")
    return time.perf_counter() - began


def _versions(subject: int) -> list[str]:
    """A type as it grows: a field with a default, and a symbol, each time."""
    return [json.dumps(_type(subject, version)) for version in range(VERSIONS)]


def _type(subject: int, version: int) -> dict[str, Any]:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    time_us = {"type": "long", "logicalType": "timestamp-micros"}
    line = _record(
        "Line",
        _field("sku", "string"),
        _field("count", "int"),
        _field("price", money),
        _field("parts", {"type": "array", "items": "Line"}, default=[]),
    )
    symbols = ["UNKNOWN", "OPEN", "PAID", *(f"STATE_{n}" for n in range(version))]
    state = {"type": "enum", "name": "State", "symbols": symbols, "default": "UNKNOWN"}
    buyer = _record("Buyer", _field("id", "string"), _field("email", ["null", "string"]))
    card = _record("Card", _field("number", "string"), _field("expires", "int"))
    transfer = _record("Transfer", _field("iban", "string"))
    fields = [
        _field("id", "string"),
        _field("placed_at", time_us),
        _field("lines", {"type": "array", "items": line}),
        _field("state", state),
        _field("buyer", buyer),
        _field("payment", ["null", card, transfer], default=None),
        _field("labels", {"type": "map", "values": "string"}, default={}),
        _field("note", ["null", "string"], default=None),
        _field("weight_g", "int"),
        _field("ratio", "double", default=1.0),
        _field("gift", "boolean", default=False),
        _field("related", {"type": "array", "items": "string"}, default=[]),
    ]
    kinds: list[tuple[Any, Any]] = [("string", ""), (["null", "long"], None)]
    for n in range(version):
        kind, default = kinds[n % len(kinds)]
        fields.append(_field(f"added_{n}", kind, default=default))
    return _record(f"Order{subject}", *fields, namespace="acme.order")


def _record(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, **more, "doc": f"A {name}.", "fields": list(fields)}


def _field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "doc": f"The {name}.", **more}
