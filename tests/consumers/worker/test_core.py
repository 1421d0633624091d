"""The worker's decisions, without threads, clock or Kafka."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import marks
from consumers.journal import journal_payload
from consumers.journal.outcomes import HANDLED, Output, Settled
from consumers.journal.tiling import Tiling
from consumers.marks import Mark
from consumers.window import Window
from consumers.worker import turns
from consumers.worker.assignment import CommitPart, Delivery, record_size
from consumers.worker.core import Core
from consumers.worker.lanes import Gate
from streams.headers import CE_ID, ORIGIN, PRIORITY, REDRIVE, REDRIVE_FOR, REPLAY_OF, TYPE, Header
from streams.record import Partition, Record

SOURCE = Partition("ns.tasks", 0)
OTHER = Partition("ns.tasks", 1)
MB = 1024 * 1024


def record(
    position: int,
    key: bytes | None = b"k",
    source: Partition = SOURCE,
    headers: Sequence[Header] = (),
) -> Record:
    return Record(source.topic, source.index, position, 1_000, key, b"value", tuple(headers))


class Fixture:
    """A core, the window that its source would fill, and what is on the log."""

    def __init__(
        self, running_max: int = 100, *, dedup_window: int = 0, in_flight_max: int = 10_000
    ) -> None:
        self.window = Window(1000, 64 * MB)
        self.gates: dict[bytes, tuple[Gate, ...]] = {}
        self.core = Core(
            running_max,
            self.window.release,
            gates=lambda type_name: self.gates.get(type_name, ()),
            dedup_window=dedup_window,
            in_flight_max=in_flight_max,
        )
        self.log: dict[Partition, Mark] = {}
        """The committed positions and their marks."""

    def assign(
        self,
        token: int,
        source: Partition = SOURCE,
        mark: Mark | None = None,
        *,
        metadata: str = "m",
        opened: bool = True,
    ) -> None:
        """It became ours; as a rule its opening is committed at once."""
        mark = mark or self.log.get(source, Mark(0))
        self.core.assigned(token, source, mark.position, mark.encode(), metadata)
        if opened:
            self.commit()

    def deliver(self, token: int, *records: Record) -> None:
        self.window.take(len(records), sum(map(record_size, records)))
        self.core.delivered(token, records)

    def take(self) -> int | None:
        """The position of what may run now, which stays in its handler."""
        delivery = self.core.take()
        return None if delivery is None else delivery.record.position

    def start(self) -> Delivery:
        """What may run now, in its handler."""
        delivery = self.core.take()
        assert delivery is not None
        return delivery

    def run(self) -> list[int]:
        """Everything that may run, runs and finishes."""
        ran = []
        while (delivery := self.core.take()) is not None:
            ran.append(delivery.record.position)
            self.finish(delivery)
        return ran

    def finish(self, delivery: Delivery, output_size: int = 0) -> None:
        one = delivery.record
        outputs = (Output("ns.events", b"k", bytes(output_size), []),) if output_size else ()
        settled = Settled(one.position, 1_000, record_size(one), HANDLED, "id", outputs)
        self.core.finished(delivery, settled)

    def commit(self, *, also_idle: bool = False) -> dict[Partition, Mark]:
        """One transaction that succeeds: the marks in it."""
        parts = self.core.next_commit(also_idle=also_idle)
        self.core.committed(parts)
        made = {part.commit.source: part.mark for part in parts}
        self.log |= made
        return made

    def die(self) -> Fixture:
        """The process ends without a word; the next one knows what is on the log."""
        after = Fixture(self.core.lanes.running_max)
        after.log = dict(self.log)
        return after


# --- opening -------------------------------------------------------------------------------------


def test_h11_nothing_runs_before_its_assignment_is_opened() -> None:
    """The log says first that the partition has an owner who has not given it up."""
    box = Fixture()
    box.assign(1, opened=False)
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    assert (box.take(), box.core.waiting) == (None, 2)
    assert box.core.settled_of()
    (part,) = box.core.next_commit()
    assert part.empty
    assert part.mark == Mark(0, clean=False)
    assert box.take() is None
    box.core.committed([part])
    assert not box.core.settled_of()
    assert box.run() == [0, 1]


def test_h11_an_opening_that_was_aborted_is_made_again() -> None:
    """Until then nothing runs."""
    box = Fixture()
    box.assign(1, opened=False)
    box.deliver(1, record(0))
    box.core.aborted(box.core.next_commit())
    assert box.take() is None
    assert box.core.settled_of()
    box.commit()
    assert box.run() == [0]


def test_one_partition_that_is_not_open_holds_up_no_other() -> None:
    """Each waits for its own mark."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0))
    box.assign(2, OTHER, opened=False)
    box.deliver(2, record(0, source=OTHER))
    assert box.start().assignment.source == SOURCE
    assert box.take() is None


# --- commits -------------------------------------------------------------------------------------


def test_what_finished_is_committed_wherever_it_lies() -> None:
    """The position goes as far as all is finished, the mark has the rest, and room comes back."""
    box = Fixture()
    box.assign(1, mark=Mark(5))
    box.deliver(1, record(5, b"a"), record(6, b"b"), record(9, b"c"))
    first, second, third = box.start(), box.start(), box.start()
    box.finish(third)
    (part,) = box.core.next_commit()
    assert (part.commit.prefix_from, part.commit.prefix_to) == (5, 5)
    assert [one.position for one in part.commit.settled] == [9]
    assert part.mark == Mark(5, ((7, 10),), clean=False)
    box.core.committed([part])
    assert box.window.count == 2
    box.finish(first)
    assert box.commit() == {SOURCE: Mark(6, ((7, 10),), clean=False)}
    box.finish(second)
    assert box.commit() == {SOURCE: Mark(10, clean=False)}
    assert (box.window.count, box.window.size) == (0, 0)


def test_a_new_owner_runs_only_what_was_not_finished() -> None:
    """The mark says what was; the room of the rest is given back at once."""
    box = Fixture()
    box.assign(1, mark=Mark(5, ((7, 10),)))
    box.deliver(1, *(record(position, b"%d" % position) for position in (5, 6, 9, 10)))
    assert box.window.count == 3
    assert box.run() == [5, 6, 10]
    assert box.commit() == {SOURCE: Mark(11, clean=False)}
    assert (box.window.count, box.window.size) == (0, 0)


def test_h03_each_assignment_commits_under_its_own_metadata() -> None:
    """A partition that came later does not refresh what an earlier one commits with."""
    box = Fixture()
    box.assign(1, metadata="generation 1")
    box.assign(2, OTHER, metadata="generation 2")
    box.deliver(1, record(0))
    box.deliver(2, record(0, source=OTHER))
    box.run()
    metadata = {p.commit.source: p.assignment.metadata for p in box.core.next_commit()}
    assert metadata == {SOURCE: "generation 1", OTHER: "generation 2"}


def test_h04_after_an_abort_what_still_stands_goes_into_the_next_commit() -> None:
    """Results of a partition that was lost meanwhile are dropped, the others are not run again."""
    box = Fixture()
    box.assign(1)
    box.assign(2, OTHER)
    box.deliver(1, record(0), record(1))
    box.deliver(2, record(0, source=OTHER))
    box.run()
    parts = box.core.next_commit()
    box.core.give_up([OTHER])
    box.core.aborted(parts)
    (part,) = box.core.next_commit()
    assert part.commit.source == SOURCE
    assert [one.position for one in part.commit.settled] == [0, 1]
    assert box.take() is None
    box.core.committed([part])
    assert box.window.count == 0


def test_h04_results_that_finish_during_an_aborted_commit_join_the_next() -> None:
    """It has both, in position order, from the old position on."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0), record(1))
    box.finish(box.start())
    parts = box.core.next_commit()
    box.run()
    box.core.aborted(parts)
    (part,) = box.core.next_commit()
    assert [one.position for one in part.commit.settled] == [0, 1]
    assert (part.commit.prefix_from, part.commit.prefix_to) == (0, 2)


def test_h07_after_an_unknown_outcome_the_partitions_are_given_up_and_reloaded() -> None:
    """Neither results nor records of before count; only what the committed position says."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0), record(1), record(2))
    box.finish(box.start())
    parts = box.core.next_commit()
    assert box.core.unknown(parts) == [SOURCE]
    assert box.take() is None
    box.deliver(1, record(3))
    assert box.window.count == 0
    box.assign(2, mark=Mark(1, clean=False))
    box.deliver(2, record(1), record(2))
    assert box.run() == [1, 2]


def test_positions_over_invisible_records_alone_commit_when_idle() -> None:
    """They wait for something to commit with, until asked for."""
    box = Fixture()
    box.assign(1, mark=Mark(3))
    box.core.read_to(1, 7)
    assert box.core.next_commit() == []
    (part,) = box.core.next_commit(also_idle=True)
    assert (part.commit.prefix_from, part.commit.prefix_to, part.commit.settled) == (3, 7, [])
    assert not part.empty
    box.core.committed([part])
    assert box.core.next_commit(also_idle=True) == []


def test_a_commit_is_bounded_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs count towards the window and the commit; prefixes chain, nothing is left out."""
    monkeypatch.setattr(turns, "COMMIT_BYTES_MAX", 250)
    box = Fixture()
    box.assign(1)
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(5)))
    held = box.window.size
    sizes = [100, 100, 100, 400, 10]
    while (delivery := box.core.take()) is not None:
        box.finish(delivery, sizes[delivery.record.position])
    assert box.window.size == held + sum(sizes)
    seen = []
    while box.core.settled_of() and (parts := box.core.next_commit()):
        (part,) = parts
        commit = part.commit
        seen.append((commit.prefix_from, commit.prefix_to, len(commit.settled)))
        box.core.committed(parts)
    assert seen == [(0, 2, 2), (2, 3, 1), (3, 4, 1), (4, 5, 1)]
    assert (box.window.count, box.window.size) == (0, 0)


def test_what_a_bounded_commit_left_goes_behind_what_an_abort_gave_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an abort the same records come again, in order."""
    monkeypatch.setattr(turns, "COMMIT_BYTES_MAX", 10)
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    while (delivery := box.core.take()) is not None:
        box.finish(delivery, 10)
    box.core.aborted(box.core.next_commit())
    (again,) = box.core.next_commit()
    assert [one.position for one in again.commit.settled] == [0]
    assert again.commit.prefix_to == 1


def test_results_that_no_mark_has_room_for_take_no_room_from_other_partitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And are nothing that a commit could take now: who asks until all is settled is done."""
    monkeypatch.setattr(turns, "COMMIT_BYTES_MAX", 250)
    monkeypatch.setattr(marks, "_RUNS_BYTES_MAX", 4)
    box = Fixture()
    box.assign(1, mark=Mark(0, finished=((2, 3), (4, 5))))
    box.assign(2, OTHER)
    box.deliver(1, *(record(n, b"k%d" % n) for n in (0, 1, 3, 5, 7, 9)))
    box.deliver(2, record(0, b"other", OTHER))
    while (delivery := box.core.take()) is not None:
        if delivery.record.source == OTHER or delivery.record.position >= 7:
            box.finish(delivery, 200)
    (part,) = box.core.next_commit()
    assert part.assignment.source == OTHER
    box.core.committed([part])
    assert box.core.next_commit() == []
    assert not box.core.settled_of()


def test_partitions_take_turns_where_one_commit_has_no_room_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However much the first ones have to say, the last are served after as many commits."""
    monkeypatch.setattr(turns, "COMMIT_BYTES_MAX", 250)
    box = Fixture()
    sources = [Partition("ns.tasks", index) for index in range(4)]
    for token, source in enumerate(sources, 1):
        box.assign(token, source)
    position = dict.fromkeys(sources, 0)

    def more() -> None:
        """Each always has three outputs more than a commit takes."""
        for token, source in enumerate(sources, 1):
            while position[source] - box.log[source].position < 3:
                at = position[source]
                box.deliver(token, record(at, b"%d" % at, source))
                position[source] = at + 1
        while (delivery := box.core.take()) is not None:
            box.finish(delivery, 100)

    served: list[list[int]] = []
    for _ in range(8):
        more()
        parts = box.core.next_commit()
        if len(served) == 3:  # whoever is aborted has had its turn: the others are not held up
            box.core.aborted(parts)
            served.append([])
            continue
        box.core.committed(parts)
        box.log |= {part.commit.source: part.mark for part in parts}
        served.append([one.commit.source.index for one in parts if one.commit.settled])
    assert served == [[0], [1], [2], [], [0], [1], [2], [3]]


# --- a full mark ---------------------------------------------------------------------------------


def test_h10_what_the_mark_has_no_room_for_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays for later commits; nothing is asked for in vain; a long queue is read no further."""
    monkeypatch.setattr(marks, "_RUNS_BYTES_MAX", 8)
    box = Fixture(in_flight_max=80)
    box.assign(1)
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(40)))
    running = [box.start() for _ in range(40)]
    for delivery in running[1::2]:
        box.finish(delivery)
    assert box.core.held() == set()
    while box.commit():
        pass
    assert box.log[SOURCE] == Mark(0, ((1, 2), (3, 4), (5, 6), (7, 8)), clean=False)
    assert (box.core.settled_of(), box.core.held()) == (False, {SOURCE})
    for delivery in running[0:20:2]:
        box.finish(delivery)
    while box.commit():
        pass
    assert box.core.held() == set()
    for delivery in running[20::2]:
        box.finish(delivery)
    while box.commit():
        pass
    assert box.log[SOURCE] == Mark(40, clean=False)
    assert (box.window.count, box.window.size) == (0, 0)


def test_h10_a_full_mark_holds_up_no_other_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left of one, the others commit."""
    monkeypatch.setattr(marks, "_RUNS_BYTES_MAX", 0)
    box = Fixture()
    box.assign(1)
    box.assign(2, OTHER)
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    box.deliver(2, record(0, b"c", OTHER))
    _, second = box.start(), box.start()
    box.finish(second)
    box.run()
    assert box.commit() == {OTHER: Mark(1, clean=False)}
    assert box.core.held() == set()  # it holds little of the window


# --- giving up -----------------------------------------------------------------------------------


def test_a_lost_partition_leaves_nothing_behind() -> None:
    """What waits is dropped, what runs finishes into nothing, the window is free."""
    box = Fixture(running_max=1)
    box.assign(1)
    box.deliver(1, record(0), record(1))
    running = box.start()
    box.core.give_up([SOURCE])
    assert (box.window.count, box.window.size) == (0, 0)
    box.finish(running, 10)
    assert (box.window.count, box.window.size) == (0, 0)
    assert box.core.next_commit(also_idle=True) == []
    assert box.take() is None
    assert box.core.lanes.running == 0


def test_a_key_stays_serial_across_losing_and_getting_back_its_partition() -> None:
    """The handler of before still runs: the record waits for it, in this process."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0))
    old = box.start()
    box.core.give_up([SOURCE])
    box.assign(2)
    box.deliver(2, record(0))
    assert box.take() is None
    box.finish(old)
    assert box.run() == [0]


def test_a_stopping_partition_starts_nothing_and_commits_what_ran() -> None:
    """Others go on."""
    box = Fixture(running_max=2)
    box.assign(1)
    box.assign(2, OTHER)
    box.deliver(1, record(0), record(1))
    running = box.start()
    box.core.stop([SOURCE])
    box.deliver(1, record(2))
    box.deliver(2, record(0, source=OTHER, key=b"o"))
    assert box.run() == [0]
    assert box.core.running([SOURCE]) == box.core.running() == 1
    box.finish(running)
    assert box.core.running([SOURCE]) == 0
    prefixes = {p.commit.source: p.commit.prefix_to for p in box.core.next_commit()}
    assert prefixes == {SOURCE: 1, OTHER: 1}


def test_h11_a_partition_that_is_left_in_order_says_so() -> None:
    """Its last commit is clean: the next owner counts no further death, and forgets none."""
    box = Fixture()
    box.assign(1, mark=Mark(0, clean=False, takeovers=1))
    box.deliver(1, record(0), record(1))
    running = box.start()
    box.core.stop([SOURCE])
    box.finish(running)
    box.core.leave([SOURCE])
    assert box.core.settled_of([SOURCE])
    assert box.commit()[SOURCE].clean
    assert not box.core.settled_of([SOURCE])
    after = box.die()
    after.assign(1)
    assert after.log[SOURCE] == Mark(1, clean=False, takeovers=2)


def test_h11_what_was_never_opened_is_left_as_it_was() -> None:
    """Its last owner died: whoever comes next must hear of it."""
    box = Fixture()
    box.assign(1, mark=Mark(0, clean=False, takeovers=1), opened=False)
    box.core.stop([SOURCE])
    box.core.leave([SOURCE])
    assert not box.core.settled_of([SOURCE])
    assert box.commit(also_idle=True) == {}


def test_a_parked_record_runs_again_unless_its_partition_has_gone() -> None:
    """It keeps its key while it waits, and nothing else."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0), record(1))
    failed = box.start()
    box.core.parked(failed)
    assert (box.take(), box.core.running(), box.core.oldest()) == (None, 0, failed.record)
    assert box.core.due(failed)
    assert box.start() is failed
    box.core.parked(failed)
    box.core.give_up([SOURCE])
    assert not box.core.due(failed)
    assert (box.window.count, box.core.oldest()) == (0, None)


def test_a_record_without_an_outcome_holds_the_position() -> None:
    """It was interrupted: its partition's next owner runs it."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    box.core.finished(box.start(), None)
    box.run()
    assert box.commit() == {SOURCE: Mark(0, ((1, 2),), clean=False)}


def test_what_waits_longest_is_known() -> None:
    """Also while its partition is not open."""
    box = Fixture()
    box.assign(1, opened=False)
    assert box.core.oldest() is None
    box.deliver(1, record(7))
    assert box.core.oldest() == record(7)


# --- what headers say ----------------------------------------------------------------------------


def test_s3_05_the_header_says_how_urgent_a_record_is() -> None:
    """What is no priority counts as the default."""
    box = Fixture()
    box.assign(1, opened=False)
    said = [b"1", b"5", b"high", None, b"4"]
    headers = [((PRIORITY, one),) for one in said]
    box.deliver(
        1,
        *(
            record(n, b"k%d" % n, headers=found)  # type: ignore[arg-type]
            for n, found in enumerate(headers)
        ),
    )
    box.commit()
    assert box.run() == [1, 4, 2, 3, 0]


def test_gates_limit_the_records_of_a_type() -> None:
    """Whether they come before or after their partition is open."""
    box = Fixture()
    box.gates = {b"Slow": (Gate(1),)}
    box.assign(1, opened=False)
    slow: list[Header] = [(TYPE, b"Slow")]
    box.deliver(1, record(0, b"a", headers=slow), record(1, b"b", headers=slow))
    box.commit()
    box.deliver(1, record(2, b"c", headers=slow), record(3, b"d"))
    first = box.start()
    assert (box.take(), box.take()) == (3, None)
    box.finish(first)
    assert (box.take(), box.take()) == (1, None)


def named(position: int, *headers: Header, name: bytes = b"id", key: bytes = b"k") -> Record:
    return record(position, key, headers=[(CE_ID, name), *headers])


def duplicates(box: Fixture) -> dict[int, bool]:
    found = {}
    while (delivery := box.core.take()) is not None:
        found[delivery.record.position] = delivery.duplicate
        assert delivery.odd or not delivery.duplicate
        box.finish(delivery)
    return found


def test_a_record_that_repeats_one_before_it_is_told() -> None:
    """By id, key and redrive; what names itself in no header repeats nothing."""
    box = Fixture(dedup_window=100)
    box.assign(1)
    box.deliver(
        1,
        named(0),
        named(1),
        named(2, key=b"other"),
        named(3, (REDRIVE, b"1")),
        named(4, (REDRIVE, b"1")),
        record(5),
        record(6),
        named(7, name=b""),
        named(8, name=b""),
    )
    assert [p for p, repeats in sorted(duplicates(box).items()) if repeats] == [1, 4]


def test_what_another_owner_finished_counts_for_repetitions() -> None:
    """Records below the position are history, those that a mark spares were seen too."""
    box = Fixture(dedup_window=100)
    box.assign(1, mark=Mark(10, ((11, 12),)))
    box.deliver(1, named(8, name=b"history"), named(9, name=b"other"))
    assert (box.take(), box.window.count) == (None, 0)
    box.deliver(
        1,
        named(10, name=b"history"),
        named(11, name=b"finished"),
        named(12, name=b"finished"),
        named(13, name=b"fresh"),
    )
    assert duplicates(box) == {10: True, 12: True, 13: False}
    assert box.commit() == {SOURCE: Mark(14, clean=False)}
    assert (box.window.count, box.window.size) == (0, 0)


def test_imports_are_no_work_that_a_live_record_could_repeat() -> None:
    """Nor do they repeat each other, for apps that run them."""
    box = Fixture(dedup_window=100)
    box.assign(1)
    box.deliver(1, named(0, (ORIGIN, b"import:old")), named(1), named(2, (ORIGIN, b"import:old")))
    assert not any(duplicates(box).values())


def test_s5_06_one_dead_letter_may_be_redriven_for_each_of_two_groups() -> None:
    """The first redrive is for another group: ours is no repetition of it."""
    box = Fixture(dedup_window=100)
    box.assign(1)
    for_a, for_b = (REDRIVE_FOR, b"ns.a"), (REDRIVE_FOR, b"ns.b")
    box.deliver(
        1,
        named(0),
        named(1, (REDRIVE, b"1"), for_b),
        named(2, (REDRIVE, b"1"), for_a),
        named(3, (REDRIVE, b"1"), for_a),
    )
    assert duplicates(box) == {0: False, 1: False, 2: False, 3: True}


@pytest.mark.parametrize("name", [REDRIVE, REDRIVE_FOR, REPLAY_OF])
def test_a_record_whose_headers_may_end_it_is_marked_as_odd(name: str) -> None:
    """All others are opened without a look at their headers."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0, b"a", headers=[(name, b"x")]), record(1, b"b", headers=[(TYPE, b"x")]))
    assert [box.start().odd, box.start().odd] == [True, False]


def test_headers_without_a_value_are_no_surprise() -> None:
    """Foreign producers may write them."""
    box = Fixture(dedup_window=10)
    box.assign(1)
    names = (CE_ID, ORIGIN, PRIORITY, TYPE, REDRIVE, REDRIVE_FOR)
    box.deliver(1, record(0, headers=[(name, None) for name in names]))  # type: ignore[misc]
    assert box.run() == [0]


# --- any schedule --------------------------------------------------------------------------------


class Schedule:
    """Random runs, aborts, unknown outcomes and losses against a model of the committed log."""

    def __init__(self, seed: int, *, deaths: bool) -> None:
        self.rng = rng = random.Random(seed)
        size = rng.randrange(40)
        positions = [2 * n + rng.randrange(2) for n in range(size)]
        self.log = [record(position, b"k%d" % rng.randrange(4)) for position in positions]
        self.box = Fixture(running_max=rng.randrange(1, 6))
        self.mark = Mark(0)
        self.delivered = self.token = 0
        self.effects: list[int] = []
        self.tiling = Tiling()
        self.running: list[Delivery] = []
        self.parked: list[Delivery] = []
        self.owned = False
        self.deaths = deaths

    @property
    def end(self) -> int:
        return self.log[-1].position + 1 if self.log else 0

    @property
    def done(self) -> bool:
        return self.mark.position == self.end and not self.running

    def step(self, *, calm: bool) -> None:
        """One thing happens; nothing bad does while it is calm."""
        if not self.owned:
            self.token += 1
            self.box.core.assigned(self.token, SOURCE, self.mark.position, self.mark.encode(), "m")
            self.owned = True
            self.delivered = sum(one.position < self.mark.position for one in self.log)
        actions = [self.deliver, self.take, self.take, self.finish, self.finish, self.commit]
        bad = [self.abort, self.lose_the_answer, self.park, self.leave]
        if self.deaths:
            bad += [self.lose_the_partition, self.crash]
        self.rng.choice(actions if calm else [*actions, self.rng.choice(bad)])()
        while calm and self.parked:
            self.unpark()
        self.check()

    def deliver(self) -> None:
        batch = self.log[self.delivered : self.delivered + self.rng.randrange(1, 6)]
        self.box.deliver(self.token, *batch)
        self.delivered += len(batch)
        if not batch:
            self.box.core.read_to(self.token, self.end)

    def take(self) -> None:
        if (delivery := self.box.core.take()) is not None:
            assert not delivery.crashed or self.deaths
            self.running.append(delivery)

    def finish(self) -> None:
        if self.running:
            size = self.rng.choice((0, 0, 50))
            self.box.finish(self.running.pop(self.rng.randrange(len(self.running))), size)

    def park(self) -> None:
        if self.running:
            delivery = self.running.pop(self.rng.randrange(len(self.running)))
            if delivery.assignment.live:
                self.box.core.parked(delivery)
                self.parked.append(delivery)
            else:  # nobody waits for another attempt of it
                self.box.core.finished(delivery, None)
        elif self.parked:
            self.unpark()

    def unpark(self) -> None:
        self.box.core.due(self.parked.pop(self.rng.randrange(len(self.parked))))

    def commit(self) -> None:
        parts = self.box.core.next_commit(also_idle=self.rng.random() < 0.3)
        self.happen(parts)
        self.box.core.committed(parts)

    def happen(self, parts: list[CommitPart]) -> None:
        for part in parts:
            self.mark = Mark.decode(part.mark.position, part.mark.encode())
            assert self.mark == part.mark
            if not part.empty:
                self.tiling.add(journal_payload("g", part.commit))
            self.effects += [one.position for one in part.commit.settled]

    def abort(self) -> None:
        self.box.core.aborted(self.box.core.next_commit())

    def lose_the_answer(self) -> None:
        if parts := self.box.core.next_commit():
            if self.rng.random() < 0.5:
                self.happen(parts)
            assert self.box.core.unknown(parts) == [SOURCE]
            self.owned = False

    def lose_the_partition(self) -> None:
        self.box.core.give_up([SOURCE])
        self.owned = False

    def leave(self) -> None:
        """Revoked: what runs may finish or not, what is finished is committed."""
        self.box.core.stop([SOURCE])
        for _ in range(self.rng.randrange(3)):
            self.finish()
        self.box.core.leave([SOURCE])
        while self.box.core.settled_of([SOURCE]):
            self.commit()
        self.box.core.give_up([SOURCE])
        self.owned = False

    def crash(self) -> None:
        """The process ends; another one takes over."""
        self.box = Fixture(running_max=self.box.core.lanes.running_max)
        self.running, self.parked, self.owned = [], [], False

    def check(self) -> None:
        """What the window holds is what is in flight, to the byte."""
        core, window = self.box.core, self.box.window
        assert window.count == sum(one.count for one in core.assignments)
        assert window.size == sum(one.size for one in core.assignments)
        assert len(self.running) <= core.lanes.running_max + 1
        keys = [one.record.key for one in self.running]
        assert len(set(keys)) == len(keys)
        alone = [one for one in self.running if one.alone]
        assert not alone or len(self.running) == 1


@given(st.integers(0, 2**32), st.booleans())
def test_any_schedule_ends_every_record_once_in_order(seed: int, deaths: bool) -> None:
    """No loss, no duplicate effect, key order, a journal that tiles, a window that adds up."""
    schedule = Schedule(seed, deaths=deaths)
    for step in range(6_000):
        schedule.step(calm=step > 400)
        if schedule.done:
            break
    positions = [one.position for one in schedule.log]
    assert sorted(schedule.effects) == positions
    keys = {one.position: one.key for one in schedule.log}
    for key in set(keys.values()):
        found = [position for position in schedule.effects if keys[position] == key]
        assert found == sorted(found)
    result = schedule.tiling.check(positions, schedule.mark)
    assert result.faults == ()
    schedule.box.core.give_up([SOURCE])
    assert (schedule.box.window.count, schedule.box.window.size) == (0, 0)
