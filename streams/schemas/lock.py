"""The lock of schema ids: in file mode, the ids are what this committed file says.

`lock.json` lists every writer schema version that was ever released with its id, and
`locked/<type>.v<version>.avsc` keeps its text, so that a reader of this version still reads what
older ones wrote. Ids start at 2³⁰, where no registry's counter meets them; those of a user's own
folder 2²⁰ higher, clear of ours. Two folders whose types meet on one log need a `first_id` each.
An id, once locked, never changes; a changed schema gets the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.errors import ConfigurationError
from streams.schemas.writer_schema import fingerprint

FIRST_ID: Final = 1 << 30
"""The first id of the schemas that ship with the package; its lock says so."""
USERS_FIRST_ID: Final = FIRST_ID + (1 << 20)
"""Where a user's own folder begins, unless its lock says otherwise."""
LOCK_FILE: Final = "lock.json"
LOCKED_FOLDER: Final = "locked"


class LockedSchema(msgspec.Struct, frozen=True):
    """One released version of one type's writer schema."""

    id: int
    type: str
    version: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Where its text is kept, below `locked/`."""
        return f"{self.type}.v{self.version}.avsc"


class Lock(msgspec.Struct, frozen=True):
    """All released versions, in the order of their ids."""

    first_id: int = USERS_FIRST_ID
    schemas: tuple[LockedSchema, ...] = ()

    def of(self, type_name: str) -> tuple[LockedSchema, ...]:
        """All versions of a type, oldest first."""
        versions = [entry for entry in self.schemas if entry.type == type_name]
        return tuple(sorted(versions, key=lambda entry: entry.version))

    def latest(self, type_name: str) -> LockedSchema | None:
        """The newest version of a type."""
        versions = self.of(type_name)
        return versions[-1] if versions else None

    def disorder(self) -> str:
        """What cannot be, had nothing but `agentlog schemas lock` written it; empty if all can."""
        versions: dict[str, int] = {}
        last: LockedSchema | None = None
        for entry in self.schemas:
            what = f"{entry.type} v{entry.version}"
            if entry.id < self.first_id:
                return f"{what} has id {entry.id}, and ids begin at {self.first_id}"
            if last is not None and entry.id == last.id:
                return f"id {entry.id} is given twice, to {last.type} v{last.version} and {what}"
            if last is not None and entry.id < last.id:
                return f"{what} has id {entry.id}, after {last.id}: ids only ever count up"
            if entry.version != versions.get(entry.type, 0) + 1:
                return f"{what} follows v{versions.get(entry.type, 0)}: versions count up from 1"
            versions[entry.type] = entry.version
            last = entry
        return ""

    def lost_since(self, base: Lock) -> str:
        """What an earlier lock gave and this one does not give so; empty if it keeps all of it."""
        now = {(entry.type, entry.version): entry for entry in self.schemas}
        for entry in base.schemas:
            kept, what = now.get((entry.type, entry.version)), f"{entry.type} v{entry.version}"
            if kept is None:
                return f"{what}, released with id {entry.id}, is missing"
            if kept.id != entry.id:
                return f"{what} was released with id {entry.id} and now has {kept.id}"
            if kept.sha256 != entry.sha256:
                return f"{what}, id {entry.id}, was released with another schema"
        return ""

    def extended(self, current: Mapping[str, Any]) -> tuple[Lock, tuple[LockedSchema, ...]]:
        """This lock with new versions for whatever changed; and those new versions.

        `current` is the writer schema by type name.
        """
        added = []
        next_id = max((entry.id for entry in self.schemas), default=self.first_id - 1) + 1
        for type_name in sorted(current):
            sha256, latest = fingerprint(current[type_name]), self.latest(type_name)
            if latest is not None and latest.sha256 == sha256:
                continue
            version = latest.version + 1 if latest else 1
            added.append(LockedSchema(next_id, type_name, version, sha256))
            next_id += 1
        return Lock(self.first_id, (*self.schemas, *added)), tuple(added)


def read_lock(folder: Path) -> Lock:
    """The folder's lock; an empty one where there is none yet."""
    path = folder / LOCK_FILE
    if not path.exists():
        return Lock()
    try:
        lock = msgspec.json.decode(path.read_bytes(), type=Lock)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path} is damaged: {error}; restore it from git") from error
    if disorder := lock.disorder():
        raise ConfigurationError(
            f"{path}: {disorder}; nothing is ever renumbered: restore the lock from git, then run "
            "`agentlog schemas lock`"
        )
    return lock


def require_kept(path: Path, lock: Lock, base: Lock) -> None:
    """Raise `ConfigurationError` unless a lock keeps all that an earlier one gave."""
    if lost := lock.lost_since(base):
        raise ConfigurationError(
            f"{path}: {lost}; records with that id are on the log, and nothing is ever renumbered: "
            "restore the lock from git, then run `agentlog schemas lock`"
        )


def read_locked(folder: Path, entry: LockedSchema) -> dict[str, Any]:
    """The text of a locked version, checked against its fingerprint."""
    path = folder / LOCKED_FOLDER / entry.file_name
    try:
        schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}; restore it from git") from error
    if fingerprint(schema) != entry.sha256:
        raise ConfigurationError(
            f"{path} is not what id {entry.id} was locked with; a released version never changes: "
            "restore it from git"
        )
    return schema


def write_lock(
    folder: Path, lock: Lock, added: Iterable[LockedSchema], current: Mapping[str, Any]
) -> None:
    """Keep the text of the added versions, then the lock that names them."""
    (folder / LOCKED_FOLDER).mkdir(exist_ok=True)
    for entry in added:
        text = json.dumps(current[entry.type], indent=1, ensure_ascii=False)
        (folder / LOCKED_FOLDER / entry.file_name).write_text(text + "\n", encoding="utf-8")
    raw = msgspec.json.format(msgspec.json.encode(lock), indent=2)
    (folder / LOCK_FILE).write_bytes(raw + b"\n")
