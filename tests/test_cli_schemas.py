"""`agentlog schemas` on folders of schemas: what changed, what is lint, what was tampered with."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from streams.errors import ConfigurationError, ProofFailed, UnknownType
from streams.schemas.catalogue import update_lock
from streams.schemas.lint import RULES
from tests.schemas.folder import field, record, write_folder, write_type

Run = Callable[..., Any]
PLACED = record("Placed", field("sku"), field("count", "int", default=1))
PLACED_2 = record("Placed", field("sku"), field("count", "long", default=1))
PAID = record("Paid", field("sku"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two types in a git repository, as its first commit has it."""
    path = write_folder(tmp_path / "schemas", PLACED, PAID)
    commit(tmp_path, "one")
    return path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`agentlog schemas` on that folder."""
    monkeypatch.setenv("AGENTLOG_SCHEMAS_DIR", str(folder))
    monkeypatch.setattr("consumers.cli.output.stdout._width", 140)
    return lambda *arguments: CliRunner().invoke(cli, ["schemas", *arguments])


def commit(top: Path, message: str) -> None:
    for arguments in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", message],
        ["tag", message],
    ):
        subprocess.run(["git", "-C", str(top), *arguments], check=True)


def test_the_list_has_modes_and_owners(run: Run) -> None:
    """Of our own types, and of the users'."""
    listed = {one["type"]: one for one in json.loads(run("list", "--json").stdout)["types"]}
    placed = listed["acme.order.Placed"]
    assert (placed["mode"], placed["owner"]) == ("FULL_TRANSITIVE", "orders")
    assert listed["agentlog.control.Cancel"]["mode"] == "FULL"
    assert "FULL_TRANSITIVE" in run("list").stdout


def test_what_the_files_say_is_compared_with_what_was_locked(run: Run, folder: Path) -> None:
    assert run("diff").stdout == "nothing changed\n"
    write_type(folder, PLACED_2)
    document = json.loads(run("diff", "--json").stdout)
    (placed,) = (one for one in document["types"] if one["changes"])
    assert (placed["type"], placed["from"], placed["to"]) == ("acme.order.Placed", "v1", "now")
    assert placed["changes"] == [
        {
            "path": "count",
            "kind": "type_changed",
            "before": "int",
            "after": "long",
            "message": "type changed: int → long",
        }
    ]
    assert run("diff").stdout == (
        "acme.order.Placed  v1 → now\n  count  type changed: int → long\n"
    )


def test_two_versions_of_a_type_are_compared(run: Run, folder: Path) -> None:
    """The last two that differ, unless others are named."""
    write_folder(folder, PLACED_2)
    assert "v1 → now" in run("diff", "acme.order.Placed").stdout
    write_folder(folder, PLACED)
    assert "v2 → now" in run("diff", "acme.order.Placed").stdout
    back = run("diff", "acme.order.Placed", "--from", "2", "--to", "1")
    assert "type changed: long → int" in back.stdout
    assert "nothing changed" in run("diff", "acme.order.Placed", "--from", "1").stdout
    refused = run("diff", "acme.order.Placed", "--from", "7")
    assert str(refused.exception) == "acme.order.Placed has no version 7; it has 1, 2, 3"
    assert isinstance(run("diff", "acme.order.Plced").exception, UnknownType)


def test_a_revision_is_a_base_too(run: Run, folder: Path) -> None:
    """With what came and what went since."""
    write_folder(folder, PLACED_2, record("Sent"))
    (folder / "order" / "Paid.avsc").unlink()
    commit(folder.parent, "two")
    said = run("diff", "--base", "one").stdout
    assert "acme.order.Placed  one → now\n  count  type changed" in said
    assert "acme.order.Paid  one → nothing" in said
    assert "acme.order.Sent  nothing → now" in said


def test_two_files_are_compared(run: Run, tmp_path: Path) -> None:
    old, new = (write_type(tmp_path / name, one) for name, one in (("a", PLACED), ("b", PLACED_2)))
    (found,) = json.loads(run("diff", str(old), str(new), "--json").stdout)["types"]
    assert [one["kind"] for one in found["changes"]] == ["type_changed"]
    assert "cannot read" in str(run("diff", str(old), str(tmp_path / "gone.avsc")).exception)


def test_two_files_may_hold_any_schema(run: Run, tmp_path: Path) -> None:
    """Whatever is no record is compared just as well."""
    old, new = (tmp_path / "old.avsc", tmp_path / "new.avsc")
    old.write_text('["null", "int"]')
    new.write_text('["null", "string"]')
    (found,) = json.loads(run("diff", str(old), str(new), "--json").stdout)["types"]
    assert [one["kind"] for one in found["changes"]] == ["type_changed"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("diff", "--base", "nowhere"), "has no revision 'nowhere' to compare with"),
        (("diff", "--base", "--help"), "has no revision '--help'"),
        (("lock", "--check", "--base", "nowhere"), "has no revision 'nowhere'"),
        (("diff", "--from", "1"), "name the type"),
        (("diff", "a", "b", "c"), "name one type, or two .avsc files"),
    ],
)
def test_a_base_that_does_not_exist_is_one_clear_error(
    run: Run, arguments: tuple[str, ...], complaint: str
) -> None:
    refused = run(*arguments)
    assert isinstance(refused.exception, ConfigurationError), refused.stdout
    assert complaint in str(refused.exception)


def test_a_folder_that_was_not_there_yet_is_said(run: Run, folder: Path) -> None:
    """And one that is in no repository."""
    later = write_folder(folder.parent / "later", record("Sent"))
    refused = run("diff", "--base", "one", "--folder", str(later))
    assert "was not there at one" in str(refused.exception)
    # Nothing was released by then that its lock would have to keep.
    locked = run("lock", "--check", "--base", "one", "--folder", str(later))
    assert (locked.exit_code, locked.stdout) == (0, "nothing to lock\n")


def test_an_id_that_was_renumbered_since_a_revision_is_refused(run: Run, folder: Path) -> None:
    """Even where the lock by itself could be."""
    assert run("lock", "--check", "--base", "one").exit_code == 0
    lock = folder / "lock.json"
    lock.write_text(lock.read_text().replace("1074790401", "1074790409"))
    update_lock(folder)
    refused = run("lock", "--check", "--base", "one")
    assert isinstance(refused.exception, ConfigurationError)
    assert "was released with id 1074790401 and now has 1074790409" in str(refused.exception)


def test_lint_says_what_is_broken_where_and_why(run: Run, folder: Path) -> None:
    """And ends with 1; a waiver in the file lets it."""
    assert run("lint").exit_code == 0
    path = write_type(folder, record("Placed", field("timeout", "int")))
    done = run("lint", "--json")
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["type"], problem["path"], problem["rule"]) == (
        "acme.order.Placed",
        "timeout",
        "unit-in-name",
    )
    assert isinstance(done.exception, ProofFailed)
    assert str(path) in run("lint").stdout
    subjects = folder / "subjects.toml"
    subjects.write_text(
        subjects.read_text()
        + '[[subject."acme.order.Placed".waivers]]\nrule = "unit-in-name"\n'
        + 'reason = "released"\nexpires = 2999-01-01\n'
    )
    done = run("lint", "--json")
    assert (done.exit_code, json.loads(done.stdout)["problems"]) == (0, [])
    (waived,) = json.loads(done.stdout)["waived"]
    assert waived["waiver"] == {"reason": "released", "owner": "orders", "expires": "2999-01-01"}


def test_the_rules_are_shown_with_their_reasons(run: Run) -> None:
    rules = json.loads(run("lint", "--rules", "--json").stdout)["rules"]
    assert {one["id"] for one in rules} == RULES.keys()
    assert "Who reads `timeout: 5` waits five of something." in run("lint", "--rules").stdout


def test_a_folder_without_modes_is_not_let_through(run: Run, folder: Path) -> None:
    (folder / "subjects.toml").unlink()
    refused = run("lint")
    assert isinstance(refused.exception, ConfigurationError)
    assert "so no type has a compatibility mode" in str(refused.exception)


def test_the_catalogue_is_one_page(run: Run, tmp_path: Path) -> None:
    """Of our types and the users', with the readers that are asked for."""
    file = tmp_path / "schemas.html"
    done = run("docs", str(file), "--code", "examples.reviewer:app", "--json")
    assert json.loads(done.stdout)["types"] == 32, done.exception
    page = file.read_text()
    assert "acme.order.Placed" in page
    assert "examples/reviewer.py:" in page
    refused = run("docs", str(tmp_path / "no" / "folder.html"))
    assert isinstance(refused.exception, ConfigurationError)
    assert "cannot write" in str(refused.exception)


@pytest.mark.parametrize("command", ["lint", "diff"])
def test_what_is_no_avro_is_said_with_its_place(run: Run, folder: Path, command: str) -> None:
    """File, line, column and path."""
    path = write_type(folder, record("Placed", field("sku", "strin")))
    refused = run(command)
    assert isinstance(refused.exception, ConfigurationError)
    assert re.search(rf"{re.escape(str(path))}:\d+:\d+: \$\.fields\[0\]", str(refused.exception))
    refused = run("diff", str(path), str(path))
    assert f"{path}:" in str(refused.exception)
