"""Aggregates: state that only commands change, one stream of events for each.

    tasks = Aggregate("task", initial=dict, version=1)

    @tasks.decide("acme.task.Assign")
    def assign(state: dict[str, Any], command: Command) -> Envelope:
        if state:
            raise Rejected("AlreadyAssigned", f"{command.stream_id} has {state['assignee']}")
        return Envelope(type="acme.task.Assigned", payload=dict(command.payload))

    @tasks.evolve("acme.task.Assigned")
    def assigned(state: dict[str, Any], event: Event) -> dict[str, Any]:
        return {**state, "assignee": event.payload["assignee"]}

`decide` looks at the state and says what happens, or why nothing does; `evolve` says what an event
means for the state. Both are plain functions. `evolve` runs again whenever a state is rebuilt, so
it must give the same for the same: no clock, no randomness, nothing from outside. What a state may
hold is what `streams.digest` takes.

An aggregate named `task` owns the streams `task:<anything>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from streams.envelope import Envelope
from streams.errors import AgentlogError, ConfigurationError

SEPARATOR: Final = ":"
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")

F = TypeVar("F", bound=Callable[..., Any])


class Command(msgspec.Struct, frozen=True):
    """What somebody wants to happen to one stream."""

    stream_id: str
    payload: Mapping[str, Any]
    envelope: Envelope
    version: int
    """Of the state that decides: how many events the stream has."""
    appended_at_ms: int
    """When the log took it: the clock that a decision may go by."""


class Event(msgspec.Struct, frozen=True):
    """What has happened to one stream."""

    stream_id: str
    payload: Mapping[str, Any]
    envelope: Envelope
    version: int
    """Its place in the stream, from 1."""


class Notice(msgspec.Struct, frozen=True):
    """An envelope that `decide` publishes beside its events: no part of the stream."""

    envelope: Envelope
    cached_as: str | None = None
    """Key under which the compacted `state` topic keeps it, instead of where it would be routed."""


class Rejected(AgentlogError):
    """Raise it in `decide`: nothing happens, and whoever sent the command is told why."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


Decided = Envelope | Iterable[Envelope | Notice] | None
Decide = Callable[[Any, Command], Decided]
Evolve = Callable[[Any, Event], Any]


class Aggregate:
    """One kind of stream: how its state begins, what commands do, what events mean.

    `name` is the front of its streams' ids. Raise `version` when `evolve` comes to mean something
    else in a way that its code does not show: snapshots of other code or another version are never
    used.
    """

    def __init__(
        self,
        name: str,
        *,
        initial: Callable[[], Any],
        version: int = 1,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"an aggregate cannot be called {name!r}: it is the front of its streams' ids; "
                "write small letters, digits, - and _, as in `task`"
            )
        self.name = name
        self.initial = initial
        self.version = version
        self._decides: dict[str, Decide] = {}
        self._evolves: dict[str, Evolve] = {}

    @property
    def commands(self) -> tuple[str, ...]:
        """Full names of the payload types that it decides on."""
        return tuple(self._decides)

    @property
    def events(self) -> tuple[str, ...]:
        """Full names of the payload types that change its state."""
        return tuple(self._evolves)

    def decide(self, type_name: str) -> Callable[[F], F]:
        """Register what a command of this payload type does: `(state, command)` to an envelope,
        several, or none. It may raise `Rejected`; anything else is retried, then a dead letter.
        """
        return self._register(self._decides, type_name, "decides on")

    def evolve(self, type_name: str) -> Callable[[F], F]:
        """Register what an event of this payload type means: `(state, event)` to the next state."""
        return self._register(self._evolves, type_name, "evolves with")

    def owns(self, stream_id: str | None) -> bool:
        """Whether a stream is one of its own."""
        return stream_id is not None and stream_id.startswith(self.name + SEPARATOR)

    def decided(self, state: Any, command: Command) -> list[Envelope | Notice]:
        """The events and notices of a command, not numbered yet. Raises what `decide` raises."""
        found = self._decides[command.envelope.type](state, command)
        if found is None:
            return []
        decided: list[Envelope | Notice] = [found] if isinstance(found, Envelope) else list(found)
        for one in decided:
            if isinstance(one, Envelope) and one.type not in self._evolves:
                raise ConfigurationError(
                    f"aggregate {self.name} decided on an event of type {one.type}, which it does "
                    f'not evolve with; register what it means (@….evolve("{one.type}")), or '
                    "return a Notice"
                )
        return decided

    def evolved(self, state: Any, event: Event) -> Any:
        """The state after an event. Raises `ConfigurationError` for a type that means nothing."""
        evolve = self._evolves.get(event.envelope.type)
        if evolve is None:
            raise ConfigurationError(
                f"aggregate {self.name} does not evolve with {event.envelope.type}, which is "
                f"version {event.version} of {event.stream_id}: code that was deployed before did"
            )
        return evolve(state, event)

    @property
    def functions(self) -> Iterable[tuple[str, Evolve]]:
        """What its states hang on, by event type, in order of the types."""
        return sorted(self._evolves.items())

    @property
    def decisions(self) -> Iterable[tuple[str, Decide]]:
        """What its commands do, by command type, in order of the types."""
        return sorted(self._decides.items())

    def _register(self, into: dict[str, Any], type_name: str, what: str) -> Callable[[F], F]:
        def register(function: F) -> F:
            if type_name in into:
                raise ConfigurationError(f"aggregate {self.name} {what} {type_name} already")
            into[type_name] = function
            return function

        return register


def aggregate_of(stream_id: str) -> str:
    """Name of the aggregate that owns a stream; empty if none can."""
    name, separator, _ = stream_id.partition(SEPARATOR)
    return name if separator else ""
