"""Entries: what there is to say of each payload type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from consumers.usage import Reader, Reads, Writer
from streams.envelope import Kind
from streams.schemas.changes import Change, changes
from streams.schemas.folders import PayloadFile, SchemaFolder
from streams.schemas.lint.privacy import TAG
from streams.schemas.subjects import Subject
from streams.schemas.walking import (
    FieldSite,
    Names,
    branches,
    fields_of,
    full_name,
    shown,
    without_branches,
)
from streams.topics import CONTROL, REGISTRY, SNAPSHOTS, STATE
from streams.topics.routing import topics_for

_WRITTEN_TO: Final[Mapping[str, tuple[str, ...]]] = {
    "agentlog.agent.FleetRegistered": (REGISTRY,),
    "agentlog.control.Cancel": (CONTROL,),
    "agentlog.control.ReportStatus": (CONTROL,),
    "agentlog.cut.CutSaved": (STATE,),
    "agentlog.snapshot.CheckpointMade": (SNAPSHOTS,),
    "agentlog.snapshot.StateSnapshotted": (SNAPSHOTS,),
    "agentlog.state.StateChanged": (STATE, *topics_for(Kind.STATE_CHANGE, "agentlog.state.")),
}
"""Types that go elsewhere than their kind says: by the system lane, or to a topic by its name."""


class FieldEntry(msgspec.Struct, frozen=True):
    """One field, as a row."""

    path: str
    depth: int
    """0 for fields of the payload itself."""
    type: str
    default: str | None
    """As JSON; None if it has none."""
    doc: str
    symbols: tuple[str, ...] = ()
    personal: bool = False


class VersionEntry(msgspec.Struct, frozen=True):
    """One version of a type, and what it changed."""

    number: int
    """0: what the file says now, not released."""
    id: int
    changes: tuple[Change, ...]


class Use(NamedTuple):
    """A reader, and what it reads of the type."""

    reader: Reader
    reads: Reads


class TypeEntry(msgspec.Struct, frozen=True):
    """One payload type."""

    name: str
    family: str
    kind: Kind
    doc: str
    file: str
    aliases: tuple[str, ...]
    subject: Subject | None
    """None where the folder has no `subjects.toml`."""
    topics: tuple[str, ...]
    """Logical names of the topics that its envelopes are routed to, by their kind."""
    fields: tuple[FieldEntry, ...]
    versions: tuple[VersionEntry, ...]
    """Newest first."""
    readers: tuple[Use, ...]
    writers: tuple[Writer, ...]
    schema: dict[str, Any]

    @property
    def last_name(self) -> str:
        """Name without the namespace."""
        return self.name.rpartition(".")[2]


def entries_of(
    folders: Iterable[SchemaFolder], readers: Sequence[Reader], writers: Sequence[Writer]
) -> tuple[TypeEntry, ...]:
    """All types of these folders, by family and name. Raises `ConfigurationError`."""
    found = [
        _entry(folder, file, readers, writers)
        for folder in folders
        for file in folder.types.values()
    ]
    return tuple(sorted(found, key=lambda one: (one.family, one.name)))


def field_entries(schema: Any, personal: frozenset[str] = frozenset()) -> tuple[FieldEntry, ...]:
    """The fields of a record and of the records in it, in the order they are written."""
    names = Names(schema)
    return tuple(_field(names, site, personal) for site in fields_of(names))


def _entry(
    folder: SchemaFolder, file: PayloadFile, readers: Sequence[Reader], writers: Sequence[Writer]
) -> TypeEntry:
    subject = folder.subjects.of(file.name) if folder.has_subjects else None
    kind = Kind(file.schema.get("kind", Kind.EVENT))
    namespace = file.schema["namespace"]
    return TypeEntry(
        name=file.name,
        family=file.family,
        kind=kind,
        doc=file.schema.get("doc") or "",
        file=f"{folder.path.name}/{file.path.relative_to(folder.path).as_posix()}",
        aliases=tuple(
            full_name({"name": alias}, namespace) for alias in file.schema.get("aliases", ())
        ),
        subject=subject,
        topics=_WRITTEN_TO.get(file.name) or topics_for(kind, file.name),
        fields=field_entries(file.schema, subject.personal_data if subject else frozenset()),
        versions=tuple(_versions(folder, file))[::-1],
        readers=tuple(
            Use(reader, reads) for reader in readers if (reads := reader.of(file.name)) is not None
        ),
        writers=tuple(writer for writer in writers if writer.type == file.name),
        schema=file.schema,
    )


def _versions(folder: SchemaFolder, file: PayloadFile) -> Iterator[VersionEntry]:
    before: dict[str, Any] | None = None
    for version in folder.versions(file.name):
        changed = changes(before, version.schema) if before is not None else ()
        yield VersionEntry(version.number, version.id, changed)
        before = version.schema
    if file.schema != before:
        yield VersionEntry(0, 0, changes(before, file.schema) if before is not None else ())


def _field(names: Names, site: FieldSite, personal: frozenset[str]) -> FieldEntry:
    among = branches(names, site.node)
    symbols = [symbol for one in among if one.kind == "enum" for symbol in one.schema["symbols"]]
    has_default = "default" in site.field
    return FieldEntry(
        path=site.path,
        depth=site.depth,
        type=shown(names, site.node),
        default=json.dumps(site.field["default"], ensure_ascii=False) if has_default else None,
        doc=site.field.get("doc") or "",
        symbols=tuple(symbols),
        personal=site.field.get(TAG) is True or without_branches(site.path) in personal,
    )
