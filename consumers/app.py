"""Apps: which handlers a group runs on which payload types.

    app = App("fleet", topics=("tasks", "inbox"))

    @app.on("agentlog.task.AssignTask")
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(Envelope(type="agentlog.task.TaskFinished", payload={...}))

An app only says what is to be done. A worker (`consumers.worker`) runs it: one record of a key at
a time, keys side by side, outputs and outcome in one transaction.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from consumers.context import Context
from consumers.window import CLIENT_QUEUE_BYTES
from streams.errors import ConfigurationError
from streams.topics import JOURNAL

EVERY_TYPE: Final = "*"

HandlerFunction = Callable[[Context, Mapping[str, Any]], Awaitable[None]]
F = TypeVar("F", bound=Callable[..., Awaitable[None]])


class Handler(msgspec.Struct, frozen=True):
    """One async function for one payload type, or for every type."""

    name: str
    """With the app's name part of its outputs' ids and of the idempotency key: renaming either
    makes other ids."""
    type: str
    """Full payload type name, or `*`."""
    function: HandlerFunction


class _Decorator(Protocol):
    def __call__(self, function: F, /) -> F: ...


class App:
    """The handlers of one group, and its bounds.

    `name` is the group's logical name, `topics` are logical names too. In flight is what a worker
    process holds between the log and a commit: at most `in_flight_max` records and about
    `in_flight_bytes_max` bytes, the client's own queue included. At most `running_max` records
    are in handlers at once. A commit waits `commit_linger_ms` for more to finish with it.

    Handlers of one type, and those of `*`, run in parallel on a record. A record whose type has
    none is skipped with a warning and counts as processed (S3.7). Imported records are skipped
    unless `skip_imports` is False: they are history, not work.
    """

    def __init__(
        self,
        name: str,
        *,
        topics: Iterable[str],
        in_flight_max: int = 10_000,
        in_flight_bytes_max: int = 64 * 1024 * 1024,
        running_max: int = 100,
        commit_linger_ms: int = 10,
        drain_s_max: float = 30.0,
        skip_imports: bool = True,
    ) -> None:
        self.name = name
        self.topics = tuple(topics)
        self.in_flight_max = in_flight_max
        self.in_flight_bytes_max = in_flight_bytes_max
        self.running_max = running_max
        self.commit_linger_ms = commit_linger_ms
        self.drain_s_max = drain_s_max
        """Seconds that running handlers get when their partition is revoked or the worker stops."""
        self.skip_imports = skip_imports
        self._handlers: dict[str, Handler] = {}
        self._by_type: dict[str, tuple[Handler, ...]] = {}
        self._check()

    def _check(self) -> None:
        problem = ""
        if not self.name:
            problem = "needs a name: it is the consumer group"
        elif not self.topics:
            problem = "reads no topic; give topics=('tasks',) or more"
        elif JOURNAL in self.topics:
            problem = "cannot read the journal: its own commits would feed it for ever"
        elif min(self.in_flight_max, self.running_max) < 1:
            problem = "must let at least one record be in flight and run"
        elif self.in_flight_bytes_max < 2 * CLIENT_QUEUE_BYTES:
            problem = f"in_flight_bytes_max must be at least {2 * CLIENT_QUEUE_BYTES}"
        elif self.commit_linger_ms < 0 or self.drain_s_max < 0:
            problem = "commit_linger_ms and drain_s_max cannot be negative"
        if problem:
            raise ConfigurationError(f"app {self.name!r}: {problem}")

    def on(self, type_name: str = EVERY_TYPE, *, name: str | None = None) -> _Decorator:
        """Register an async function for a payload type's full name, or `*` for every type.

        `name` defaults to the function's; it must be unique in the app. Raises
        `ConfigurationError` for a name that is taken and for a function that is not async.
        """

        def register(function: F) -> F:
            handler = Handler(name or function.__name__, type_name, function)
            is_async: bool = inspect.iscoroutinefunction(function)
            if not is_async:
                raise ConfigurationError(f"app {self.name!r}: {handler.name} is not `async def`")
            if handler.name in self._handlers:
                raise ConfigurationError(
                    f"app {self.name!r} has two handlers named {handler.name}; give one a name="
                )
            self._handlers[handler.name] = handler
            self._by_type.clear()
            return function

        return register

    @property
    def handlers(self) -> tuple[Handler, ...]:
        """All of them, in the order they were registered."""
        return tuple(self._handlers.values())

    def handlers_for(self, type_name: str) -> tuple[Handler, ...]:
        """The handlers of a payload type and those of `*`, in the order they were registered."""
        found = self._by_type.get(type_name)
        if found is None:
            found = tuple(
                handler
                for handler in self._handlers.values()
                if handler.type in (type_name, EVERY_TYPE)
            )
            self._by_type[type_name] = found
        return found
