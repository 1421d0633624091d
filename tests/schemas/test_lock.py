"""Ids are what the committed lock says, and never change."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from streams.errors import ConfigurationError
from streams.schemas.catalogue import Catalogue, update_lock
from streams.schemas.compatibility import InvalidSchema
from streams.schemas.folders import builtin_folder
from streams.schemas.lock import FIRST_ID, USERS_FIRST_ID, Lock, read_lock, require_kept

NOTE = {
    "type": "record",
    "name": "Note",
    "namespace": "users",
    "doc": "A note.",
    "fields": [{"name": "text", "type": "string", "doc": "What it says."}],
}


def write_note(folder: Path, **changes: object) -> None:
    """One user's type in a folder of its own."""
    (folder / "notes").mkdir(parents=True, exist_ok=True)
    (folder / "notes" / "Note.avsc").write_text(json.dumps(NOTE | changes))


def test_the_committed_lock_agrees_with_the_files() -> None:
    """`agentlog schemas lock` has nothing to add."""
    assert update_lock(builtin_folder(), dry_run=True) == ()


def test_ids_begin_where_no_registry_reaches() -> None:
    """The first id is 2³⁰ and they count up without gaps."""
    ids = [entry.id for entry in read_lock(builtin_folder()).schemas]
    assert ids == list(range(FIRST_ID, FIRST_ID + len(ids)))


def test_a_users_folder_has_ids_of_its_own(tmp_path: Path) -> None:
    """From scratch it is clear of ours; a first id of one's own choice is taken too."""
    write_note(tmp_path)
    update_lock(tmp_path)
    assert Catalogue.load(tmp_path).type("users.Note").schema_id == USERS_FIRST_ID
    (tmp_path / "lock.json").write_text('{"first_id": 1200000000}')
    update_lock(tmp_path)
    assert Catalogue.load(tmp_path).type("users.Note").schema_id == 1_200_000_000


def test_a_folder_whose_ids_meet_ours_is_refused(tmp_path: Path) -> None:
    write_note(tmp_path)
    (tmp_path / "lock.json").write_text(json.dumps({"first_id": FIRST_ID}))
    update_lock(tmp_path)
    with pytest.raises(ConfigurationError, match="first_id"):
        Catalogue.load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"fields": [{"name": "text", "type": "strin"}]},
        {"fields": [{"name": "text"}]},
        {"fields": None},
        {"fields": 3},
    ],
)
def test_what_is_no_avro_gets_no_id(tmp_path: Path, changes: dict[str, object]) -> None:
    """An id is for good, so it is not given to a schema that no codec can use."""
    write_note(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match=r"Note\.avsc:\d+:\d+: \$\.fields"):
        update_lock(tmp_path)
    assert not (tmp_path / "lock.json").exists()


def test_a_changed_schema_gets_the_next_id_and_the_old_one_stays(tmp_path: Path) -> None:
    """A doc-only change is a version too; older versions still read."""
    (tmp_path / "lock.json").write_text('{"first_id": 1200000000}')
    write_note(tmp_path)
    update_lock(tmp_path)
    write_note(tmp_path, doc="A short note.")
    with pytest.raises(ConfigurationError, match="agentlog schemas lock"):
        Catalogue.load(tmp_path)
    (added,) = update_lock(tmp_path)
    assert (added.version, added.id) == (2, 1_200_000_001)
    catalogue = Catalogue.load(tmp_path)
    assert catalogue.type("users.Note").schema_id == 1_200_000_001
    assert catalogue.by_id(1_200_000_000) is not None


@pytest.mark.parametrize("damage", ["edit", "remove"])
def test_a_locked_version_that_was_touched_is_refused(tmp_path: Path, damage: str) -> None:
    """What was released is checked against its fingerprint at load."""
    (tmp_path / "lock.json").write_text('{"first_id": 1200000000}')
    write_note(tmp_path)
    update_lock(tmp_path)
    victim = tmp_path / "locked" / "users.Note.v1.avsc"
    if damage == "edit":
        victim.write_text(victim.read_text().replace("sender", "author"))
    else:
        victim.unlink()
    with pytest.raises(ConfigurationError, match="restore it from git"):
        Catalogue.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", r"Note.avsc:1:2: \$: not JSON"),
        ("[" * 100_000, "nested deeper than 100"),
        ('{"type": "record", "name": "Other", "namespace": "u", "fields": []}', "name the file"),
        ('{"type": "enum", "name": "Note", "symbols": []}', "a payload is a record"),
        ("[]", "a payload is a record"),
        ('{"type": "record", "namespace": "u", "fields": []}', "name the file"),
        ('{"type": "record", "name": "u.Note", "namespace": "u", "fields": []}', "last dot"),
        (
            '{"type": "record", "name": "Note", "namespace": "u", "kind": "chat", "fields": []}',
            "kind 'chat' is none of request",
        ),
    ],
)
def test_a_bad_schema_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """One sentence that names the file."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "Note.avsc").write_text(text)
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        Catalogue.load(tmp_path)
    assert "Note.avsc" in str(refused.value)


LOCKED: list[dict[str, object]] = [
    {"id": 1_200_000_000, "type": "users.Note", "version": 1, "sha256": "a"},
    {"id": 1_200_000_001, "type": "users.Word", "version": 1, "sha256": "b"},
    {"id": 1_200_000_002, "type": "users.Note", "version": 2, "sha256": "c"},
]


def lock_with(**entries: dict[str, object]) -> Lock:
    """`LOCKED`, with some of its entries changed: `_1` is the second."""
    schemas = [one | entries.get(f"_{n}", {}) for n, one in enumerate(LOCKED)]
    return msgspec.convert({"first_id": 1_200_000_000, "schemas": schemas}, Lock)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"_1": {"id": 1_200_000_000}}, "is given twice, to users.Note v1 and users.Word v1"),
        ({"_1": {"id": 1_200_000_009}}, "users.Note v2 has id 1200000002, after 1200000009"),
        ({"_0": {"id": 7}}, "users.Note v1 has id 7, and ids begin at 1200000000"),
        ({"_2": {"version": 3}}, "users.Note v3 follows v1"),
        ({"_2": {"version": 1}}, "users.Note v1 follows v1"),
    ],
)
def test_a_lock_that_cannot_be_is_refused(
    tmp_path: Path, entries: dict[str, dict[str, object]], complaint: str
) -> None:
    """Ids that were given twice, swapped or moved, and versions that do not follow each other."""
    assert lock_with().disorder() == ""
    write_note(tmp_path)
    (tmp_path / "lock.json").write_bytes(msgspec.json.encode(lock_with(**entries)))
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        read_lock(tmp_path)
    assert "nothing is ever renumbered" in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"_2": {"id": 1_200_000_007}}, "v2 was released with id 1200000002 and now has"),
        ({"_2": {"type": "users.Thing", "version": 1}}, "users.Note v2, .* is missing"),
        ({"_1": {"sha256": "x"}}, "users.Word v1, .* was released with another schema"),
    ],
)
def test_what_was_released_stays_as_it_was(
    entries: dict[str, dict[str, object]], complaint: str
) -> None:
    """A later lock has all that an earlier one gave, under the same ids; it may have more."""
    base = lock_with()
    require_kept(Path("lock.json"), base.extended({"users.More": {}})[0], base)
    with pytest.raises(ConfigurationError, match=complaint):
        require_kept(Path("lock.json"), lock_with(**entries), base)


def test_what_is_no_schema_gets_no_id(tmp_path: Path) -> None:
    """A default deep inside, which fastavro lets pass: file, line, column and path."""
    tags = {"name": "tags", "type": {"type": "array", "items": "int"}, "default": ["x"]}
    schema = {"type": "record", "name": "Note", "namespace": "u", "fields": [tags]}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "Note.avsc").write_text(json.dumps(schema, indent=1))
    with pytest.raises(InvalidSchema, match=r"Note.avsc:12:15: \$.fields\[0\].default: .*'x'"):
        update_lock(tmp_path)
    assert not (tmp_path / "lock.json").exists()


def test_what_check_takes_can_be_locked_and_written(tmp_path: Path) -> None:
    """A namespace that is null is none, to whatever reads the file; an object is no name."""
    kind = {"type": "enum", "name": "Kind", "namespace": None, "symbols": ["a"], "default": "a"}
    fields = [{"name": "kind", "type": kind}, {"name": "other", "type": "users.Kind"}]
    write_note(tmp_path, fields=fields)
    update_lock(tmp_path)
    writer = Catalogue.load(tmp_path).type("users.Note").writer
    assert writer.payload_name == "users.Note"
    assert writer.payload["fields"][0]["type"]["name"] == "users.Kind"
    write_note(tmp_path, fields=[fields[0], {"name": "other", "type": {"type": "Kind"}}])
    with pytest.raises(
        InvalidSchema, match=r"Note.avsc:1:\d+: \$.fields\[1\].type: .*write 'Kind'"
    ):
        update_lock(tmp_path)
