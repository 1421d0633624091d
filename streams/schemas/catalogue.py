"""The catalogue: every event type, from the `.avsc` files of `schemas-avro/` and their lock."""

from __future__ import annotations

import copy
import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import fastavro
import msgspec

from streams.envelope import Kind
from streams.errors import ConfigurationError, UnknownType
from streams.schemas.folders import (
    ENVELOPE_FILE,
    builtin_folder,
    parse_file,
    payload_files,
    read_avsc,
)
from streams.schemas.lock import Lock, LockedSchema, read_lock, read_locked, write_lock
from streams.schemas.references import identity
from streams.schemas.spelling import in_full
from streams.schemas.upcasting import (
    Rung,
    Upcasters,
    load_upcasters,
    require_known,
    require_way_up,
    up_to,
)
from streams.schemas.writer_schema import Schema, WriterSchema, composite, fingerprint

NOT_LOCKED: Final = 0
"""Version of a type that no lock knows: it is read as, and never written."""


class EventType(msgspec.Struct, frozen=True):
    """One payload type as it is written today."""

    name: str
    kind: Kind
    family: str
    version: int
    aliases: tuple[str, ...]
    writer: WriterSchema
    registered: WriterSchema | None = None
    """The same schema under the id that a registry gave it, if records are to carry that id."""

    @property
    def names(self) -> tuple[str, ...]:
        """What it has been called, its name of today last."""
        return (*self.aliases, self.name)

    @property
    def wire(self) -> WriterSchema:
        """Its schema under the id that its records carry."""
        return self.registered or self.writer

    @property
    def schema_id(self) -> int:
        """Id that its records carry."""
        return self.wire.id

    @property
    def subject(self) -> str:
        """Subject in a Confluent Schema Registry (TopicRecordName minus the topic)."""
        return f"{self.name}Envelope"


class Catalogue:
    """Event types by name, writer schemas by id."""

    def __init__(
        self,
        types: Mapping[str, EventType],
        schemas: Mapping[int, WriterSchema],
        ladders: Mapping[str, Sequence[Rung]] | None = None,
        upcasters: Sequence[str] = (),
    ) -> None:
        self.types = types
        self._schemas = schemas
        self._aliases = {old: event for event in types.values() for old in event.aliases}
        self._ladders = ladders or {}
        self.upcasters = tuple(upcasters)
        """SHA-256, in hex, of each folder's upcasters."""

    @classmethod
    def load(cls, *extra_folders: Path) -> Catalogue:
        """The built-in types, then those of the given folders.

        Raises `ConfigurationError` where files are unreadable, names or ids clash, a lock does not
        agree with its files, or a version that was released cannot be read as today's.
        """
        types: dict[str, EventType] = {}
        schemas: dict[int, WriterSchema] = {}
        ladders: dict[str, Sequence[Rung]] = {}
        upcasters = []
        for folder in (builtin_folder(), *extra_folders):
            lock = _load_folder(folder, types, schemas)
            steps = load_upcasters(folder)
            upcasters.append(steps.sha256)
            ladders |= _ladders(folder, lock, types, schemas, steps)
        return cls(types, schemas, ladders, upcasters)

    @classmethod
    def reading(cls, folder: Path, known: Catalogue) -> Catalogue:
        """The types as a folder has them now, locked or not, over all that `known` can read.

        For readers alone: a schema that no lock knows has an id that nothing is written under. A
        folder with an `envelope.avsc` stands for all schemas, any other for the users' own; what
        it defines anew counts. Raises `ConfigurationError` for what is no schema.
        """
        whole = (folder / ENVELOPE_FILE).exists()
        types = {} if whole else dict(cls.load().types)
        schemas, ladders = dict(known._schemas), dict(known._ladders)
        upcasters = load_upcasters(folder)
        ids = {fingerprint(writer.schema): schema_id for schema_id, writer in schemas.items()}
        for n, (name, (schema, path)) in enumerate(_composites(folder).items(), 1):
            _require_avro(schema, path)
            schema_id = ids.get(fingerprint(schema), -n)
            writer = schemas.setdefault(schema_id, WriterSchema(schema_id, schema))
            types[name] = _described(name, writer, path, NOT_LOCKED)
            released = [rung for old in types[name].names for rung in known._ladders.get(old, ())]
            ladders[name] = up_to(writer, name, released, upcasters)
        return cls(types, schemas, ladders, [*known.upcasters, upcasters.sha256])

    def numbered(self, ids: Mapping[str, int]) -> Catalogue:
        """The same, but that these types are written under other ids, those of a registry.

        Whatever carries such an id is read as the version of ours that it is.
        """
        types = dict(self.types)
        schemas = dict(self._schemas)
        for name, schema_id in ids.items():
            writer = types[name].writer
            registered = WriterSchema(schema_id, writer.schema)
            types[name] = msgspec.structs.replace(types[name], registered=registered)
            schemas[schema_id] = writer
        return Catalogue(types, schemas, self._ladders, self.upcasters)

    def type(self, name: str) -> EventType:
        """The type of this name, or the one that has it as an alias. Raises `UnknownType`."""
        event = self.types.get(name) or self._aliases.get(name)
        if event is None:
            close = difflib.get_close_matches(name, self.types, n=1)
            raise UnknownType(name, close[0] if close else "")
        return event

    def find(self, name: str) -> EventType | None:
        """As `type`, but None for an unknown name."""
        return self.types.get(name) or self._aliases.get(name)

    def by_id(self, schema_id: int) -> WriterSchema | None:
        """The writer schema of an id, of any version."""
        return self._schemas.get(schema_id)

    def known_as(self, schema: Schema) -> WriterSchema | None:
        """The writer schema that is this one, under whatever id and however it is spelled."""
        try:
            return self._by_identity.get(identity(schema))
        except (LookupError, TypeError, AttributeError, RecursionError):
            return None  # it is no schema: whoever reads with it tells

    def way_up(self, writer: WriterSchema) -> Sequence[Rung]:
        """From a writer's version to the one that its type is read as here."""
        current = self.find(writer.payload_name)
        here = Rung(writer.payload_name, NOT_LOCKED, writer)
        if current is None:
            return (here,)
        ladder = self._ladders.get(current.name, ())
        for n, rung in enumerate(ladder):
            if rung.writer.id == writer.id:
                return ladder[n:]
        # Another process is ahead of us, or the version that is read as is an old one.
        return here, Rung(current.name, current.version, current.writer)

    @cached_property
    def _by_identity(self) -> dict[str, WriterSchema]:
        return {identity(writer.schema): writer for writer in self._schemas.values()}

    @cached_property
    def schema_ids(self) -> frozenset[int]:
        """All ids known here."""
        return frozenset(self._schemas)


def update_lock(folder: Path, *, dry_run: bool = False) -> tuple[LockedSchema, ...]:
    """Lock whatever changed in a folder; returns the new versions. Nothing is ever renumbered.

    Raises `InvalidSchema` with file, line, column and path: what is locked is there for good.
    """
    found = _composites(folder)
    current = {name: schema for name, (schema, _) in found.items()}
    lock, added = read_lock(folder).extended(current)
    for entry in added:
        schema, path = found[entry.type]
        parse_file(path)
        _require_avro(schema, path)
    if added and not dry_run:
        write_lock(folder, lock, added, current)
    return added


def _load_folder(
    folder: Path, types: dict[str, EventType], schemas: dict[int, WriterSchema]
) -> Lock:
    lock = read_lock(folder)
    for entry in lock.schemas:
        if entry.id in schemas:
            raise ConfigurationError(
                f"schema id {entry.id} is in two locks; give {folder} a `first_id` of its own"
            )
        schemas[entry.id] = WriterSchema(entry.id, read_locked(folder, entry))
    for name, (schema, path) in _composites(folder).items():
        if name in types:
            raise ConfigurationError(
                f"{path}: type {name} is defined twice, by the schemas that ship with agentlog "
                "or another folder too; give it a namespace of its own"
            )
        types[name] = _event_type(name, schema, path, lock, schemas)
    return lock


def _ladders(
    folder: Path,
    lock: Lock,
    types: Mapping[str, EventType],
    schemas: Mapping[int, WriterSchema],
    upcasters: Upcasters,
) -> dict[str, Sequence[Rung]]:
    """Of each of a folder's types all versions that were released, oldest first."""
    released = defaultdict(list)
    for entry in lock.schemas:
        step = upcasters.steps.get((entry.type, entry.version))
        released[entry.type].append(Rung(entry.type, entry.version, schemas[entry.id], step))
    found = {
        name: [rung for old in types[name].names for rung in released.get(old, ())]
        for name in released.keys() & types.keys()
    }
    try:
        require_known(upcasters, list(found.values()))
        for rungs in found.values():
            require_way_up(rungs, upcasters)
    except ConfigurationError as error:
        raise ConfigurationError(f"{folder}: {error}") from error
    return {name: tuple(rungs) for name, rungs in found.items()}


def _event_type(
    name: str, schema: dict[str, Any], path: Path, lock: Lock, schemas: dict[int, WriterSchema]
) -> EventType:
    latest = lock.latest(name)
    if latest is None or latest.sha256 != fingerprint(schema):
        raise ConfigurationError(
            f"{path} is not what the lock says of {name}; run `agentlog schemas lock` and commit "
            "what it writes"
        )
    return _described(name, schemas[latest.id], path, latest.version)


def _described(name: str, writer: WriterSchema, path: Path, version: int) -> EventType:
    payload = writer.schema["fields"][-1]["type"]
    namespace = payload.get("namespace", "")
    return EventType(
        name=name,
        kind=Kind(payload.get("kind", Kind.EVENT)),
        family=path.parent.name,
        version=version,
        aliases=tuple(
            alias if "." in alias else f"{namespace}.{alias}"
            for alias in payload.get("aliases", ())
        ),
        writer=writer,
    )


def _composites(folder: Path) -> dict[str, tuple[dict[str, Any], Path]]:
    """Writer schema and file by payload type name, for one folder."""
    envelope = read_avsc(builtin_folder() / ENVELOPE_FILE)
    return {
        name: (composite(envelope, file.schema), file.path)
        for name, file in payload_files(folder).items()
    }


def _require_avro(schema: Schema, path: Path) -> None:
    """Refuse what no codec could use, before it has an id for good."""
    try:
        fastavro.parse_schema(in_full(copy.deepcopy(schema)), _force=True)
    except (fastavro.schema.SchemaParseException, ValueError, LookupError, TypeError) as error:
        raise ConfigurationError(
            f"{path}: not an Avro schema ({type(error).__name__}: {error})"
        ) from error
