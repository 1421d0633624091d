"""`agentlog schemas check`: can every reader read what every writer wrote."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.text import Text

from consumers.cli.asked import AsJson
from consumers.cli.output import emit, emit_line, stderr, stdout
from consumers.cli.schemas_diff import Folder, choose_folder
from streams.errors import ConfigurationError
from streams.schemas.checking import Told, TypeCheck, check_folder, removed_types
from streams.schemas.compatibility import (
    Finding,
    FindingKind,
    InvalidSchema,
    Mode,
    ParsedSchema,
    Report,
    Severity,
    compare,
    parse_schema,
)
from streams.schemas.compatibility.texts import BOM, located, read_json
from streams.schemas.folders import SchemaFolder, parse_file

_COLOURS = {
    Severity.ERROR: "red",
    Severity.SEMANTIC: "magenta",
    Severity.WARNING: "yellow",
    Severity.INFO: "dim",
}
_REMOVED_SHOWN_MAX = 10
_JSON_BEGINS = ("{", "[", '"')


def check(
    writer: Annotated[
        Path | None, typer.Option(metavar="W.avsc", help="What the records were written with.")
    ] = None,
    reader: Annotated[
        Path | None, typer.Option(metavar="R.avsc", help="What is to read them.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="PAIRS.jsonl",
            help='Many pairs, one {"writer", "reader"} a line; - reads stdin. Prints JSON lines.',
        ),
    ] = None,
    folder: Folder = None,
    mode: Annotated[
        Mode | None, typer.Option(help="For the folder's types, instead of subjects.toml's.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Can readers read what writers wrote: exit 1 if not, 2 if a schema is none.

    Without options: the files of the schemas folder as they are now, each against its released
    versions, as far as its mode in subjects.toml promises. Or two files, or many pairs.
    """
    if (writer is None) != (reader is None):
        raise typer.BadParameter("--writer and --reader go together")
    if (writer is not None) + (pairs is not None) + (folder is not None) > 1:
        raise typer.BadParameter("name two files, or --pairs, or a --folder: one of them")
    if pairs is not None:
        _check_pairs(pairs)
    elif writer is not None and reader is not None:
        _check_files(writer, reader, json_=json_)
    else:
        _check_folder(choose_folder(folder), mode, json_=json_)


def report_document(report: Report) -> dict[str, Any]:
    """A report as JSON."""
    return {"compatible": report.compatible, "findings": report.findings}


def _check_files(writer: Path, reader: Path, *, json_: bool) -> None:
    report = compare(parse_file(writer), parse_file(reader))
    if json_:
        emit(report_document(report))
    else:
        for finding in report.findings:
            stdout.print(_line(finding), soft_wrap=True)
        verdict = "reads all" if report.compatible else "does not read all"
        stdout.print(f"{reader} {verdict} that {writer} wrote", markup=False, soft_wrap=True)
    _exit(compatible=report.compatible)


def _check_pairs(path: Path) -> None:
    """One line for one pair, in order; an invalid one is said so in its place."""
    compatible, invalid = True, []
    with _lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                report = _compare_line(line, str(path), number)
            except InvalidSchema as error:
                invalid.append(error)
                said = Finding(error.path, FindingKind.INVALID_SCHEMA, Severity.ERROR, f"{error}")
                report = Report((said,))
            compatible = compatible and report.compatible
            emit_line(report_document(report))
    if invalid:
        others = f"; {len(invalid) - 1} more pairs are invalid" if len(invalid) > 1 else ""
        raise ConfigurationError(f"{invalid[0]}{others}")
    _exit(compatible=compatible)


def _compare_line(raw: bytes, source: str, number: int) -> Report:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        where = f"{source}:{number}:{error.start + 1}"
        raise InvalidSchema((), "not UTF-8", where) from error
    if number == 1:
        line = line.removeprefix(BOM)
    pair = read_json(line, source, first_line=number)
    sides = []
    for side in ("writer", "reader"):
        if not isinstance(pair, dict) or side not in pair:
            raise InvalidSchema(
                (), f'a line is {{"writer": …, "reader": …}}: no {side}', f"{source}:{number}:1"
            )
        try:
            sides.append(_parsed(pair[side]))
        except InvalidSchema as error:
            within = located(error, line, source, first_line=number, below=(side,))
            raise InvalidSchema(within.keys, f"{side}: {within.problem}", within.source) from error
    return compare(*sides)


def _parsed(schema: Any) -> ParsedSchema:
    """A schema, or the text of one in a string."""
    text = schema.removeprefix(BOM) if isinstance(schema, str) else ""
    if text.lstrip().startswith(_JSON_BEGINS):
        try:
            schema = read_json(text, "")
        except InvalidSchema as error:
            raise InvalidSchema((), f"inside of its string: {error.problem}") from error
    return parse_schema(schema)


def _check_folder(folder: SchemaFolder, mode: Mode | None, *, json_: bool) -> None:
    checks = list(check_folder(folder, datetime.now(UTC).date(), mode=mode))
    removed = removed_types(folder)
    compatible = all(check.compatible for check in checks)
    if json_:
        emit({**_folder_document(checks), "removed": removed})
    else:
        for one in checks:
            _show_type(one)
        if removed:
            stderr.print(_removed(removed), style="yellow", markup=False, soft_wrap=True)
        pairs = sum(len(one.report.checks) for one in checks)
        failed = sum(not one.compatible for one in checks)
        stderr.print(f"{len(checks)} types, {pairs} pairs of versions, {failed} incompatible")
    _exit(compatible=compatible)


def _removed(types: tuple[str, ...]) -> str:
    shown = ", ".join(types[:_REMOVED_SHOWN_MAX])
    more = len(types) - _REMOVED_SHOWN_MAX
    return (
        f"warning: released, and no file defines it any more: {shown}"
        f"{f' and {more} more' if more > 0 else ''}; what is stored of it stays on the log: keep "
        "the file, or make its name an alias of what came after it"
    )


def _folder_document(checks: list[TypeCheck]) -> dict[str, Any]:
    return {
        "compatible": all(check.compatible for check in checks),
        "findings": [_told_document(check, one) for check in checks for one in check.told],
        "types": [
            {
                "type": check.type,
                "mode": check.report.mode,
                "version": check.versions[-1],
                "pairs": len(check.report.checks),
                "compatible": check.compatible,
            }
            for check in checks
        ],
    }


def _told_document(check: TypeCheck, told: Told) -> dict[str, Any]:
    finding, waiver = told.finding, told.waiver
    document: dict[str, Any] = {
        "type": check.type,
        "reader": told.reader,
        "writer": told.writer,
        "path": finding.path,
        "kind": finding.kind,
        "severity": finding.severity,
        "message": finding.message,
    }
    if waiver is not None:
        document["waiver"] = {
            "reason": waiver.reason,
            "owner": waiver.owner,
            "expires": waiver.expires.isoformat(),
        }
    return document


def _show_type(check: TypeCheck) -> None:
    """What is to be said of a type; what resolution means to do only of what is new."""
    told = [
        one
        for one in check.told
        if not (check.is_released and one.finding.severity is Severity.INFO)
    ]
    if not told:
        return
    verdict = "compatible" if check.compatible else "incompatible"
    title = Text(f"{check.type}  ", "bold").append(f"{check.report.mode}: {verdict}", "none")
    stdout.print(title, soft_wrap=True)
    for one in told:
        line = Text(f"  {one.reader} reads {one.writer}  ", "dim").append_text(_line(one.finding))
        if one.waiver is not None:
            line.append(f"  waived until {one.waiver.expires}: {one.waiver.reason}", "dim")
        stdout.print(line, soft_wrap=True)


def _line(finding: Finding) -> Text:
    line = Text(f"{finding.severity}  ", _COLOURS[finding.severity])
    return line.append(f"{finding.path}  ", "cyan").append(finding.message, "none")


@contextmanager
def _lines(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        with path.open("rb") as lines:
            yield lines
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _exit(*, compatible: bool) -> None:
    if not compatible:
        raise typer.Exit(1)
