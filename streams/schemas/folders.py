"""A schemas folder as files: one folder per family, one `.avsc` per payload type, and their lock.

    schemas-avro/
      task/AssignTask.avsc      what the type is now
      lock.json                 every version that was ever released, with its id
      locked/agentlog.task.AssignTask.v1.avsc
      subjects.toml             mode, owner and waivers of each type
      upcasters.py              what Avro's resolution cannot do, version by version

A payload's record may carry `"kind"`: the kind of its envelopes where the sender names none. A
user's own folder looks the same, without `envelope.avsc`: the envelope is ours.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import streams
from streams.envelope import Kind
from streams.errors import ConfigurationError
from streams.schemas.compatibility import ParsedSchema, parse_text
from streams.schemas.compatibility.texts import BOM, read_json
from streams.schemas.lock import LOCKED_FOLDER, Lock, read_lock, read_locked
from streams.schemas.subjects import SUBJECTS_FILE, Subjects, read_subjects
from streams.schemas.writer_schema import PAYLOAD_FIELD

ENVELOPE_FILE: Final = "envelope.avsc"


class PayloadFile(NamedTuple):
    """One payload type as its file has it now."""

    name: str
    """Full name."""
    path: Path
    schema: dict[str, Any]

    @property
    def family(self) -> str:
        """Name of its folder."""
        return self.path.parent.name


class Version(NamedTuple):
    """One released version of a payload type."""

    id: int
    number: int
    schema: dict[str, Any]
    """The payload alone, without its envelope."""


class SchemaFolder:
    """One schemas folder: what its types are now, what they were, and what holds for them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def types(self) -> dict[str, PayloadFile]:
        """What the files say now, by full name. Raises `ConfigurationError`."""
        return payload_files(self.path)

    def require_avro(self) -> None:
        """Raise `InvalidSchema`, with file, line, column and path, for what is no schema."""
        for file in self.types.values():
            parse_file(file.path)

    @cached_property
    def lock(self) -> Lock:
        """Every released version. Raises `ConfigurationError`."""
        return read_lock(self.path)

    @cached_property
    def subjects(self) -> Subjects:
        """Mode, owner and waivers of every type. Raises `ConfigurationError`."""
        return read_subjects(self.path, self.types)

    @property
    def has_subjects(self) -> bool:
        """Whether there is a file that says them."""
        return (self.path / SUBJECTS_FILE).exists()

    def versions(self, type_name: str) -> tuple[Version, ...]:
        """The released versions of a type, oldest first, each checked against its fingerprint."""
        return tuple(
            Version(entry.id, entry.version, read_locked(self.path, entry)["fields"][-1]["type"])
            for entry in self.lock.of(type_name)
        )


def builtin_folder() -> Path:
    """The schemas that ship with the package: inside the wheel, beside it in a checkout."""
    package = Path(streams.__file__).parent
    shipped = package / "_schemas_avro"
    return shipped if shipped.exists() else package.parent / "schemas-avro"


def reserved_names() -> frozenset[str]:
    """What a payload's own fields should not be called: the envelope's fields, and its own."""
    fields = read_avsc(builtin_folder() / ENVELOPE_FILE)["fields"]
    return frozenset({PAYLOAD_FIELD, *(field["name"] for field in fields)})


def payload_files(folder: Path) -> dict[str, PayloadFile]:
    """The payload types of a folder, by full name, in the order of their files.

    Raises `ConfigurationError` for a file that is no payload, a name that two of them have, and a
    folder without any.
    """
    found: dict[str, PayloadFile] = {}
    for path in sorted(folder.glob("*/*.avsc")):
        if path.parent.name == LOCKED_FOLDER:
            continue
        schema = _payload(path)
        name = f"{schema['namespace']}.{schema['name']}"
        if name in found:
            raise ConfigurationError(
                f"{path}: type {name} is defined twice, in {found[name].path} too; rename one of "
                "them, or give it a namespace of its own"
            )
        found[name] = PayloadFile(name, path, schema)
    if not found:
        raise ConfigurationError(f"no <family>/<Type>.avsc below {folder}")
    return found


def parse_file(path: Path) -> ParsedSchema:
    """The types of a file that is any Avro schema.

    Raises `InvalidSchema` with file, line, column and path, `ConfigurationError` for what is no
    text.
    """
    return parse_text(_text(path), str(path))


def read_avsc(path: Path) -> dict[str, Any]:
    """The record of one `.avsc` file, as JSON. Raises `ConfigurationError` with line and column."""
    schema = read_json(_text(path), str(path))
    if not isinstance(schema, dict):
        raise ConfigurationError(f"{path}: a payload is a record with a namespace")
    return schema


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").removeprefix(BOM)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8"
        ) from error


def _payload(path: Path) -> dict[str, Any]:
    payload = read_avsc(path)
    if payload.get("type") != "record" or not payload.get("namespace"):
        raise ConfigurationError(f"{path}: a payload is a record with a namespace")
    if "." in str(payload.get("name")):
        raise ConfigurationError(
            f"{path}: {payload['name']} is a name with its namespace; what is before the last dot "
            "belongs in `namespace`"
        )
    if payload.get("name") != path.stem:
        raise ConfigurationError(f"{path}: holds {payload.get('name')}; name the file after it")
    if (kind := payload.get("kind", Kind.EVENT.value)) not in list(Kind):
        raise ConfigurationError(f"{path}: kind {kind!r} is none of {', '.join(Kind)}")
    return payload
