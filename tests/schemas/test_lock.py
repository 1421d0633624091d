"""Ids are what the committed lock says, and never change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.errors import ConfigurationError
from streams.schemas.catalogue import Catalogue, builtin_folder, update_lock
from streams.schemas.lock import FIRST_ID, USERS_FIRST_ID, read_lock

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
    with pytest.raises(ConfigurationError, match=r"Note\.avsc: not an Avro schema"):
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
        ("{", "not JSON"),
        ('{"type": "record", "name": "Other", "namespace": "u", "fields": []}', "name the file"),
        ('{"type": "enum", "name": "Note", "symbols": []}', "a payload is a record"),
        ("[]", "a payload is a record"),
        ('{"type": "record", "namespace": "u", "fields": []}', "name the file"),
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
