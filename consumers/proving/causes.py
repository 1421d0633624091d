"""Why two folds of a partition came to different states, and at which record.

The partition is folded again by pairs of ways that differ in one thing only. The first pair that
does not agree names the cause, and bisection the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from consumers.proving.divergence import Way, described, first_divergence
from consumers.proving.elsewhere import Elsewhere
from consumers.proving.faults import Fault, listed
from consumers.proving.folding import Part, fold_prefixes, fold_to
from consumers.proving.storing import unkept
from consumers.proving.subjects import StreamsSubject, Subject
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import Codec

NOT_STORABLE: Final = "not_storable"


class _Trial(NamedTuple):
    """Two ways to fold, and what it means if they differ."""

    kind: str
    means: str
    names: tuple[str, str]
    ways: tuple[Way, Way]


class Causes:
    """Looks for causes on one log."""

    def __init__(self, reader: LogReader, codec: Codec, elsewhere: Elsewhere) -> None:
        self._reader = reader
        self._codec = codec
        self._elsewhere = elsewhere

    def of_difference(
        self, subject: Subject, source: Partition, here: Part, there: Part, end: int
    ) -> Fault:
        """What is wrong with a partition of which two folds are not alike, or that one of them
        failed on.
        """
        failed = next((part for part in (here, there) if part.failed), None)
        kind, _, text = failed.failed.partition(": ") if failed is not None else ("", "", "")
        if isinstance(subject, StreamsSubject):
            subject, end = _narrowed(subject, failed, end)
        if kind != "StreamBroken" and (fault := self.of_two_folds(subject, source, end)):
            return fault
        if kind == "StateDiffers":
            text += "; evolve gives the same each time: it is not the code that decided then"
        if failed is None:
            kind = "unsteady"
            text = (
                "folds came to different states, and not when they were tried again: what the code "
                "does there hangs on chance, or on what was folded before"
            )
        return Fault(kind=_KINDS.get(kind, "fold_failed"), where=str(source), detail=text)

    def of_two_folds(self, subject: Subject, source: Partition, end: int) -> Fault | None:
        """The first pair of ways that part below `end`, and the record; None if all agree."""
        for trial in self._trials(subject):
            found = first_divergence(*trial.ways, source, end)
            if found is not None:
                what = "the state that initial() gives" if found.is_initial else "the state"
                differing, more = found.differences, found.more
                if trial.kind == NOT_STORABLE:
                    made = fold_to(subject, self._reader, self._codec, source, found.before)
                    differing, more = listed(unkept(made))
                return Fault(
                    kind=trial.kind,
                    where=described(found, self._reader, self._codec),
                    detail=f"{what} {trial.means}",
                    one=trial.names[0],
                    other=trial.names[1],
                    differences=differing,
                    more=more,
                )
        return None

    def _trials(self, subject: Subject) -> Iterator[_Trial]:
        plain: Way = partial(fold_prefixes, subject, self._reader, self._codec)
        strict: Way = partial(fold_prefixes, subject, self._reader, self._codec, strict=True)
        away: Way = partial(self._elsewhere.fold_prefixes, subject)
        yield _Trial(
            "not_repeatable",
            "is not the same twice in one process: the code reads a clock, draws at random, or "
            "remembers something",
            ("one fold", "the same once more"),
            (plain, plain),
        )
        yield _Trial(
            "hash_order",
            "is another in a process with another hash seed: it hangs on the order of a set, or on "
            "what the process has seen before",
            ("this process", self._elsewhere.name),
            (plain, away),
        )
        yield _Trial(
            NOT_STORABLE,
            "holds what CBOR does not keep: a fold that was stored and goes on sees another state",
            ("as the code made it", "stored and read back"),
            (plain, strict),
        )


_KINDS: Final = {
    "StateDiffers": "state_differs",
    "StreamBroken": "stream_broken",
    "unsteady": "unsteady",
}


def _narrowed(subject: StreamsSubject, failed: Part | None, end: int) -> tuple[StreamsSubject, int]:
    """The stream that failed, up to the event that it failed on; unverified, so as to go on."""
    if failed is None or failed.failed_key is None or failed.failed_at is None:
        return StreamsSubject(subject.open_aggregates, verify=False), end
    return subject.of_stream(failed.failed_key.decode()), failed.failed_at + 1
