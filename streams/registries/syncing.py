"""A sync performed: both sides read, and a plan carried out.

Only ever adds: a version to a subject, a level where there is none, a version to the lock. Whoever
registers at the same time does no harm: what is there already keeps its id, and the next sync sees
the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from streams.registries.client import RegisteredSchema, RegistryClient
from streams.registries.plan import Ours, Pull, Push, SetLevel, Subject, SyncPlan, Theirs
from streams.registries.subjects import subjects_of, type_of
from streams.registries.transport import CONNECTIONS_MAX
from streams.schemas.catalogue import Catalogue, update_lock
from streams.schemas.compatibility import InvalidSchema, Mode, parse_schema
from streams.schemas.folders import (
    ENVELOPE_FILE,
    SchemaFolder,
    builtin_folder,
    payload_files,
    read_avsc,
)
from streams.schemas.lock import read_lock, read_locked
from streams.schemas.references import identity, in_full
from streams.schemas.writer_schema import (
    PAYLOAD_FIELD,
    Schema,
    canonical_text,
    composite,
)
from streams.topics import Namespace

OWN_TYPES: Final = "agentlog."
"""Types of this prefix come with the package."""


def read_sides(client: RegistryClient, folder: Path | None, namespace: Namespace) -> list[Subject]:
    """Every subject of the namespace, as the files and as the registry have it.

    The files are those of the package, and those of `folder` if there is one: what the registry has
    more goes there. Raises `ConfigurationError` for a folder that is not as its lock says or whose
    `subjects.toml` is damaged, `RegistryError` if the registry does not answer.
    """
    folders = list(dict.fromkeys([builtin_folder(), *([folder.resolve()] if folder else [])]))
    catalogue = Catalogue.load(*folders[1:])
    ours = {name: versions for one in folders for name, versions in _locked(one).items()}
    modes = {name: mode for one in folders for name, mode in _modes(one).items()}
    wanted = {
        subject: event.name
        for event in catalogue.types.values()
        for subject in subjects_of(event, namespace)
    }
    there = set(client.subjects())
    for subject in there:
        if (name := type_of(subject, namespace)) is not None:
            wanted.setdefault(subject, name)
    envelope = read_avsc(builtin_folder() / ENVELOPE_FILE)
    into = set(payload_files(folder)) if folder else set[str]()

    def read(subject: str) -> Subject:
        name = wanted[subject]
        theirs = _theirs(client, subject, name, envelope) if subject in there else []
        mine = ours.get(name, [])
        own = name.startswith(OWN_TYPES)
        return Subject(
            name=subject,
            type=name,
            ours=mine,
            theirs=theirs,
            taken=_taken(client, subject, mine, theirs) if theirs else {},
            mode=modes.get(name),
            level=client.level(subject),
            pulls_into=name in into or (folder is not None and not mine and not own),
        )

    with ThreadPoolExecutor(CONNECTIONS_MAX) as pool:
        return list(pool.map(read, sorted(wanted)))


def carry_out(
    plan: SyncPlan,
    client: RegistryClient,
    folder: Path | None,
    on_done: Callable[[Push | Pull | SetLevel, int | None], object],
) -> None:
    """Do what the plan says, in its order; `on_done` is told of each action, and of a push's id.

    Raises `RegistryRefused` where the registry takes a version not, and what comes after it is not
    done then: what was done stays, and the next sync goes on from there.
    """
    for action in plan.actions:
        schema_id = None
        match action:
            case Push():
                schema_id = client.register(action.subject, canonical_text(action.schema))
            case Pull():
                assert folder is not None
                _take_in(folder, action)
            case SetLevel():
                client.set_level(action.subject, action.mode)
        on_done(action, schema_id)


def _locked(folder: Path) -> dict[str, list[Ours]]:
    found: dict[str, list[Ours]] = {}
    for entry in sorted(read_lock(folder).schemas, key=lambda one: one.version):
        schema = read_locked(folder, entry)
        found.setdefault(entry.type, []).append(Ours(entry.version, schema))
    return found


def _modes(folder: Path) -> dict[str, Mode]:
    found = SchemaFolder(folder)
    return {one.type: one.mode for one in found.subjects} if found.has_subjects else {}


def _theirs(
    client: RegistryClient, subject: str, type_name: str, envelope: dict[str, Any]
) -> list[Theirs]:
    found = (client.version(subject, version) for version in client.versions(subject))
    return [_read(one, type_name, envelope) for one in found if one is not None]


def _read(one: RegisteredSchema, type_name: str, envelope: dict[str, Any]) -> Theirs:
    try:
        schema: Schema = json.loads(one.text)
    except ValueError:
        schema = one.text  # of another kind than Avro: equal to none of ours
    return Theirs(one.version, one.id, schema, _payload_of(schema, type_name, envelope))


def _payload_of(schema: Schema, type_name: str, envelope: dict[str, Any]) -> Schema | None:
    """The payload of a writer schema that is this envelope's with a type of that name; else None.

    A registry's schema goes into a file: one that is called otherwise, or is none, does not.
    """
    try:
        field = in_full(schema)["fields"][-1]
        payload = field["type"]
        whole = composite(envelope, payload)
        parse_schema(payload)
        named = f"{payload['namespace']}.{payload['name']}" == type_name
        alike = field["name"] == PAYLOAD_FIELD and identity(whole) == identity(schema)
    except (LookupError, TypeError, AttributeError, RecursionError, InvalidSchema):
        return None
    return payload if named and alike else None


def _taken(
    client: RegistryClient, subject: str, ours: Iterable[Ours], theirs: Iterable[Theirs]
) -> Mapping[int, int]:
    exact = {identity(one.schema) for one in theirs}
    found = {}
    for one in ours:
        if identity(one.schema) not in exact:
            version = client.find(subject, canonical_text(one.schema))
            if version is not None:
                found[one.version] = version.version
    return found


def _take_in(folder: Path, pull: Pull) -> None:
    """Make the payload the type's file, and lock it: what the file was is in the lock already."""
    known = payload_files(folder).get(pull.type) if any(folder.glob("*/*.avsc")) else None
    namespace, _, name = pull.type.rpartition(".")
    path = known.path if known else folder / namespace.rpartition(".")[2] / f"{name}.avsc"
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(pull.payload, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    update_lock(folder)
