"""The same folds in another process, which imports the code anew and hashes text otherwise.

Python hashes text anew in each process unless PYTHONHASHSEED says how; so the order of a set is
another there. Here that seed is given: what differs, differs again under the same seed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from consumers.folds.child import belong_to_parent
from consumers.proving.folding import Part, Prefix, fold_partitions, fold_prefixes
from consumers.proving.interleaving import MergeOrder
from consumers.proving.merging import merge_digests, merge_in
from consumers.proving.subjects import ProjectionSubject, Subject
from streams.errors import AgentlogError, BrokerError
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import Codec

T = TypeVar("T")

HASH_SEED_MAX: Final = 2**32 - 1
_ENDED: Final = (
    "the other process of the proof ended before it answered; what it folds may have ended it, or "
    "the machine is out of memory"
)
_SEED_VARIABLE: Final = "PYTHONHASHSEED"


class Site(NamedTuple):
    """What another process opens for itself; both functions pickle."""

    open_reader: Callable[[], LogReader]
    open_codec: Callable[[], Codec]


class Elsewhere:
    """A process of its own under another hash seed; use it as `with Elsewhere(site, seed) as …`."""

    def __init__(self, site: Site, seed: int) -> None:
        self.hash_seed = other_hash_seed(seed)
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _open, (site,))

    @property
    def name(self) -> str:
        """As a proof calls it."""
        return f"another process, PYTHONHASHSEED={self.hash_seed}"

    def __enter__(self) -> Self:
        with _environment(_SEED_VARIABLE, str(self.hash_seed)):
            self._pid = self._pool.submit(os.getpid)  # the process starts with its first work
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._pid.done() and self._pid.exception() is None:
            with suppress(ProcessLookupError):  # what it folds is of no use any more
                os.kill(self._pid.result(), signal.SIGTERM)
        self._pool.shutdown(cancel_futures=True)

    def fold_partitions(
        self, subject: Subject, ends: Mapping[Partition, int], seed: int
    ) -> Callable[[], dict[Partition, Part]]:
        """Begin what `folding.fold_partitions` does; call what is returned to await the digests."""
        return self._begin(_fold_partitions, subject, ends, seed)

    def fold_prefixes(
        self, subject: Subject, source: Partition, begin: Prefix | None, positions: Sequence[int]
    ) -> list[Prefix]:
        """What `folding.fold_prefixes` comes to there."""
        return self._run(_fold_prefixes, subject, source, begin, positions)

    def merge_digests(
        self, subject: ProjectionSubject, parts: Sequence[bytes], orders: Sequence[MergeOrder]
    ) -> list[str]:
        """What `merging.merge_digests` comes to there."""
        return self._run(_merge_digests, subject, parts, orders)

    def merge_in(
        self, subject: ProjectionSubject, parts: Sequence[bytes], order: MergeOrder
    ) -> Any:
        """What `merging.merge_in` comes to there."""
        return self._run(_merge_in, subject, parts, order)

    def _run(self, call: Callable[..., T], *values: Any) -> T:
        return self._begin(call, *values)()

    def _begin(self, call: Callable[..., T], *values: Any) -> Callable[[], T]:
        try:
            future = self._pool.submit(_answered, call, *values)
        except BrokenProcessPool as error:
            raise AgentlogError(_ENDED) from error
        return lambda: self._answer(future)

    def _answer(self, future: Future[Any]) -> Any:
        try:
            answer = future.result()
        except BrokenProcessPool as error:
            raise AgentlogError(_ENDED) from error
        if isinstance(answer, _Failed):
            raise BrokerError(answer.text) if answer.is_broker else AgentlogError(answer.text)
        return answer


def other_hash_seed(seed: int) -> int:
    """A hash seed that this process does not have."""
    found = seed % HASH_SEED_MAX + 1
    return found if os.environ.get(_SEED_VARIABLE) != str(found) else found % HASH_SEED_MAX + 1


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Failed(NamedTuple):
    """An error of ours as it travels: most have arguments of their own, and do not pickle."""

    text: str
    is_broker: bool


_site: tuple[LogReader, Codec] | None = None


def _open(site: Site) -> None:
    belong_to_parent()
    global _site  # noqa: PLW0603  # a pool's initializer has no other place to put it
    _site = site.open_reader(), site.open_codec()


def _here() -> tuple[LogReader, Codec]:
    assert _site is not None
    return _site


def _answered(call: Callable[..., Any], *values: Any) -> Any:
    try:
        return call(*values)
    except AgentlogError as error:
        return _Failed(str(error), isinstance(error, BrokerError))


def _fold_partitions(
    subject: Subject, ends: Mapping[Partition, int], seed: int
) -> dict[Partition, Part]:
    return fold_partitions(subject, *_here(), ends, seed, keep=False)


def _fold_prefixes(
    subject: Subject, source: Partition, begin: Prefix | None, positions: Sequence[int]
) -> list[Prefix]:
    return fold_prefixes(subject, *_here(), source, begin, positions)


def _merge_digests(
    subject: ProjectionSubject, parts: Sequence[bytes], orders: Sequence[MergeOrder]
) -> list[str]:
    return merge_digests(subject.projection, parts, orders)


def _merge_in(subject: ProjectionSubject, parts: Sequence[bytes], order: MergeOrder) -> Any:
    return merge_in(subject.projection, parts, order)
