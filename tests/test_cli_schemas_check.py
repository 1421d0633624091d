"""`agentlog schemas check`: two files, many pairs, or a folder against its own past."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from streams.errors import ConfigurationError
from tests.schemas.folder import SUBJECTS, field, record, write_folder, write_type

Run = Callable[..., Any]
PLACED = record("Placed", field("sku"), field("count", "int"))
COUNT_IS_TEXT = record("Placed", field("sku"), field("count", "string"))
WITH_NOTE = record("Placed", field("sku"), field("count", "int"), field("note"))
WAIVED = """
[[subject."acme.order.Placed".waivers]]
rule = "missing_default"
paths = ["note"]
reason = "Nothing was ever placed."
expires = {expires}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("consumers.cli.output.stdout._width", 140)
    return lambda *arguments: CliRunner().invoke(cli, ["schemas", "check", *map(str, arguments)])


def write(path: Path, schema: Any) -> Path:
    path.write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return path


def test_two_files_as_json(run: Run, tmp_path: Path) -> None:
    """One object, with every finding; exit code 1 if the reader cannot read it all."""
    writer, reader = write(tmp_path / "w", PLACED), write(tmp_path / "r", COUNT_IS_TEXT)
    checked = run("--writer", writer, "--reader", reader, "--json")
    assert checked.exit_code == 1
    assert json.loads(checked.stdout) == {
        "compatible": False,
        "findings": [
            {
                "path": "$.count",
                "kind": "type_mismatch",
                "severity": "error",
                "message": "int was written, and string is no type to read it as",
            }
        ],
    }
    same = run("--writer", writer, "--reader", writer, "--json")
    assert (same.exit_code, json.loads(same.stdout)) == (0, {"compatible": True, "findings": []})


def test_two_files_for_people(run: Run, tmp_path: Path) -> None:
    """A line for each finding, and the verdict."""
    writer, reader = write(tmp_path / "w", PLACED), write(tmp_path / "r", COUNT_IS_TEXT)
    lines = run("--writer", writer, "--reader", reader).stdout.splitlines()
    assert lines[0] == "error  $.count  int was written, and string is no type to read it as"
    assert lines[1] == f"{reader} does not read all that {writer} wrote"


def test_many_pairs(run: Run, tmp_path: Path) -> None:
    """A line for each pair, in order; schemas are JSON, or text that holds JSON."""
    lines = [
        {"writer": "int", "reader": "long"},
        {"writer": PLACED, "reader": json.dumps(COUNT_IS_TEXT)},
        {"writer": ["null", "int"], "reader": '["int", "null"]'},
    ]
    path = write(tmp_path / "pairs", "\n".join(json.dumps(line) for line in lines) + "\n")
    checked = run("--pairs", path)
    found = [json.loads(line) for line in checked.stdout.splitlines()]
    assert [one["compatible"] for one in found] == [True, False, True]
    assert [sorted(one) for one in found] == [["compatible", "findings"]] * 3
    assert checked.exit_code == 1
    write(path, json.dumps(lines[0]))
    assert run("--pairs", path).exit_code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"writer": "int", "reader": "Nope"}', ":2:29: $: reader: type 'Nope' is not defined"),
        ('{"writer": {"type": "fixed", "name": "F"}, "reader": "int"}', ":2:12: $.size: writer: "),
        ('{"writer": "int"}', ":2:1: $: a line is "),
        ('{"writer": "int", }', ":2:19: $: not JSON"),
        ('{"writer": "int", "reader": "{"}', ":2:29: $: reader: inside of its string: not JSON"),
        (
            f'{{"writer": "int", "reader": "{"[" * 100_000}"}}',
            ":2:29: $: reader: inside of its string: nested deeper than 100",
        ),
        (
            r'{"writer": {"type": "int", "logicalType": "\udc00"}, "reader": "int"}',
            r":2:44: $: \udc00 is half of a character",
        ),
        ('{"writer": "int", "reader": "\udcff"}', ":2:30: $: not UTF-8"),
    ],
)
def test_a_pair_that_is_none(run: Run, tmp_path: Path, line: str, said: str) -> None:
    """It is said in its place, the others are checked all the same, and the exit code is 2."""
    good = '{"writer": "int", "reader": "int"}'
    path = tmp_path / "pairs"
    path.write_bytes(f"{good}\n{line}\n{good}\n".encode(errors="surrogateescape"))
    checked = run("--pairs", path)
    found = [json.loads(one) for one in checked.stdout.splitlines()]
    assert [one["compatible"] for one in found] == [True, False, True]
    [finding] = found[1]["findings"]
    assert finding["kind"] == "invalid_schema"
    assert f"{path}{said}" in finding["message"]
    assert isinstance(checked.exception, ConfigurationError)
    assert checked.exception.exit_code == 2


def test_a_byte_order_mark_is_passed_over(run: Run, tmp_path: Path) -> None:
    """Of files, of many pairs, of a text in a pair; and lines and columns go by what is shown."""
    mark = "\ufeff"
    placed = write(tmp_path / "Placed.avsc", mark + json.dumps(PLACED))
    assert run("--writer", placed, "--reader", placed).exit_code == 0
    pair = json.dumps({"writer": PLACED, "reader": mark + json.dumps(PLACED)})
    assert run("--pairs", write(tmp_path / "pairs", f"{mark}{pair}\n{pair}\n")).exit_code == 0
    write(placed, mark + '{"type": "Nope"}')
    refused = run("--writer", placed, "--reader", placed)
    assert f"{placed}:1:1: $: type 'Nope'" in str(refused.exception)


@pytest.mark.parametrize("command", ["check", "lint", "diff", "lock"])
def test_a_folder_with_byte_order_marks(tmp_path: Path, command: str) -> None:
    """Whoever reads it passes over them: in types, locked texts and subjects.toml."""
    folder = write_folder(tmp_path / "schemas", PLACED)
    for path in (*folder.glob("*/*.avsc"), folder / "subjects.toml"):
        path.write_bytes(BOM_UTF8 + path.read_bytes())
    done = CliRunner().invoke(cli, ["schemas", command, "--folder", str(folder)])
    assert done.exit_code == 0, done.exception


def test_a_file_that_is_not_utf_8(run: Run, tmp_path: Path) -> None:
    """It is named, and what to do about it."""
    path = tmp_path / "Placed.avsc"
    path.write_bytes(json.dumps(PLACED).encode("utf-16"))
    refused = run("--writer", path, "--reader", path)
    assert str(refused.exception) == f"{path} is not UTF-8 at byte 0: save it as UTF-8"


def test_a_folder_against_its_past(run: Run, tmp_path: Path) -> None:
    """What is not locked yet is checked against what is, as far as its mode goes."""
    folder = write_folder(tmp_path / "schemas", PLACED)
    assert run("--folder", folder).exit_code == 0
    write_type(folder, WITH_NOTE)
    checked = run("--folder", folder, "--json")
    assert checked.exit_code == 1
    found = json.loads(checked.stdout)
    assert [(one["reader"], one["writer"], one["kind"]) for one in found["findings"]] == [
        ("now", "v1", "missing_default"),
        ("v1", "now", "field_ignored"),
    ]
    assert found["types"] == [
        {
            "type": "acme.order.Placed",
            "mode": "FULL_TRANSITIVE",
            "version": "now",
            "pairs": 2,
            "compatible": False,
        }
    ]
    assert "now reads v1  error  $.note" in run("--folder", folder).stdout
    assert run("--folder", folder, "--mode", "FORWARD").exit_code == 0


@pytest.mark.parametrize(("expires", "exit_code"), [("2999-12-31", 0), ("2020-01-01", 1)])
def test_a_waiver_until_it_expires(run: Run, tmp_path: Path, expires: str, exit_code: int) -> None:
    """It takes an error out of the verdict, and the error stays to be seen."""
    subjects = SUBJECTS + WAIVED.format(expires=expires)
    folder = write_folder(tmp_path / "schemas", PLACED, subjects=subjects)
    write_type(folder, WITH_NOTE)
    checked = run("--folder", folder, "--json")
    assert checked.exit_code == exit_code
    error = json.loads(checked.stdout)["findings"][0]
    assert error["severity"] == "error"
    assert ("waiver" in error) is (exit_code == 0)


def test_a_file_of_the_folder_that_is_no_schema(run: Run, tmp_path: Path) -> None:
    """File, line, column and path."""
    folder = write_folder(tmp_path / "schemas", PLACED)
    path = write_type(folder, record("Placed", field("sku", "strin")))
    refused = run("--folder", folder)
    assert f"{path}:9:15: $.fields[0].type: type 'acme.order.strin'" in str(refused.exception)


def test_a_type_that_was_removed(run: Run, tmp_path: Path) -> None:
    """One line says so, and the verdict is of what is there; an alias of another is no removal."""
    gone = [record(f"Gone{n}", field("sku")) for n in range(12)]
    folder = write_folder(tmp_path / "schemas", PLACED, *gone)
    assert json.loads(run("--folder", folder, "--json").stdout)["removed"] == []
    for schema in gone:
        (folder / "order" / f"{schema['name']}.avsc").unlink()
    checked = run("--folder", folder)
    [line] = [line for line in checked.stderr.splitlines() if line.startswith("warning")]
    assert "acme.order.Gone0, acme.order.Gone1, acme.order.Gone10" in line
    assert " and 2 more; " in line
    assert checked.exit_code == 0
    write_type(folder, {**PLACED, "aliases": [f"Gone{n}" for n in range(10)]})
    found = json.loads(run("--folder", folder, "--json").stdout)
    assert found["removed"] == ["acme.order.Gone10", "acme.order.Gone11"]


def test_our_own_schemas_keep_their_promises(run: Run) -> None:
    """Every type that ships, in its mode."""
    assert run().exit_code == 0


@pytest.mark.parametrize(
    "arguments", [["--writer", "w"], ["--reader", "r"], ["--pairs", "p", "--folder", "f"]]
)
def test_options_that_do_not_go_together(run: Run, arguments: list[str]) -> None:
    """Usage, exit code 2."""
    assert run(*arguments).exit_code == 2


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """It is named, exit code 2."""
    refused = run("--writer", tmp_path / "none", "--reader", tmp_path / "none")
    assert str(refused.exception) == f"cannot read {tmp_path / 'none'}: No such file or directory"
