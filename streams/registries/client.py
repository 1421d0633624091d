"""The Confluent Schema Registry's API, as far as Agentlog speaks it.

What a registry once said under an id, or under a version of a subject, it says for ever; so that is
kept, up to `KEPT_MAX` of each, the least recently used first to go. What may still change (which
versions there are, a level, what is not there) is asked each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from streams.errors import RegistryError
from streams.registries.transport import COMMAND, Patience, Transport
from streams.schemas.compatibility.modes import Mode
from streams.settings import Settings

KEPT_MAX: Final = 1_024
AVRO: Final = "AVRO"

T = TypeVar("T")


class Reference(msgspec.Struct, frozen=True):
    """A named type that a schema refers to: its full name, and where the registry has it."""

    name: str
    subject: str
    version: int


class SchemaText(msgspec.Struct, frozen=True):
    """What stands under an id."""

    text: str = msgspec.field(name="schema")
    kind: str = msgspec.field(name="schemaType", default=AVRO)
    references: tuple[Reference, ...] = ()


class RegisteredSchema(msgspec.Struct, frozen=True):
    """A version of a subject."""

    subject: str
    version: int
    id: int
    text: str = msgspec.field(name="schema")
    kind: str = msgspec.field(name="schemaType", default=AVRO)
    references: tuple[Reference, ...] = ()


class _Id(msgspec.Struct, frozen=True):
    id: int


class _Level(msgspec.Struct, frozen=True):
    level: str = msgspec.field(name="compatibilityLevel")


class _Absent(Exception):
    """There is no such thing, which is not kept: it may come."""


class RegistryClient:
    """One registry. Thread-safe; a context manager that closes its connections.

    Every method raises `RegistryError` if the registry does not answer, lets us not in or is none.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._by_id = lru_cache(KEPT_MAX)(self._ask_id)
        self._by_version = lru_cache(KEPT_MAX)(self._ask_version)

    @classmethod
    def open(
        cls, settings: Settings, url: str | None = None, *, patience: Patience = COMMAND
    ) -> RegistryClient:
        """To the registry that the settings (or `url`) name. Asks nothing yet."""
        return cls(Transport.of(settings, url, patience=patience))

    @property
    def url(self) -> str:
        """Where it is."""
        return self._transport.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Twice does no harm."""
        self._transport.close()

    def subjects(self) -> list[str]:
        """Every subject that has a version."""
        return self._read(self._transport.ask("GET", "subjects", what="subjects"), list[str])

    def versions(self, subject: str) -> list[int]:
        """The versions of a subject, oldest first; none if there is no such subject."""
        said = self._transport.ask("GET", "subjects", subject, "versions", what=subject)
        return [] if said is None else sorted(self._read(said, list[int]))

    def version(self, subject: str, version: int) -> RegisteredSchema | None:
        """One version of a subject."""
        try:
            return self._by_version(subject, version)
        except _Absent:
            return None

    def schema(self, schema_id: int) -> SchemaText | None:
        """What an id stands for."""
        try:
            return self._by_id(schema_id)
        except _Absent:
            return None

    def find(
        self, subject: str, text: str, references: Sequence[Reference] = ()
    ) -> RegisteredSchema | None:
        """The version of a subject that the registry takes for this schema.

        What it takes for the same is its own to say: Apicurio looks at no doc, no alias and no
        default of an enum. Raises `RegistryRefused` for what it does not take for a schema.
        """
        said = self._transport.ask(
            "POST", "subjects", subject, what=subject, body=_body(text, references)
        )
        return None if said is None else self._read(said, RegisteredSchema)

    def register(self, subject: str, text: str, references: Sequence[Reference] = ()) -> int:
        """Register a schema as the next version of a subject, and return its id.

        One that is registered already keeps its id and version. Raises `RegistryRefused` for what
        is no schema, or not compatible at the subject's level.
        """
        said = self._transport.ask(
            "POST", "subjects", subject, "versions", what=subject, body=_body(text, references)
        )
        return self._read(said, _Id).id

    def level(self, subject: str) -> Mode | None:
        """The subject's own compatibility level; None where that of the registry holds."""
        said = self._transport.ask("GET", "config", subject, what=subject)
        if said is None:
            return None
        level = self._read(said, _Level).level
        try:
            return Mode(level)
        except ValueError as error:
            raise RegistryError(
                f"the registry at {self.url} speaks of a compatibility level {level!r}, which is "
                f"none of {', '.join(Mode)}"
            ) from error

    def set_level(self, subject: str, mode: Mode) -> None:
        """Give a subject a level of its own, whatever it had."""
        self._transport.ask(
            "PUT", "config", subject, what=subject, body={"compatibility": mode.value}
        )

    def is_compatible(
        self, subject: str, text: str, references: Sequence[Reference] = ()
    ) -> bool | None:
        """Whether the registry would take a schema as the subject's next version, by its own rules.

        None where the subject has no version yet.
        """
        said = self._transport.ask(
            *("POST", "compatibility", "subjects", subject, "versions", "latest"),
            what=subject,
            body=_body(text, references),
        )
        return None if said is None else self._read(said, dict[str, Any])["is_compatible"] is True

    def _ask_id(self, schema_id: int) -> SchemaText:
        said = self._transport.ask("GET", "schemas", "ids", str(schema_id), what=f"id {schema_id}")
        if said is None:
            raise _Absent
        return self._read(said, SchemaText)

    def _ask_version(self, subject: str, version: int) -> RegisteredSchema:
        said = self._transport.ask(
            "GET", "subjects", subject, "versions", str(version), what=subject
        )
        if said is None:
            raise _Absent
        return self._read(said, RegisteredSchema)

    def _read(self, said: Any, kind: type[T]) -> T:
        try:
            return msgspec.convert(said, kind)
        except msgspec.ValidationError as error:
            raise self._transport.no_registry(str(error)) from error


def _body(text: str, references: Sequence[Reference]) -> dict[str, Any]:
    # The same JSON. Apicurio 3.3.3 does not take `"{}"`, a default of ours, for a string.
    text = text.replace('"{}"', '"\\u007b\\u007d"')
    body: dict[str, Any] = {"schema": text, "schemaType": AVRO}
    if references:
        body["references"] = msgspec.to_builtins(references)
    return body
