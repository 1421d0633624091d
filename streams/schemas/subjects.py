"""`subjects.toml`: what holds for each type of a schemas folder beside its schema.

    [default]
    mode = "FULL_TRANSITIVE"
    owner = "orders"

    [subject."acme.order.OrderPlaced"]
    mode = "BACKWARD_TRANSITIVE"
    deprecated = "acme.order.OrderAccepted says the same, since 2026-05"
    personal_data = ["buyer.email"]

    [[subject."acme.order.OrderPlaced".waivers]]
    rule = "unit-in-name"
    paths = ["timeout"]
    reason = "released before the rule; read by two other teams"
    expires = 2027-06-30

A type is bound to a mode by its own table or by `[default]`. A waiver names a lint rule or the kind
of a compatibility finding; without `paths` it holds for the whole type. It needs a reason and a
day after which it holds no more. A released type that was removed may have a table only to waive
that it was (`type_removed`).
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Collection, Iterator
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

import msgspec

from streams.errors import ConfigurationError
from streams.schemas.compatibility.modes import Mode
from streams.schemas.lock import read_lock

SUBJECTS_FILE: Final = "subjects.toml"
REMOVED: Final = "type_removed"
"""Rule of reviews that no type goes of which records are stored, or which code reads."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Waiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule that a type may break for a while."""

    rule: Text
    """Id of a lint rule, or kind of a compatibility finding."""
    reason: Text
    expires: date
    """The last day on which it holds."""
    paths: tuple[Text, ...] = ()
    """Fields it is for, as in `task.timeout` or `lines[].price`: by fields alone, whatever branch
    of a union they are in; none: the whole type."""
    owner: str = ""
    """Who answers for it; empty: the owner of the type."""

    def covers(self, rule: str, path: str) -> bool:
        """Whether it is for this rule, broken there."""
        return rule == self.rule and (not self.paths or path in self.paths)

    def holds(self, today: date) -> bool:
        """Whether it has not expired."""
        return today <= self.expires


class Subject(msgspec.Struct, frozen=True):
    """What holds for one type."""

    type: str
    mode: Mode
    owner: str
    deprecated: str = ""
    """What to use instead, in words; empty: it is not deprecated."""
    personal_data: frozenset[str] = frozenset()
    """Paths of fields that hold data about people, beside those that the schema tags."""
    waivers: tuple[Waiver, ...] = ()


class Default(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds where a type's own table says nothing."""

    mode: Mode | None = None
    owner: str = ""


class _Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One type's table."""

    mode: Mode | None = None
    owner: str = ""
    deprecated: str = ""
    personal_data: frozenset[Text] = frozenset()
    waivers: tuple[Waiver, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    default: Default = Default()
    subject: dict[str, _Own] = {}


class Subjects:
    """One folder's `subjects.toml`, for the types that the folder has."""

    def __init__(
        self,
        path: Path,
        default: Default,
        subjects: dict[str, Subject],
        removed: dict[str, Subject],
    ) -> None:
        self.path = path
        self.default = default
        self.removed = removed
        """By name, released types that the folder has no more, and that it is waived of."""
        self._subjects = subjects

    def __iter__(self) -> Iterator[Subject]:
        return iter(self._subjects.values())

    def of(self, type_name: str) -> Subject:
        """What holds for a type. Raises `ConfigurationError` for one that the folder has not."""
        found = self._subjects.get(type_name)
        if found is None:
            raise ConfigurationError(
                f"{self.path} is not about {type_name}{_hint(type_name, self)}"
            )
        return found


def read_subjects(folder: Path, types: Collection[str]) -> Subjects:
    """The folder's `subjects.toml`, which must be about these types and no others.

    But for released ones whose removal it waives. Raises `ConfigurationError` where it is missing
    or damaged, has a key that means nothing, is about a type that the folder does not define, or
    gives a type no mode. Whether a waiver has expired is asked of it with a day in hand, for a
    broken review must not stop a worker.
    """
    path = folder / SUBJECTS_FILE
    found = _read(path)
    others = [name for name in found.subject if name not in types]
    released = {entry.type for entry in read_lock(folder).schemas} if others else set[str]()
    for name in others:
        if name not in released:
            raise ConfigurationError(
                f"{path}: [subject.{name!r}] is about a type that {folder} does not define"
                f"{_close(name, types)}"
            )
        if not any(one.rule == REMOVED for one in found.subject[name].waivers):
            raise ConfigurationError(
                f"{path}: [subject.{name!r}] is about a type that was removed; take the table out, "
                f"or waive {REMOVED} in it"
            )
    return Subjects(
        path,
        found.default,
        {name: _subject(path, name, found) for name in sorted(types)},
        {name: _subject(path, name, found, otherwise=Mode.NONE) for name in others},
    )


def _read(path: Path) -> _File:
    try:
        return msgspec.toml.decode(path.read_bytes().removeprefix(BOM_UTF8), type=_File)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no {path}, so no type has a compatibility mode; write one that begins with "
            f'[default] and mode = "{Mode.FULL_TRANSITIVE}"'
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _subject(path: Path, name: str, found: _File, otherwise: Mode | None = None) -> Subject:
    own = found.subject.get(name, _Own())
    mode = own.mode or found.default.mode or otherwise
    if mode is None:
        raise ConfigurationError(
            f"{path}: {name} has no mode; give [subject.{name!r}] or [default] one of "
            f"{', '.join(Mode)}"
        )
    owner = own.owner or found.default.owner
    for waiver in own.waivers:
        if not (waiver.owner or owner):
            raise ConfigurationError(
                f"{path}: nobody owns the waiver of {waiver.rule} for {name}; give it or the type "
                "an owner"
            )
    return Subject(
        name,
        mode,
        owner,
        own.deprecated,
        own.personal_data,
        tuple(msgspec.structs.replace(one, owner=one.owner or owner) for one in own.waivers),
    )


def _hint(name: str, subjects: Subjects) -> str:
    return _close(name, [one.type for one in subjects])


def _close(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
