"""`agentlog schemas diff`: what changed in the schemas, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.text import Text

from consumers.cli.asked import AsJson
from consumers.cli.output import emit, stdout
from consumers.revisions import folder_at
from streams.errors import ConfigurationError, UnknownType
from streams.schemas.changes import Change, changes
from streams.schemas.folders import SchemaFolder, builtin_folder, parse_file
from streams.session import read_settings

Folder = Annotated[
    Path | None, typer.Option(help="Which schemas-avro/; default: AGENTLOG_SCHEMAS_DIR.")
]


class Side(NamedTuple):
    """One of the two schemas that are compared: None if there is none there."""

    label: str
    schema: Any


_NOTHING: Final = Side("nothing", None)


def diff(
    asked: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE | OLD.avsc NEW.avsc]", show_default=False)
    ] = None,
    since: Annotated[
        int | None, typer.Option("--from", metavar="N", help="Version; default: one before.")
    ] = None,
    to: Annotated[
        int | None, typer.Option("--to", metavar="N", help="Version; default: the file now.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="REF", help="Compare with this revision of git."),
    ] = None,
    folder: Folder = None,
    json_: AsJson = False,
) -> None:
    """What changed in the schemas, field by field; whether that is compatible says `check`.

    Without a TYPE: what the files of the folder say now, against what was locked last, or against
    a revision of git. With a TYPE: two of its versions. With two files: these.
    """
    found = list(_pairs(asked or [], since, to, base, choose_folder(folder)))
    if json_:
        emit({"types": [_document(*one) for one in found]})
        return
    differing = [one for one in found if one[1].schema != one[2].schema]
    for name, old, new in differing:
        stdout.print(f"{name}  {old.label} → {new.label}", markup=False, style="bold")
        for change in _changes(old, new):
            line = Text(f"  {change.path or '(the type)'}  ", "cyan").append(change.message, "none")
            stdout.print(line, soft_wrap=True)
    if not differing:
        stdout.print("nothing changed")


def choose_folder(folder: Path | None) -> SchemaFolder:
    """The folder that is named, else that of the settings, else our own."""
    return SchemaFolder(folder or read_settings().schemas_dir or builtin_folder())


def change_document(change: Change) -> dict[str, Any]:
    """One change as JSON."""
    return {
        "path": change.path,
        "kind": change.kind,
        "before": change.before,
        "after": change.after,
        "message": change.message,
    }


def _pairs(
    asked: list[str], since: int | None, to: int | None, base: str | None, folder: SchemaFolder
) -> Iterator[tuple[str, Side, Side]]:
    if (since or to) and len(asked) != 1:
        raise ConfigurationError("--from and --to are versions of one type: name the type")
    if len(asked) == 2:
        old, new = (Side(file, parse_file(Path(file)).json) for file in asked)
        yield str(new.schema.get("name", "") if isinstance(new.schema, dict) else ""), old, new
        return
    if len(asked) > 2:
        raise ConfigurationError("name one type, or two .avsc files: the old one, then the new one")
    folder.require_avro()
    if base is None:
        released = {entry.type for entry in folder.lock.schemas}
        for name in asked or sorted(folder.types.keys() | released):
            if name not in folder.types and name not in released:
                raise UnknownType(name)
            yield (name, *_versions(folder, name, since, to, another=bool(asked)))
        return
    with folder_at(folder.path, base) as copied:
        before = SchemaFolder(copied).types
        for name in asked or sorted(before.keys() | folder.types.keys()):
            old, new = (
                Side(label, types[name].schema) if name in types else _NOTHING
                for label, types in ((base, before), ("now", folder.types))
            )
            if old.schema is None and new.schema is None:
                raise UnknownType(name)
            yield name, old, new


def _versions(
    folder: SchemaFolder, name: str, since: int | None, to: int | None, *, another: bool
) -> tuple[Side, Side]:
    """Two versions of a type; with `another`, the older is the last that says something else."""
    versions = {one.number: one.schema for one in folder.versions(name)}
    for number in (since, to):
        if number is not None and number not in versions:
            raise ConfigurationError(
                f"{name} has no version {number}; it has {', '.join(map(str, versions)) or 'none'}"
            )
    file = folder.types.get(name)
    new = Side("now", file.schema) if file else _NOTHING
    new = Side(f"v{to}", versions[to]) if to else new
    if since is None:
        earlier = [n for n in versions if to is None or n < to]
        unlike = [n for n in earlier if versions[n] != new.schema]
        since = max((another and unlike) or earlier, default=None)
    return Side(f"v{since}", versions[since]) if since else _NOTHING, new


def _changes(old: Side, new: Side) -> tuple[Change, ...]:
    if old.schema is None or new.schema is None:
        return ()
    return changes(old.schema, new.schema)


def _document(name: str, old: Side, new: Side) -> dict[str, Any]:
    return {
        "type": name,
        "from": old.label if old.schema is not None else None,
        "to": new.label if new.schema is not None else None,
        "changes": [change_document(one) for one in _changes(old, new)],
    }
