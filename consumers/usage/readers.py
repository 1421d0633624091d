"""Readers: who reads a payload type, and which of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from consumers.agent_history import AgentHistory
from consumers.aggregates import Aggregate, AggregateApp
from consumers.aggregates.shared_state import shared_state
from consumers.aggregates.task_life import task_life
from consumers.app import EVERY_TYPE, App
from consumers.index import LogIndex
from consumers.projections import AgentState, Metrics
from consumers.read_models import ReadModel
from consumers.references import load_reference
from consumers.usage.fields import Touched, Walk
from consumers.usage.sources import place_of, source_of
from consumers.usage.symbols import CARRIER, ENTRIES, ITEM, PAYLOAD, Symbol, Symbols
from streams.errors import ConfigurationError
from streams.schemas import Catalogue
from streams.schemas.walking import Names, fields_of, without_branches

_BELOW: Final = (".", "[]", "{}", "|")
"""What comes after a path in those below it."""
_FOLD: Final = ("name", "topics", "apply", "merge")


class ReaderKind(StrEnum):
    """What sort of code reads."""

    HANDLER = "handler"
    PROJECTION = "projection"
    READ_MODEL = "read model"
    COMMAND = "command of an aggregate"
    EVENT = "event of an aggregate"


class Reads(msgspec.Struct, frozen=True):
    """What a reader reads of one payload type."""

    type: str
    fields: tuple[str, ...]
    """Paths that it touches, sorted; none: the envelope alone."""
    whole: bool = False
    """It touches the payload as a whole: any field counts."""
    lost: tuple[str, ...] = ()
    """Where the payload was handed on to what cannot be read: `name (file:line)`."""


class Reader(msgspec.Struct, frozen=True):
    """One handler, fold or decision."""

    kind: ReaderKind
    owner: str
    """Name of the app, the projection, the read model or the aggregate."""
    name: str
    """Of the function."""
    place: str
    """`file:line`; empty where there is no source."""
    topics: tuple[str, ...]
    """Logical names of the topics that it reads."""
    reads: tuple[Reads, ...]
    """By type, those that are touched beyond their envelope first to be found in the catalogue."""
    is_readable: bool = True
    """Whether its source could be read: if not, what it reads is not known."""

    def of(self, type_name: str) -> Reads | None:
        """What it reads of a type; None if it never touches its payload."""
        return next((one for one in self.reads if one.type == type_name), None)


def builtin_readers(catalogue: Catalogue) -> tuple[Reader, ...]:
    """What ships with agentlog: projections, read models and aggregates."""
    made = (AgentState(), Metrics(), LogIndex(), AgentHistory(), shared_state(), task_life())
    return tuple(reader for one in made for reader in _readers(one, catalogue, "built in"))


def reader_of(reference: str, catalogue: Catalogue) -> tuple[Reader, ...]:
    """The readers that MODULE:NAME stands for: an app's handlers, a fold, an aggregate.

    The module is imported, as a worker would; nothing that it has is called. Raises
    `ConfigurationError` if there is no such thing, or it reads nothing.
    """
    return tuple(_readers(load_reference(reference), catalogue, reference))


def _readers(found: Any, catalogue: Catalogue, reference: str) -> Iterator[Reader]:
    look = _Look(catalogue)
    if isinstance(found, AggregateApp):
        for aggregate in found.aggregates:
            yield from look.aggregate(aggregate)
    elif isinstance(found, Aggregate):
        yield from look.aggregate(found)
    elif isinstance(found, App):
        for handler in found.handlers:
            types = look.all if handler.type == EVERY_TYPE else frozenset({handler.type})
            yield look.reader(
                ReaderKind.HANDLER,
                found.name,
                handler.name,
                handler.function,
                (CARRIER, PAYLOAD),
                types,
                found.topics,
            )
    elif isinstance(found, ReadModel):
        yield look.reader(
            ReaderKind.READ_MODEL,
            found.name,
            "apply",
            found.apply,
            (None, None, ENTRIES),
            look.all,
            found.topics,
        )
    elif all(hasattr(found, part) for part in _FOLD):
        yield look.reader(
            ReaderKind.PROJECTION,
            found.name,
            "apply",
            found.apply,
            (None, None, CARRIER),
            look.all,
            found.topics,
        )
    else:
        raise ConfigurationError(
            f"{reference} is a {type(found).__name__}: no app, projection, read model or aggregate"
        )


class _Look:
    """How readers are looked at: with the types of one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._kinds = {name: str(event.kind) for name, event in catalogue.types.items()}
        self._catalogue = catalogue
        self.all = frozenset(self._kinds)

    def aggregate(self, aggregate: Aggregate) -> Iterator[Reader]:
        """What it decides on, and what it evolves with."""
        for kind, functions, topic in (
            (ReaderKind.COMMAND, aggregate.decisions, "commands"),
            (ReaderKind.EVENT, aggregate.functions, "events"),
        ):
            for type_name, function in functions:
                yield self.reader(
                    kind,
                    aggregate.name,
                    function.__name__,
                    function,
                    (None, CARRIER),
                    frozenset({type_name}),
                    (topic,),
                )

    def reader(
        self,
        kind: ReaderKind,
        owner: str,
        name: str,
        function: Callable[..., Any],
        parameters: Iterable[Symbol | None],
        types: frozenset[str],
        topics: Iterable[str],
    ) -> Reader:
        """One function, whose parameters stand for these."""
        source = source_of(function)
        place = place_of(function)
        if source is None:
            unknown = tuple(Reads(one, (), whole=True) for one in sorted(types))
            return Reader(kind, owner, name, place, tuple(topics), unknown, is_readable=False)
        touched = Touched()
        given: dict[str, Symbols] = {
            parameter: frozenset({symbol})
            for parameter, symbol in zip(source.parameters, parameters, strict=False)
            if symbol is not None
        }
        Walk(self._kinds, touched).through(source, given, types)
        # Of a handler of one type it is known that it reads that; of a fold, what it touches.
        wanted = (
            types if types != self.all else types & (touched.whole.keys() | touched.itself.keys())
        )
        reads = [self._reads(one, touched) for one in sorted(wanted)]
        return Reader(kind, owner, name, place, tuple(topics), tuple(filter(None, reads)))

    def _reads(self, type_name: str, touched: Touched) -> Reads | None:
        whole, itself = (found.get(type_name, set()) for found in (touched.whole, touched.itself))
        lost = tuple(sorted(touched.lost.get(type_name, ())))
        event = self._catalogue.find(type_name)
        if event is None:
            fields = sorted((whole | itself) - {""})
            return Reads(type_name, tuple(fields), whole="" in whole, lost=lost)
        known = _paths(event.writer.schema["fields"][-1]["type"])
        found = {known[path] for path in whole | itself if path in known}
        for path in (known[path] for path in whole if path in known):
            found |= {
                one for one in known.values() if one.startswith(tuple(path + end for end in _BELOW))
            }
        if (whole | itself) and not found and "" not in whole:
            return None  # fields of other types: this one would have failed there
        return Reads(type_name, tuple(sorted(found)), whole="" in whole, lost=lost)


def _paths(schema: Mapping[str, Any]) -> dict[str, str]:
    """Paths of a schema's fields, as the walk writes them and as schemas have them."""
    found: dict[str, str] = {}
    for site in fields_of(Names(schema)):
        plain = without_branches(site.path).replace("{}", ITEM)
        found[plain] = site.path
        for inner in (plain + ITEM, plain + ITEM + ITEM):  # an item is read: the field is
            found.setdefault(inner, site.path)
    return found
