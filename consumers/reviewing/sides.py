"""Both sides of a review: a schemas folder as it was at the base, and as the candidate has it.

A record is read on each side as a worker there would read it: as the version that its type has
there, over the upcasters of that side. Which versions were released, the candidate's lock says; it
must keep all that the base's gave.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from streams.errors import ConfigurationError
from streams.schemas import Catalogue, WriterSchema
from streams.schemas.folders import (
    ENVELOPE_FILE,
    PayloadFile,
    SchemaFolder,
    builtin_folder,
    read_avsc,
)
from streams.schemas.lock import LOCKED_FOLDER, read_lock, read_locked
from streams.schemas.subjects import Subject, Subjects
from streams.schemas.upcasting import Rung
from streams.schemas.writer_schema import fingerprint

ENVELOPE: Final = "the envelope"
"""What a change of it is called among those of payload types."""


class Change(NamedTuple):
    """A payload type that is not what it was. None: it is not there on that side."""

    name: str
    """As the candidate calls it; as the base did if it is gone."""
    was: str
    """As the base called it; the same unless it was renamed, empty if it is new."""
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    is_promises_alone: bool = False
    """Records are read as before, and only what `subjects.toml` says of it is something else."""


class Sides:
    """Two folders on disk: today's, at the base, and the candidate's. Goes to other processes."""

    def __init__(self, base: Path, head: Path) -> None:
        self.base = base
        self.head = head

    def __getstate__(self) -> dict[str, Path]:
        return {"base": self.base, "head": self.head}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sides) and (self.base, self.head) == (other.base, other.head)

    def __hash__(self) -> int:
        return hash((self.base, self.head))

    @cached_property
    def before(self) -> Mapping[str, PayloadFile]:
        """The types at the base; none, where it has no schemas yet."""
        return {} if is_bare(self.base) else SchemaFolder(self.base).types

    @cached_property
    def known(self) -> Catalogue:
        """Every released version, by id: what can be decoded as it was written."""
        return self._opened[0]

    @cached_property
    def today(self) -> Catalogue:
        """What readers at the base make of every version."""
        return self._opened[1]

    @cached_property
    def candidate(self) -> Catalogue:
        """What the candidate's readers make of them."""
        return self._opened[2]

    @property
    def _opened(self) -> tuple[Catalogue, Catalogue, Catalogue]:
        return _opened(self)

    def versions(self, change: Change) -> tuple[Rung, ...]:
        """The released versions of a changed type, oldest first, by whatever name."""
        event = (self.today if change.after is None else self.candidate).types.get(change.name)
        names = event.names if event is not None else (change.name,)
        released = _released(self.head)[1]
        return tuple(rung for name in names for rung in released.get(name, ()))

    @property
    def ladders(self) -> list[Sequence[Rung]]:
        """Of each of the candidate's types that was released, the way from its first version."""
        changes = (Change(name, name, None, None) for name in SchemaFolder(self.head).types)
        released = [rungs for one in changes if (rungs := self.versions(one))]
        return [self.candidate.way_up(rungs[0].writer) for rungs in released]

    def subjects(self, change: Change) -> tuple[Subject | None, Subject | None]:
        """What is asked of a type, at the base and now. None: nothing, as of one that is not there.

        Raises `ConfigurationError` where the candidate does not say it of a type.
        """
        before, after = self._subjects
        if change.name == ENVELOPE:
            return None, None
        return (
            before.of(change.was) if before and change.was in self.before else None,
            (after or SchemaFolder(self.head).subjects).of(change.name) if change.after else None,
        )

    @cached_property
    def _subjects(self) -> tuple[Subjects | None, Subjects | None]:
        base, head = SchemaFolder(self.base), SchemaFolder(self.head)
        before = None
        if base.has_subjects:
            with suppress(ConfigurationError):  # what was wrong there is mended by its successor
                before = base.subjects
        return before, head.subjects if before or head.has_subjects else None

    def is_gone(self, writer: WriterSchema) -> bool:
        """Whether only the base has the type that this schema wrote."""
        before, after = (one.find(writer.payload_name) for one in (self.today, self.candidate))
        return before is not None and after is None

    def is_affected(self, writer: WriterSchema) -> bool:
        """Whether the two sides may make different things of what this schema wrote."""
        return self.is_gone(writer) or (
            _reading(self.today, writer) != _reading(self.candidate, writer)
        )

    @cached_property
    def envelopes(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Both sides' envelopes, if something but words is different in them."""
        before, after = (_envelope(folder) for folder in (self.base, self.head))
        if before is None or after is None or without_docs(before) == without_docs(after):
            return None
        return before, after

    @property
    def writers(self) -> tuple[WriterSchema, ...]:
        """Every released writer schema of the candidate's folder."""
        return tuple(_released(self.head)[0].values())

    def changes(self) -> tuple[Change, ...]:
        """The payload types that differ, or are raised otherwise by upcasters; the gone last."""
        before, after = self.before, SchemaFolder(self.head).types
        found = []
        for name in sorted(after):
            event = self.candidate.types[name]
            was = next((old for old in (name, *event.aliases) if old in before), "")
            old = before[was].schema if was else None
            change = Change(name, was, old, after[name].schema)
            same = old is not None and fingerprint(old) == fingerprint(after[name].schema)
            if not same or any(self.is_affected(one.writer) for one in self.versions(change)):
                found.append(change)
            elif any(self._subjects) and len(set(self.subjects(change))) > 1:
                found.append(change._replace(is_promises_alone=True))
        old, new = (_envelope(folder) for folder in (self.base, self.head))
        if old != new:
            found.append(Change(ENVELOPE, ENVELOPE, old, new))
        return (*found, *self._gone())

    def _gone(self) -> Iterator[Change]:
        """Types that only the base has, and former names that only its types go by."""
        released = _released(self.head)[1]
        for name, file in sorted(self.before.items()):
            if self.candidate.find(name) is None:
                yield Change(name, name, file.schema, None)
                continue
            for old in self.today.types[name].aliases:
                if old in released and self.candidate.find(old) is None:
                    newest = released[old][-1].writer.schema["fields"][-1]["type"]
                    yield Change(old, old, newest, None)


@lru_cache(maxsize=4)
def _opened(sides: Sides) -> tuple[Catalogue, Catalogue, Catalogue]:
    schemas, ladders = _released(sides.head)
    if not (sides.head / ENVELOPE_FILE).exists():
        ours, _ = _released(builtin_folder())
        schemas = {**ours, **schemas}
    known = Catalogue({}, schemas, ladders)
    # Who had no folder of their own had ours.
    base = builtin_folder() if is_bare(sides.base) else sides.base
    return known, Catalogue.reading(base, known), Catalogue.reading(sides.head, known)


def _released(folder: Path) -> tuple[dict[int, WriterSchema], dict[str, list[Rung]]]:
    """Writer schemas by id, and the versions of each type, as a lock has them."""
    schemas: dict[int, WriterSchema] = {}
    rungs: defaultdict[str, list[Rung]] = defaultdict(list)
    for entry in read_lock(folder).schemas:
        writer = schemas[entry.id] = WriterSchema(entry.id, read_locked(folder, entry))
        rungs[entry.type].append(Rung(entry.type, entry.version, writer))
    return schemas, dict(rungs)


def is_bare(folder: Path) -> bool:
    """Whether a folder has no type."""
    return all(path.parent.name == LOCKED_FOLDER for path in folder.glob("*/*.avsc"))


def _envelope(folder: Path) -> dict[str, Any] | None:
    """The envelope that a folder of all schemas has; a user's own has none."""
    path = folder / ENVELOPE_FILE
    return read_avsc(path) if path.exists() else None


def _reading(catalogue: Catalogue, writer: WriterSchema) -> Sequence[Any]:
    """What decides how a writer's payloads are read; equal for two that read alike."""
    rungs = catalogue.way_up(writer)
    steps = any(rung.step is not None for rung in rungs)
    texts = [fingerprint(without_docs(rung.writer.schema["fields"][-1]["type"])) for rung in rungs]
    # Without a step, only where the way begins and ends counts.
    return [*texts, *catalogue.upcasters] if steps else texts[-1:]


def without_docs(schema: Any) -> Any:
    """A schema without the words that only people read."""
    if isinstance(schema, list):
        return [without_docs(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key != "doc"}
    for key in ("type", "items", "values"):
        if key in found:
            found[key] = without_docs(found[key])
    if "fields" in found:
        found["fields"] = [without_docs(field) for field in found["fields"]]
    return found
