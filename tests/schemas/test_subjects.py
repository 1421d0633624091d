"""What `subjects.toml` says of each type, and one clear error for each thing that it cannot say."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from streams.errors import ConfigurationError
from streams.schemas.compatibility import Mode
from streams.schemas.folders import SchemaFolder, builtin_folder
from streams.schemas.subjects import read_subjects
from tests.schemas.folder import record, write_folder, write_type

TYPES = ("acme.order.Placed", "acme.order.Paid")
WAIVED = """
[[subject."acme.order.Placed".waivers]]
rule = "unit-in-name"
paths = ["timeout"]
reason = "as released"
expires = 2027-06-30
"""


def write(folder: Path, text: str) -> Path:
    (folder / "subjects.toml").write_text(text)
    return folder


def test_a_type_has_what_its_own_table_says_and_the_default_for_the_rest(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[default]\nmode = "FULL"\nowner = "orders"\n'
        '[subject."acme.order.Paid"]\nmode = "BACKWARD"\ndeprecated = "use Settled"\n'
        'personal_data = ["payer.email"]\n',
    )
    subjects = read_subjects(tmp_path, TYPES)
    placed, paid = (subjects.of(name) for name in TYPES)
    assert (placed.mode, placed.owner, placed.deprecated) == (Mode.FULL, "orders", "")
    assert (paid.mode, paid.owner, paid.deprecated) == (Mode.BACKWARD, "orders", "use Settled")
    assert paid.personal_data == {"payer.email"}


def test_a_waiver_is_for_a_rule_some_fields_and_a_while(tmp_path: Path) -> None:
    """It holds on its last day, not after; whoever owns the type owns it, unless it says so."""
    write(tmp_path, '[default]\nmode = "FULL"\nowner = "orders"\n' + WAIVED)
    (waiver,) = read_subjects(tmp_path, TYPES).of("acme.order.Placed").waivers
    assert waiver.owner == "orders"
    assert waiver.covers("unit-in-name", "timeout")
    assert not waiver.covers("unit-in-name", "delay")
    assert not waiver.covers("field-doc", "timeout")
    assert waiver.holds(date(2027, 6, 30))
    assert not waiver.holds(date(2027, 7, 1))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[default]\nowner = "orders"\n', r"acme\.order\.(Placed|Paid) has no mode"),
        ('[default]\nmode = "UPWARD"\n', r"Invalid enum value 'UPWARD' - at `\$\.default\.mode`"),
        ('[defaults]\nmode = "FULL"\n', "unknown field `defaults`"),
        (
            '[default]\nmode = "FULL"\n[subject."acme.order.Plced"]\n',
            r"does not define \(did you mean acme\.order\.Placed\?\)",
        ),
        ('[default]\nmode = "FULL"\n[subject."acme.order.Paid"]\nmod = "FULL"\n', "field `mod`"),
        ('[default]\nmode = "FULL"\n' + WAIVED, "nobody owns the waiver of unit-in-name"),
        (
            '[default]\nmode = "FULL"\nowner = "o"\n' + WAIVED.replace("expires = 2027-06-30", ""),
            "missing required field `expires`",
        ),
        (
            '[default]\nmode = "FULL"\nowner = "o"\n' + WAIVED.replace('"as released"', '""'),
            "length >= 1",
        ),
        ('[default\nmode = "FULL"\n', r"line 1, column 9"),
    ],
)
def test_what_cannot_be_is_one_clear_error(tmp_path: Path, text: str, complaint: str) -> None:
    """It names the file, and the type or the key."""
    write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        read_subjects(tmp_path, TYPES)
    assert "subjects.toml" in str(refused.value)


def test_a_folder_without_the_file_is_told_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no .*subjects\.toml.*\[default\]"):
        read_subjects(tmp_path, TYPES)


def test_a_type_of_another_folder_is_refused(tmp_path: Path) -> None:
    folder = SchemaFolder(write_folder(tmp_path, record("Placed")))
    assert folder.subjects.of("acme.order.Placed").mode is Mode.FULL_TRANSITIVE
    with pytest.raises(ConfigurationError, match=r"did you mean acme\.order\.Placed\?"):
        folder.subjects.of("acme.order.Place")


def test_our_own_types_have_modes_and_owners() -> None:
    ours = SchemaFolder(builtin_folder())
    assert {one.type for one in ours.subjects} == set(ours.types)
    assert all(one.owner for one in ours.subjects)


def test_a_name_that_two_files_have_is_refused_with_both(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, record("Placed"))
    write_type(folder, record("Placed"), family="orders")
    with pytest.raises(ConfigurationError, match="defined twice") as refused:
        _ = SchemaFolder(folder).types
    assert str(folder / "order" / "Placed.avsc") in str(refused.value)
    assert str(folder / "orders" / "Placed.avsc") in str(refused.value)


def test_a_folder_has_every_released_version_of_a_type(tmp_path: Path) -> None:
    """The payloads alone, oldest first."""
    folder = write_folder(tmp_path, record("Placed"))
    write_folder(folder, record("Placed", doc="Placed by somebody."))
    versions = SchemaFolder(folder).versions("acme.order.Placed")
    assert [(one.number, one.schema["doc"]) for one in versions] == [
        (1, "A Placed."),
        (2, "Placed by somebody."),
    ]
    assert versions[1].id == versions[0].id + 1


def test_a_released_type_that_was_removed_keeps_a_table_to_waive_that(tmp_path: Path) -> None:
    """It is about no type that there is; a table that was forgotten is refused."""
    folder = write_folder(tmp_path, record("Placed"), record("Paid"))
    with (folder / "subjects.toml").open("a") as file:
        file.write(WAIVED.replace("unit-in-name", "type_removed"))
    (folder / "order" / "Placed.avsc").unlink()
    subjects = SchemaFolder(folder).subjects
    assert [one.type for one in subjects] == ["acme.order.Paid"]
    assert subjects.removed["acme.order.Placed"].waivers[0].rule == "type_removed"
    path = folder / "subjects.toml"
    path.write_text(path.read_text().replace("type_removed", "unit-in-name"))
    with pytest.raises(ConfigurationError, match="take the table out, or waive type_removed in it"):
        _ = SchemaFolder(folder).subjects
