"""Mutations: the worker broken on purpose, one way at a time, to see that a checker notices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import pytest

from consumers.journal import entries
from consumers.retry import RetryPolicy
from consumers.worker import assignment, core, endings, quarantine, tracking
from consumers.worker.duplicates import RecentRecords
from consumers.worker.memory import MemorySource, MemoryTransactions
from consumers.worker.ports import Committed
from streams.memory import GroupMetadata, MemoryLog
from tests.simulation.world import Unforeseen

Patch = pytest.MonkeyPatch


def fresh_metadata(patch: Patch) -> None:
    """Positions are sent with the group metadata of now, not of the assignment (H3)."""
    send = MemoryLog.send_positions

    def send_positions(log: MemoryLog, producer: Any, metadata: GroupMetadata, marks: Any) -> None:
        member = log.group(metadata.group)._members.get(metadata.member_id)
        epoch = member.epoch if member is not None else metadata.epoch
        send(log, producer, msgspec.structs.replace(metadata, epoch=epoch), marks)

    patch.setattr(MemoryLog, "send_positions", send_positions)


def no_mark(patch: Patch) -> None:
    """Commits do not say what is finished beyond the position."""
    mark = assignment.Assignment.mark
    patch.setattr(
        assignment.Assignment,
        "mark",
        lambda self, selection: msgspec.structs.replace(mark(self, selection), finished=()),
    )


def lost_output(patch: Patch) -> None:
    """The last output of some records is forgotten."""
    handled = endings.Endings.handled

    def forgets(self: Any, delivery: Any, opened: Any, outputs: Any) -> list[Any]:
        found = handled(self, delivery, opened, outputs)
        return found[:-1] if delivery.record.position % 4 == 0 else found

    patch.setattr(endings.Endings, "handled", forgets)


def keyless(patch: Patch) -> None:
    """Records of a key run side by side."""
    patch.setattr(core, "_lane_key", lambda *_: None)


def forgotten_retry(patch: Patch) -> None:
    """A record that waits for its next attempt never gets it."""
    patch.setattr(core.Core, "due", lambda *_: True)


def unknown_as_yes(patch: Patch) -> None:
    """A commit without an answer counts as one that happened (H7)."""
    _unknown_as(patch, Committed.YES)


def unknown_as_no(patch: Patch) -> None:
    """A commit without an answer counts as one that did not (H7)."""
    _unknown_as(patch, Committed.NO)


def _unknown_as(patch: Patch, result: Committed) -> None:
    unknown = MemoryTransactions._unknown

    async def pretends(self: MemoryTransactions, cause: Any) -> Committed:
        await unknown(self, cause)
        return result

    patch.setattr(MemoryTransactions, "_unknown", pretends)


def unstable_positions(patch: Patch) -> None:
    """A new owner does not wait for the transaction that its predecessor left open (H5)."""
    committed = MemoryLog.committed
    patch.setattr(
        MemoryLog,
        "committed",
        lambda self, group, sources, **_: committed(self, group, sources, stable=False),
    )


def dirty_reads(patch: Patch) -> None:
    """Workers read what was aborted, and what may be."""
    fetch = MemoryLog.fetch

    def fetch_dirty(self: MemorySource, source: Any, owned: Any, count_max: int) -> Any:
        found = fetch(self._log, source, owned.position, count_max=count_max, committed=False)
        owned.position = found.position
        return found.records

    patch.setattr(MemorySource, "_fetch", fetch_dirty)


def no_quarantine(patch: Patch) -> None:
    """Nobody suspects a record, however many owners die (H11)."""
    patch.setattr(quarantine.Quarantine, "add", lambda _, one, *__: setattr(one, "careful", 0))


def blames(patch: Patch) -> None:
    """Others run while the log has the start of a record and not its end (H11)."""

    def forgets(self: quarantine.Quarantine, one: assignment.Assignment) -> None:
        self.running = self._started = None
        self.unstart(one)

    patch.setattr(quarantine.Quarantine, "_stands_still", forgets)


def leaking_window(patch: Patch) -> None:
    """Records that were given up stay in the window."""
    give_up = core.Core.give_up

    def leaks(self: core.Core, sources: Any) -> None:
        release, self._release = self._release, lambda *_: None
        give_up(self, sources)
        self._release = release

    patch.setattr(core.Core, "give_up", leaks)


def impatient(patch: Patch) -> None:
    """Dead letters come one attempt early."""
    wait_after = RetryPolicy.wait_after
    patch.setattr(
        RetryPolicy,
        "wait_after",
        lambda self, attempt, error, lot: wait_after(self, attempt + 1, error, lot),
    )


def forgets_repetitions(patch: Patch) -> None:
    """What repeats is not recognised."""
    patch.setattr(RecentRecords, "seen", lambda *_: False)


def lost_part(patch: Patch) -> None:
    """Of a journal that comes in parts the last one is not written."""
    parts = entries._parts

    def loses(commit: Any) -> Any:
        found = list(parts(commit))
        return found[:-1] if len(found) > 1 else found

    patch.setattr(entries, "_parts", loses)


def repeats_run(patch: Patch) -> None:
    """What the client hands over again is run again (H14)."""
    admit = tracking.PartitionTracker.admit

    def admits(self: Any, position: int) -> int | None:
        self.read_to = min(self.read_to, position)
        return admit(self, position)

    patch.setattr(tracking.PartitionTracker, "admit", admits)


def raised_as_finished(patch: Patch) -> None:
    """What a commit held that raised counts as finished when its worker drains."""
    give_up = core.Core.give_up

    def keeps(self: core.Core, sources: Any) -> None:
        if not isinstance(sys.exc_info()[1], Unforeseen):
            give_up(self, sources)

    patch.setattr(core.Core, "give_up", keeps)


MUTATIONS: Final[Mapping[str, tuple[Callable[[Patch], None], str, int]]] = {
    mutate.__name__: (mutate, checker, start)
    for mutate, checker, start in (
        (fresh_metadata, "tiling", 50),
        (no_mark, "no_duplicate_effect", 0),
        (lost_output, "no_loss", 0),
        (keyless, "key_order", 0),
        (forgotten_retry, "no_progress", 0),
        (unknown_as_yes, "no_loss", 0),
        (unknown_as_no, "no_duplicate_effect", 80),
        (unstable_positions, "tiling", 100),
        (dirty_reads, "tiling", 0),
        (no_quarantine, "dead_letters", 0),
        (blames, "dead_letters", 0),
        (leaking_window, "all_released", 0),
        (impatient, "dead_letters", 0),
        (forgets_repetitions, "no_duplicate_effect", 0),
        (raised_as_finished, "tiling", 0),
        (lost_part, "tiling", 0),
        (repeats_run, "no_duplicate_effect", 0),
    )
}
"""What is broken, the checker that must notice, and a seed from which on it soon does."""
