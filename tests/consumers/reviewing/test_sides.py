"""Both sides of a review: what changed, and what a version is read as on each."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any, Final

from consumers.reviewing.review import TypeReview, review_type
from consumers.reviewing.sides import ENVELOPE, Sides
from consumers.reviewing.verdict import Order
from streams.schemas.folders import builtin_folder
from tests.consumers.reviewing.stored import PLACED, placed, sides_of
from tests.schemas.folder import field, record, write_folder

TODAY: Final = date(2026, 11, 22)


def reviewed(sides: Sides) -> dict[str, TypeReview]:
    """By the schemas alone."""
    return {
        change.name: review_type(
            sides,
            change,
            gathered=None,
            codec_schemas={},
            readers=(),
            groups={},
            today=TODAY,
        )
        for change in sides.changes()
    }


def with_envelope(tmp_path: Path, *fields: dict[str, Any]) -> Sides:
    """Our own folder, with these fields at the end of its envelope."""
    for name in ("base", "head"):
        shutil.copytree(builtin_folder(), tmp_path / name)
    path = tmp_path / "head" / "envelope.avsc"
    envelope = json.loads(path.read_text())
    envelope["fields"] += fields
    path.write_text(json.dumps(envelope))
    return Sides(tmp_path / "base", tmp_path / "head")


def test_types_come_go_and_are_renamed(tmp_path: Path) -> None:
    """One that has the old name as an alias is the old one, and reads what that wrote."""
    base = write_folder(tmp_path / "s", placed(), record("Paid"), record("Sent"))
    sides = sides_of(base, record("Made", field("sku"), aliases=["Placed"]), record("New"))
    for name in ("Placed", "Sent"):
        (sides.head / "order" / f"{name}.avsc").unlink()
    found = reviewed(sides)
    assert {name.rpartition(".")[2]: one.state for name, one in found.items()} == {
        "Made": "renamed",
        "New": "new",
        "Sent": "gone",
    }
    assert [it.label for it in found["acme.order.Made"].versions] == ["v1"]
    assert found["acme.order.Made"].change.was == PLACED


def test_who_goes_first_and_whether_there_is_a_way_back(tmp_path: Path) -> None:
    """By what each side reads of the other."""
    for n, (schema, order, back) in enumerate(
        (
            (placed(field("a", "int"), field("b", "int", default=0)), Order.EITHER, True),
            (placed(field("a", "long")), Order.READERS_FIRST, False),
            (placed(field("a", "int"), field("b", "int")), Order.WRITERS_FIRST, True),
            (placed(field("a", "string")), Order.NEITHER, False),
        )
    ):
        base = write_folder(tmp_path / str(n), placed(field("a", "int")))
        found = reviewed(sides_of(base, schema))[PLACED].deployment
        assert found is not None
        assert (found.order, found.rollback_safe) == (order, back), found


def test_the_envelope_is_held_to_what_its_readers_need(tmp_path: Path) -> None:
    """Fields are only ever added, with a default."""
    shown = reviewed(with_envelope(tmp_path / "a", field("tenant", default="")))
    assert not shown[ENVELOPE].against
    strict = reviewed(with_envelope(tmp_path / "b", field("tenant")))
    assert [one.rule for one in strict[ENVELOPE].against] == ["missing_default"]
