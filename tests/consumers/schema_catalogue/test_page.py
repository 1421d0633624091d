"""The catalogue of types: what is said of each, and a page that nothing in a schema can break."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumers.schema_catalogue import TypeEntry, catalogue_page, entries_of
from consumers.schema_catalogue.entries import field_entries
from consumers.usage import Reader, ReaderKind, Reads, Writer
from streams.schemas.folders import SchemaFolder, builtin_folder, read_avsc
from tests.html_pages import Page
from tests.schemas.folder import field, record, write_folder, write_type

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202eevil\x1b[2J\n]]>"
PLACED = "acme.order.Placed"
SUBJECTS = f"""
[default]
mode = "FULL"
owner = "orders"
[subject."{PLACED}"]
deprecated = "use Accepted"
personal_data = ["buyer.email"]
[[subject."{PLACED}".waivers]]
rule = "unit-in-name"
paths = ["timeout"]
reason = "as released"
expires = 2027-06-30
"""
BUYER = record("Buyer", field("email", ["null", "string"], default=None))
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["unknown", "red"], "default": "unknown"}


@pytest.fixture
def folder(tmp_path: Path) -> SchemaFolder:
    """One type of two versions and a change that is not locked."""
    schema = record("Placed", field("timeout", "int"), field("buyer", BUYER))
    path = write_folder(tmp_path / "schemas", schema, subjects=SUBJECTS)
    schema["fields"].append(field("colour", COLOUR, default="unknown"))
    write_folder(path, schema, subjects=SUBJECTS)
    schema["fields"].append(field("note", default=""))
    write_type(path, schema)
    return SchemaFolder(path)


READERS = (
    Reader(
        ReaderKind.HANDLER, "shop", "on_placed", "shop/app.py:7", ("events",),
        (Reads(PLACED, ("buyer.email",)),),
    ),
    Reader(
        ReaderKind.PROJECTION, "sums", "apply", "shop/sums.py:9", ("events",),
        (Reads(PLACED, (), whole=True, lost=("dumps (shop/sums.py:11)",)),),
    ),
    Reader(ReaderKind.HANDLER, "other", "on_else", "x.py:1", ("events",), (Reads("a.B", ()),)),
)  # fmt: skip
WRITERS = (Writer(PLACED, "place", "shop.app", "shop/app.py:21"),)


def entry(folder: SchemaFolder) -> TypeEntry:
    (found,) = entries_of([folder], READERS, WRITERS)
    return found


def test_an_entry_says_what_a_type_is_and_who_has_to_do_with_it(folder: SchemaFolder) -> None:
    found = entry(folder)
    assert (found.name, found.family, found.kind, found.file) == (
        PLACED,
        "order",
        "event",
        "schemas/order/Placed.avsc",
    )
    assert found.topics == ("events",)
    assert [use.reader.owner for use in found.readers] == ["shop", "sums"]
    assert found.writers == WRITERS
    assert [(one.path, one.depth, one.type, one.default) for one in found.fields] == [
        ("timeout", 0, "int", None),
        ("buyer", 0, "record Buyer", None),
        ("buyer.email", 1, "string?", "null"),
        ("colour", 0, "enum Colour", '"unknown"'),
        ("note", 0, "string", '""'),
    ]
    assert [one.path for one in found.fields if one.personal] == ["buyer.email"]


def test_versions_are_newest_first_with_what_changed(folder: SchemaFolder) -> None:
    """What is not locked yet comes before them."""
    versions = entry(folder).versions
    assert [(one.number, [change.path for change in one.changes]) for one in versions] == [
        (0, ["note"]),
        (2, ["colour"]),
        (1, []),
    ]


def page_of(*types: TypeEntry, title: str = "Orders") -> str:
    return catalogue_page(types, field_entries(BUYER), title=title, code=["shop.app:app"])


def test_the_page_says_all_of_it(folder: SchemaFolder) -> None:
    text = Page(page_of(entry(folder))).text
    for said in (
        "use Accepted",
        "FULL",
        "orders",
        "buyer.email",
        "any field: handed to dumps (shop/sums.py:11)",
        "shop/app.py:21",
        "not locked yet",
        'field added: enum Colour, default "unknown"',
        "as released",
        "2027-06-30",
        "shop.app:app",
    ):
        assert said in text, said


def test_every_link_leads_somewhere(folder: SchemaFolder) -> None:
    """Inside the page, for it needs nothing from elsewhere and forbids itself to fetch it."""
    page = page_of(entry(folder))
    tags = Page(page).tags
    ids = {found["id"] for _, found in tags if "id" in found}
    links = {found["href"] for tag, found in tags if tag == "a"}
    assert links == {f"#{one}" for one in ids}
    assert not re.findall(r"src=|url\(|@import|https?://", page)
    policy = next(found for tag, found in tags if tag == "meta" and "content" in found)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_nothing_in_a_schema_is_part_of_the_page(tmp_path: Path) -> None:
    """No tag, no attribute, nothing that turns the text around it."""
    schema = record("Placed", field("a", doc=HOSTILE, default=HOSTILE), doc=HOSTILE)
    path = write_folder(tmp_path / "schemas", schema)
    page = page_of(entry(SchemaFolder(path)), title=HOSTILE)
    parsed = Page(page)
    assert not parsed.open
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "img", "link", "iframe"})
    assert not [name for _, found in parsed.tags for name in found if name.startswith("on")]
    assert "alert(1)" in parsed.text
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_our_own_types_are_all_in_it() -> None:
    ours = SchemaFolder(builtin_folder())
    types = entries_of([ours], (), ())
    envelope = field_entries(read_avsc(builtin_folder() / "envelope.avsc"))
    text = Page(catalogue_page(types, envelope, title="Schemas", code=())).text
    assert all(name in text for name in ours.types)
    assert "created_at" in text
