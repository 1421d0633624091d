"""One seed, from its schedule to what the checkers found."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator, MutableMapping
from types import ModuleType
from typing import Any, Final

import msgspec
import structlog

from consumers import marks
from consumers.journal import entries
from consumers.testing.virtual_time import Stuck, VirtualTimeLoop
from consumers.worker import committer, handling, turns
from streams.memory import MemoryLogReader
from streams.schemas import Catalogue, Codec
from tests.simulation.checkers import CHECKERS, faults_of
from tests.simulation.history import History, read_history, tilings_now
from tests.simulation.schedule import Schedule, make_schedule
from tests.simulation.traced import Trace
from tests.simulation.world import World

LOOKS: Final = 3
"""Audits in the middle of a run."""
TURNS_MAX: Final = 2_000_000
"""Turns of the event loop in one run; more is a loop that does not end."""
FINDINGS_MAX: Final = 5
"""Of one checker that are told."""

codec: Final = Codec(Catalogue.load(), [])


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a seed."""

    schedule: Schedule
    findings: tuple[tuple[str, str], ...]
    """(checker, what it found)."""
    trace: Trace
    world: World | None
    history: History | None
    virtual_s: float
    turns: int

    @property
    def seed(self) -> int:
        """That says it all."""
        return self.schedule.seed

    @property
    def fired(self) -> tuple[str, ...]:
        """Names of the checkers that found something."""
        return tuple(dict.fromkeys(name for name, _ in self.findings))

    def digest(self) -> str:
        """SHA-256 of all that happened, in order, and of every byte on the log."""
        found = hashlib.sha256()
        for line in self.trace.texts():
            found.update(line.encode())
        if self.world is not None:
            for record in _everything(self.world):
                found.update(repr(record).encode())
        return found.hexdigest()

    def __str__(self) -> str:
        told: dict[str, list[str]] = {}
        for name, finding in self.findings:
            told.setdefault(name, []).append(finding)
        lines = [f"seed {self.seed}: {', '.join(told) or 'clean'}"]
        for name, found in told.items():
            lines += [f"  {name}: {one}" for one in found[:FINDINGS_MAX]]
            if len(found) > FINDINGS_MAX:
                lines.append(f"  {name}: {len(found) - FINDINGS_MAX} more")
        if told:
            lines.append(replay_command(self.seed))
        return "\n".join(lines)


def replay_command(seed: int) -> str:
    """What shows a seed again."""
    return f"replay: python -m tests.simulation --seed {seed} -v"


class _BoundedLoop(VirtualTimeLoop):
    """Virtual time whose standing still is noticed too."""

    turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise Stuck(f"{TURNS_MAX} turns of the event loop, and it has not ended")
        super()._run_once()  # type: ignore[misc]  # asyncio's own, which no stub knows


def run_seed(seed: int) -> Result:
    """Run one seed in virtual time."""
    return run_schedule(make_schedule(seed))


def run_schedule(schedule: Schedule) -> Result:
    """Run one schedule in virtual time, then let the checkers look."""
    trace = Trace()
    findings: list[tuple[str, str]] = []
    loop = _BoundedLoop(virtual_s_max=6 * 3600.0)
    loop.set_exception_handler(_complain(findings))
    world: World | None = None
    history: History | None = None

    async def main() -> tuple[World, History]:
        nonlocal world
        world = World(schedule, codec, trace)
        looking = asyncio.create_task(_look(world, findings), name="looking")
        await world.run()
        await looking
        return world, read_history(world)

    with _bounds(schedule), _logs_into(trace), asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            world, history = runner.run(main())
        except Stuck as error:
            findings.append(("no_progress", str(error)))
    if world is not None:
        findings += world.observed.problems
    if history is not None:
        findings += [(name, one) for name, check in CHECKERS.items() for one in check(history)]
    return Result(
        schedule=schedule,
        findings=tuple(findings),
        trace=trace,
        world=world,
        history=history,
        virtual_s=loop.time(),
        turns=loop.turns,
    )


async def _look(world: World, findings: list[tuple[str, str]]) -> None:
    """Audits in the middle: at any moment the marks must be one of the journal's."""
    for n in range(LOOKS):
        await asyncio.sleep(0.07 * 7**n)
        findings += [
            ("tiling", f"after {asyncio.get_running_loop().time():.2f} s: {fault}")
            for where, found in tilings_now(world)
            for fault in faults_of(where, found)
        ]


def _complain(
    findings: list[tuple[str, str]],
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        findings.append(("all_released", f"nobody heard: {context['message']}: {error!r}"))

    return handle


class _NoStacks:
    """Stands in for `traceback`: a stack takes longer than the rest of an attempt."""

    @staticmethod
    def format_exception(error: BaseException) -> list[str]:
        return [repr(error)]


@contextlib.contextmanager
def _bounds(schedule: Schedule) -> Iterator[None]:
    """Bounds so small that small schedules meet them."""
    changes: list[tuple[ModuleType, str, Any]] = [
        (marks, "_RUNS_BYTES_MAX", schedule.bounds.mark_bytes_max),
        (turns, "COMMIT_BYTES_MAX", schedule.bounds.commit_bytes_max),
        (committer, "SETTLED_AT_ONCE", schedule.bounds.settled_at_once),
        (entries, "FINISHED_MAX", schedule.bounds.journal_finished_max),
        (handling, "traceback", _NoStacks),
    ]
    before = [vars(module)[name] for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(changes, before, strict=True):
            setattr(module, name, value)


@contextlib.contextmanager
def _logs_into(trace: Trace) -> Iterator[None]:
    """What workers log is part of the trace, and is not printed."""

    def note(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        event.pop("stack", None)  # has addresses and places in files
        trace("log", event.pop("event"), *(f"{name}={event[name]}" for name in sorted(event)))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[note], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def _everything(world: World) -> Iterator[Any]:
    reader = MemoryLogReader(world.log)
    for topic in sorted(world.log._topics):
        for source in world.log.partitions(topic):
            for batch in reader.read(source, world.log.start(source), world.log.end(source)):
                yield from batch
