"""Apps: which handlers a group runs on which payload types.

    app = App("fleet", topics=("tasks", "inbox"))

    @app.on("agentlog.task.AssignTask")
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(Envelope(type="agentlog.task.TaskFinished", payload={...}))

An app only says what is to be done. A worker (`consumers.worker`) runs it: one record of a key at
a time, keys side by side, outputs and outcome in one transaction.

A handler may be `async def`, or `def`: then it runs on a thread of the app's pool and gets a
`SyncContext`. It may take as long as it needs; its key waits for it, its partition is kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeVar

import msgspec

from consumers.journal.outcomes import Delivery, Output
from consumers.retry import RetryPolicy
from consumers.window import CLIENT_QUEUE_BYTES
from streams.errors import ConfigurationError
from streams.fleets import AGENTS_MAX, is_agent
from streams.ports import Clock, OpenEndReader
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import INBOX, JOURNAL, Namespace

EVERY_TYPE: Final = "*"

HandlerFunction = Callable[[Any, Mapping[str, Any]], Awaitable[None] | None]
F = TypeVar("F", bound=Callable[..., Awaitable[None] | None])


class LogAccess(msgspec.Struct, frozen=True):
    """How an app whose handlers need more than their record reads the log."""

    open: Callable[[], OpenEndReader]
    """A reader of its own."""
    codec: Codec
    namespace: Namespace
    clock: Clock
    run: Callable[[Callable[[], Any]], Awaitable[Any]]
    """Calls a function that may wait for the log, without holding up the event loop."""
    write: Callable[[Sequence[Output], Sequence[str]], Awaitable[bool]]
    """Appends records of these payload types in one transaction, apart from the commits of
    outcomes; False if it did not happen, or nobody knows."""


class Handler(msgspec.Struct, frozen=True):
    """One function for one payload type, or for every type."""

    name: str
    """With the app's name part of its outputs' ids and of the idempotency key: renaming either
    makes other ids."""
    type: str
    """Full payload type name, or `*`."""
    function: HandlerFunction
    is_async: bool = True
    timeout_s: float | None = None
    """Seconds that one attempt may take; then it is interrupted, and has failed."""
    concurrency_max: int | None = None
    """How many of its runs one worker has at once, whatever their keys."""


class _Decorator(Protocol):
    def __call__(self, function: F, /) -> F: ...


class App:
    """The handlers of one group, and its bounds.

    `name` is the group's logical name, `topics` are logical names too. In flight is what a worker
    process holds between the log and a commit: at most `in_flight_max` records and about
    `in_flight_bytes_max` bytes, the client's own queue included. At most `running_max` records
    are in handlers at once, sync ones on at most `threads_max` threads. A commit waits
    `commit_linger_ms` for more to finish with it.

    `delivery` is `exactly_once` (outputs, outcomes and positions in one transaction) or
    `at_least_once` (first outputs and outcomes, then positions). A record that repeats one of the
    last `dedup_window` positions of its partition, by id, key and redrive, is skipped; taking a
    partition over reads back that many records (0: nothing is remembered).

    `agents` are the agents that the group runs, by name or glob pattern (`reviewer-*`): its workers
    register them when they start, so that publishers can tell who is nobody. None: it registers
    none.

    Handlers of one type, and those of `*`, run in parallel on a record. A record whose type has
    none is skipped with a warning and counts as processed (S3.7). Imported records are skipped
    unless `skip_imports` is False: they are history, not work.
    """

    def __init__(
        self,
        name: str,
        *,
        topics: Iterable[str],
        agents: Iterable[str] = (),
        in_flight_max: int = 10_000,
        in_flight_bytes_max: int = 64 * 1024 * 1024,
        running_max: int = 100,
        commit_linger_ms: int = 5,
        drain_s_max: float = 30.0,
        skip_imports: bool = True,
        delivery: Literal["exactly_once", "at_least_once"] = "exactly_once",
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        dedup_window: int = 100_000,
        threads_max: int = 8,
    ) -> None:
        self.name = name
        self.topics = tuple(topics)
        self.agents = (agents,) if isinstance(agents, str) else tuple(agents)
        self.in_flight_max = in_flight_max
        self.in_flight_bytes_max = in_flight_bytes_max
        self.running_max = running_max
        self.commit_linger_ms = commit_linger_ms
        self.drain_s_max = drain_s_max
        """Seconds that running handlers get when their partition is revoked or the worker stops."""
        self.skip_imports = skip_imports
        self.delivery = delivery
        self.retry = retry
        self.dedup_window = dedup_window
        self.threads_max = threads_max
        self._handlers: dict[str, Handler] = {}
        self._by_type: dict[str, tuple[Handler, ...]] = {}
        self._check()

    def _check(self) -> None:
        rules = (
            (bool(self.name), "needs a name: it is the consumer group"),
            (bool(self.topics), "reads no topic; give topics=('tasks',) or more"),
            (
                JOURNAL not in self.topics,
                "cannot read the journal: its own commits would feed it for ever",
            ),
            (
                all(map(is_agent, self.agents)),
                "agents holds what no agent can be called; give names or patterns, as in "
                "agents=('reviewer-*', 'planner')",
            ),
            (len(self.agents) <= AGENTS_MAX, f"agents holds more than {AGENTS_MAX}; use patterns"),
            (
                not self.agents or INBOX in self.topics,
                f"registers agents but does not read {INBOX}, where they are written to",
            ),
            (
                min(self.in_flight_max, self.running_max) >= 1,
                "must let at least one record be in flight and run",
            ),
            (
                self.in_flight_bytes_max >= 2 * CLIENT_QUEUE_BYTES,
                f"in_flight_bytes_max must be at least {2 * CLIENT_QUEUE_BYTES}",
            ),
            (
                self.delivery in list(Delivery),
                f"delivery is {self.delivery!r}; choose from {', '.join(Delivery)}",
            ),
            (self.dedup_window >= 0, "dedup_window cannot be negative; 0 remembers nothing"),
            (self.threads_max >= 1, "threads_max must be at least 1: sync handlers need a thread"),
            (
                min(self.commit_linger_ms, self.drain_s_max) >= 0,
                "commit_linger_ms and drain_s_max cannot be negative",
            ),
        )
        for holds, problem in rules:
            if not holds:
                raise ConfigurationError(f"app {self.name!r}: {problem}")

    def for_worker(self, access: LogAccess) -> App:
        """The app as one worker runs it: another one, if it keeps something of its partitions."""
        del access
        return self

    def forget(self, sources: Sequence[Partition]) -> None:
        """For apps that keep something of each partition: these are not this worker's any more."""

    def on(
        self,
        type_name: str = EVERY_TYPE,
        *,
        name: str | None = None,
        timeout_s: float | None = None,
        concurrency_max: int | None = None,
    ) -> _Decorator:
        """Register a function for a payload type's full name, or `*` for every type.

        `name` defaults to the function's; it must be unique in the app. Raises
        `ConfigurationError` for a name that is taken and for bounds that let nothing run.
        """

        def register(function: F) -> F:
            handler = Handler(
                name or function.__name__,
                type_name,
                function,
                inspect.iscoroutinefunction(function),
                timeout_s,
                concurrency_max,
            )
            problem = ""
            if handler.name in self._handlers:
                problem = f"has two handlers named {handler.name}; give one a name="
            elif timeout_s is not None and timeout_s <= 0:
                problem = f"gives {handler.name} a timeout of {timeout_s} s; it must be positive"
            elif timeout_s is not None and not handler.is_async:
                problem = f"gives {handler.name} a timeout, but no thread can be interrupted"
            elif concurrency_max is not None and concurrency_max < 1:
                problem = f"lets {concurrency_max} of {handler.name} run; give at least 1"
            if problem:
                raise ConfigurationError(f"app {self.name!r} {problem}")
            self._handlers[handler.name] = handler
            self._by_type = {
                wanted: tuple(one for one in self.handlers if one.type in (wanted, EVERY_TYPE))
                for wanted in (EVERY_TYPE, *(one.type for one in self.handlers))
            }
            return function

        return register

    @property
    def handlers(self) -> tuple[Handler, ...]:
        """All of them, in the order they were registered."""
        return tuple(self._handlers.values())

    def handlers_for(self, type_name: str) -> tuple[Handler, ...]:
        """The handlers of a payload type and those of `*`, in the order they were registered."""
        # Only types that were registered are in it: anybody may put any other on the log.
        found = self._by_type.get(type_name)
        return self._by_type.get(EVERY_TYPE, ()) if found is None else found
