"""All ranges of a replay: one after the other, or side by side in threads or processes.

Each way gives states as they are ready, in any order, for merging commutes. No more of them are in
memory than there are threads or processes, and one: a range begins when the one before was taken.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

from consumers.folds.child import belong_to_parent
from consumers.folds.passed import Passed
from consumers.folds.ranges import Range
from streams.errors import AgentlogError
from streams.kafka.reader import KafkaLogReader
from streams.ports import LogReader
from streams.schemas import Codec

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)

TELL_EVERY_S: Final = 0.2
"""Seconds between two tellings of how far ranges in threads or processes are."""


class Fold(Protocol[P_co]):
    """What comes of a range, whatever that is. For processes it must be picklable."""

    def run(
        self, reader: LogReader, codec: Codec, span: Range, on_passed: Callable[[int], None]
    ) -> P_co:
        """Go through a range; `on_passed` is told how many positions were passed, batch by batch.

        Those of `passed_before` count as passed already.
        """
        ...

    def passed_before(self, span: Range) -> int:
        """Positions of a range that an earlier run went through."""
        ...


OnProgress = Callable[[int, int], None]
"""Called with (positions passed, positions in all), again and again."""


def fold_in_turn(
    fold: Fold[P],
    ranges: Sequence[Range],
    reader: LogReader,
    codec: Codec,
    on_progress: OnProgress,
) -> Iterator[P]:
    """In this thread."""
    done, total = _begun(fold, ranges, on_progress)

    def on_passed(positions: int) -> None:
        nonlocal done
        done += positions
        on_progress(done, total)

    for span in ranges:
        yield fold.run(reader, codec, span, on_passed)


def fold_in_threads(
    fold: Fold[P],
    ranges: Sequence[Range],
    many: int,
    reader: LogReader,
    codec: Codec,
    on_progress: OnProgress,
) -> Iterator[P]:
    """In so many threads."""
    passed, pool = Passed(), ThreadPoolExecutor(many)
    return _gathered(
        pool,
        lambda span: pool.submit(fold.run, reader, codec, span, passed.add),
        fold,
        ranges,
        many,
        passed,
        on_progress,
    )


def fold_in_processes(
    fold: Fold[P],
    ranges: Sequence[Range],
    many: int,
    bootstrap_servers: str,
    open_codec: Callable[[], Codec],
    on_progress: OnProgress,
) -> Iterator[P]:
    """In so many processes, each with a reader and a codec of its own.

    Raises `AgentlogError` if one of them is killed.
    """
    context = multiprocessing.get_context("spawn")
    number = context.Value("q", 0)
    pool = ProcessPoolExecutor(
        many, context, _open_process, (bootstrap_servers, open_codec, number)
    )
    passed = Passed(number, number.get_lock())
    try:
        yield from _gathered(
            pool,
            lambda span: pool.submit(_fold_in_process, fold, span),
            fold,
            ranges,
            many,
            passed,
            on_progress,
        )
    except BrokenProcessPool as error:
        raise AgentlogError(
            "a process of this replay was killed, perhaps for its memory: run it again, with a "
            "smaller --processes; what was kept is not folded again"
        ) from error


def _gathered(
    pool: Executor,
    submit: Callable[[Range], Future[P]],
    fold: Fold[P],
    ranges: Sequence[Range],
    many: int,
    passed: Passed,
    on_progress: OnProgress,
) -> Iterator[P]:
    before, total = _begun(fold, ranges, on_progress)
    ahead, running = iter(ranges), set[Future[P]]()
    try:
        while True:
            running |= {submit(span) for span in islice(ahead, many + 1 - len(running))}
            if not running:
                return
            done, running = wait(running, TELL_EVERY_S, FIRST_COMPLETED)
            on_progress(before + passed.positions, total)
            while done:
                yield done.pop().result()
    finally:
        passed.stop()  # if somebody failed: what the others do is of no use
        pool.shutdown(cancel_futures=True)


def _begun(fold: Fold[P], ranges: Sequence[Range], on_progress: OnProgress) -> tuple[int, int]:
    """What was passed before, and what there is in all; told first, so that no rate counts it."""
    before = sum(map(fold.passed_before, ranges))
    total = sum(span.positions for span in ranges)
    on_progress(before, total)
    return before, total


_process: tuple[LogReader, Codec, Passed] | None = None


def _open_process(bootstrap_servers: str, open_codec: Callable[[], Codec], number: Any) -> None:
    """Once per process: its own reader and codec."""
    belong_to_parent()
    global _process  # noqa: PLW0603  # a pool's initializer has no other place to put it
    passed = Passed(number, number.get_lock())
    _process = (KafkaLogReader(bootstrap_servers), open_codec(), passed)


def _fold_in_process(fold: Fold[P], span: Range) -> P:
    assert _process is not None
    reader, codec, passed = _process
    return fold.run(reader, codec, span, passed.add)
