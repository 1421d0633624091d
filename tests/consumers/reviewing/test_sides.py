"""Both sides of a review: what changed, and what a version is read as on each."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from consumers.reviewing.document import document
from consumers.reviewing.markdown import markdown
from consumers.reviewing.opening import open_sides
from consumers.reviewing.page import review_page
from consumers.reviewing.review import TypeReview, review_type
from consumers.reviewing.reviewing import Looks, review
from consumers.reviewing.sides import ENVELOPE, Sides
from consumers.reviewing.verdict import Order
from streams.errors import ConfigurationError
from streams.schemas.folders import builtin_folder
from tests.consumers.reviewing.stored import PLACED, placed, sides_of
from tests.schemas.folder import field, record, write_folder, write_type

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A schemas folder in a repository; its first commit is `one`."""
    found = write_folder(tmp_path / "schemas", placed(field("a", "int")))
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "one")
    return found


def git(top: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(top), *arguments], check=True)


def commit(top: Path, tag: str) -> None:
    git(top, "add", ".")
    git(top, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", tag)
    git(top, "tag", tag)


def refused(folder: Path, base: str, head: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as error, open_sides(folder, base, head) as sides:
        sides.changes()
    return str(error.value)


def test_what_is_no_schema_is_told_with_file_line_and_path(folder: Path) -> None:
    """Of a revision by the revision's name, not by where its copy is."""
    path = folder / "order" / "Placed.avsc"
    good = path.read_text()
    path.write_text(good.replace('"int"', '"number"'))
    assert f"{path}:14:" in refused(folder, "one")
    assert "$.fields[1].type" in refused(folder, "one")
    commit(folder.parent, "two")
    path.write_text(good)
    for said in (refused(folder, "one", "two"), refused(folder, "two")):
        assert said.startswith(f"two:{path}:14:")


def test_a_base_that_is_no_revision_is_refused(folder: Path) -> None:
    assert "has no revision 'nowhere'" in refused(folder, "nowhere")


@pytest.mark.parametrize("files", [(), ("subjects.toml", "README.md")])
def test_where_the_base_has_no_schemas_every_type_is_new(
    folder: Path, files: tuple[str, ...]
) -> None:
    """Whether it had the folder without types, or none; a head without it is refused."""
    first = folder.rename(folder.with_name("first"))
    for name in files:
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("")
    git(folder.parent, "rm", "-r", "--quiet", "--cached", "schemas")
    commit(folder.parent, "two")
    shutil.rmtree(folder, ignore_errors=True)
    first.rename(folder)
    with open_sides(folder, "two", None) as sides:
        assert [(one.name, one.was) for one in sides.changes()] == [(PLACED, "")]
        [one] = reviewed(sides).values()
        assert (one.state, one.blocks, one.deployment) == ("new", (), None)
        whole = review(sides, names=("schemas", "two", "now"), log=None, looks=Looks(today=TODAY))
        assert whole.fine
        assert document(whole)["is_first"]
        for said in (markdown(whole), review_page(whole)):
            assert "two has no schemas in schemas: every type is new" in said
    said = "no <family>/<Type>.avsc" if files else "was not there at two"
    assert said in refused(folder, "one", "two")


def test_a_file_that_moves_to_another_family_is_the_same_type(folder: Path) -> None:
    """Only what a schema says counts."""
    (folder / "sales").mkdir()
    (folder / "order" / "Placed.avsc").rename(folder / "sales" / "Placed.avsc")
    with open_sides(folder, "one", None) as sides:
        assert sides.changes() == ()


def test_an_upcaster_that_begins_nowhere_is_refused(folder: Path) -> None:
    """Workers would not start with it; one from the last version that is locked is right."""
    text = (
        "from streams.schemas import Upcasters\nupcasters = Upcasters()\n"
        f"@upcasters.step({PLACED!r}, from_version=7)\ndef same(fields):\n    return fields\n"
    )
    (folder / "upcasters.py").write_text(text)
    assert f"a step from {PLACED} v7" in refused(folder, "one")
    (folder / "upcasters.py").write_text(text.replace("=7", "=1"))
    assert f"a step from {PLACED} v1" in refused(folder, "one")
    write_type(folder, placed(field("a", "long")))
    with open_sides(folder, "one", None) as sides:
        assert len(sides.changes()) == 1
