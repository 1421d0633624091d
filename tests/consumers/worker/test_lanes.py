"""Key lanes hold their rules under any interleaving."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.worker.lanes import Entry, Gate, KeyLanes

PRIORITY_MAX = 5


class Item(Entry):
    """An entry with a name, and what the tests offer it with."""

    def __init__(self, name: str, key: str | None = None, number: int = 0) -> None:
        self.name = name
        self.key = key
        self.number = number

    def __repr__(self) -> str:
        return self.name


class Lanes(KeyLanes[Item]):
    """Lanes that are offered names."""

    def put(self, key: str | None, name: str, *gates: Gate, priority: int = 3) -> Item:
        item = Item(name, key)
        self.offer(key, priority, item, gates)
        return item

    def next(self) -> str | None:
        """The name of what runs now."""
        item = self.take()
        return None if item is None else item.name

    def run_all(self) -> list[str]:
        """Take and finish until nothing is left."""
        order = []
        while (item := self.take()) is not None:
            order.append(item.name)
            self.finish(item)
        return order


def test_one_key_runs_one_record_at_a_time_in_order() -> None:
    """A key is busy until its record finishes; then the next of the key runs."""
    lanes = Lanes(10)
    first = lanes.put("k", "first")
    lanes.put("k", "second", priority=5)
    assert lanes.take() is first
    assert lanes.take() is None
    lanes.finish(first)
    assert lanes.run_all() == ["second"]


def test_keys_run_side_by_side_up_to_the_bound() -> None:
    """Different keys do not wait for each other, but no more than running_max run."""
    lanes = Lanes(2)
    a = lanes.put("a", "a")
    lanes.put("b", "b")
    lanes.put("c", "c")
    assert [lanes.next(), lanes.next(), lanes.next()] == ["a", "b", None]
    lanes.finish(a)
    assert lanes.run_all() == ["c"]


def test_s3_05_higher_priority_first_fifo_within_a_priority() -> None:
    """Among ready keys the most urgent head goes first, ties by arrival."""
    lanes = Lanes(10)
    for number, priority in enumerate((3, 5, 1, 5, 3)):
        lanes.put(f"k{number}", f"{priority}:{number}", priority=priority)
    assert lanes.run_all() == ["5:1", "5:3", "3:0", "3:4", "1:2"]


def test_an_urgent_record_waits_behind_its_own_key() -> None:
    """A key ranks by its head: urgency further back does not lift it."""
    lanes = Lanes(10)
    lanes.put("slow", "slow head", priority=1)
    lanes.put("slow", "slow urgent", priority=5)
    lanes.put("other", "other", priority=2)
    assert lanes.run_all() == ["other", "slow head", "slow urgent"]


def test_a_key_that_comes_back_ranks_by_the_arrival_of_its_next_record() -> None:
    """Finishing does not send a key to the end of the queue."""
    lanes = Lanes(10)
    lanes.put("a", "a1")
    lanes.put("a", "a2")
    lanes.put("b", "b1")
    assert lanes.run_all() == ["a1", "a2", "b1"]


def test_records_without_a_key_are_unordered() -> None:
    """None is no key: such records run side by side."""
    lanes = Lanes(10)
    lanes.put(None, "x")
    lanes.put(None, "y")
    assert [lanes.next(), lanes.next()] == ["x", "y"]


# --- parking -------------------------------------------------------------------------------------


def test_s3_11_a_parked_record_keeps_its_key_and_nothing_else() -> None:
    """Its place to run is free; it runs again before all others of its key."""
    lanes = Lanes(1)
    gate = Gate(1)
    parked = lanes.put("a", "a1", gate)
    lanes.put("a", "a2", gate)
    lanes.put("b", "b1", gate)
    assert lanes.take() is parked
    lanes.park(parked)
    assert (lanes.parked, lanes.running, lanes.waiting, gate.inside) == (1, 0, 2, 0)
    assert lanes.run_all() == ["b1"]
    assert lanes.unpark(parked)
    assert (lanes.parked, lanes.waiting) == (0, 2)
    assert lanes.run_all() == ["a1", "a2"]


def test_a_parked_record_that_was_discarded_does_not_come_back() -> None:
    """Its key is free for who comes next."""
    lanes = Lanes(1)
    parked = lanes.put("a", "a1")
    lanes.take()
    lanes.park(parked)
    assert lanes.discard(lambda item: item is parked) == [parked]
    assert not lanes.unpark(parked)
    assert lanes.parked == 0
    lanes.put("a", "a2")
    assert lanes.run_all() == ["a2"]


def test_what_was_offered_behind_a_discarded_parked_record_runs() -> None:
    """A part of a lane may stay, as two partitions' tokens may share a key."""
    lanes = Lanes(1)
    parked = lanes.put("a", "a1")
    lanes.put("a", "a2")
    lanes.take()
    lanes.park(parked)
    lanes.discard(lambda item: item is parked)
    assert lanes.run_all() == ["a2"]


# --- gates ---------------------------------------------------------------------------------------


def test_a_full_gate_holds_only_those_who_must_pass_it() -> None:
    """Others go on, and whoever waits first is let in first."""
    lanes = Lanes(10)
    gate = Gate(1)
    inside = lanes.put("a", "a", gate)
    lanes.put("b", "b", gate)
    lanes.put("c", "c", gate)
    assert [lanes.next(), lanes.next()] == ["a", None]
    lanes.put("d", "d")
    assert lanes.next() == "d"
    lanes.finish(inside)
    assert [lanes.next(), lanes.next()] == ["b", None]


def test_the_most_urgent_goes_through_a_gate_first() -> None:
    """Waiting at a gate is in rank."""
    lanes = Lanes(10)
    gate = Gate(1)
    low, high = lanes.put("a", "low", gate, priority=1), lanes.put("b", "high", gate, priority=5)
    lanes.put("c", "middle", gate)
    assert lanes.take() is high
    assert lanes.take() is None
    lanes.finish(high)
    assert lanes.next() == "middle"
    assert low.lane.key == "a"


def test_room_at_a_gate_is_not_kept_for_who_waits_elsewhere() -> None:
    """A lane that was let in by one gate and stopped by another passes its room on."""
    lanes = Lanes(10)
    rare, common = Gate(1), Gate(1)
    x = lanes.put("x", "x", common)
    assert lanes.take() is x
    lanes.put("w", "w", rare, common)
    lanes.put("v", "v", common)
    assert lanes.take() is None  # both wait at common, w first
    y = lanes.put("y", "y", rare)
    assert lanes.take() is y
    lanes.finish(x)
    assert lanes.next() == "v"
    lanes.finish(y)
    assert lanes.next() is None
    assert (rare.inside, common.inside) == (0, 1)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_gate_must_let_something_through(limit: int) -> None:
    """A limit of zero would wait for ever."""
    with pytest.raises(ValueError, match="lets nothing through"):
        Gate(limit)


# --- discarding ----------------------------------------------------------------------------------


def test_discard_removes_what_waits_and_leaves_what_runs() -> None:
    """The lanes of a revoked partition empty; a running record still finishes."""
    lanes = Lanes(1)
    for name in ("p1", "p2", "q1", "p3"):
        lanes.put(name[0], name)
    running = lanes.take()
    assert running is not None
    assert running.name == "p1"
    assert [one.name for one in lanes.discard(lambda item: item.key == "p")] == ["p2", "p3"]
    assert (lanes.waiting, lanes.running) == (1, 1)
    lanes.finish(running)
    lanes.put("p", "p4")
    assert lanes.run_all() == ["q1", "p4"]


def test_the_oldest_is_what_arrived_first_of_all_that_wait() -> None:
    """Whatever its rank, parked ones too; what runs does not wait."""
    lanes = Lanes(1)
    assert lanes.oldest() is None
    first = lanes.put("a", "a", priority=5)
    second = lanes.put("b", "b", priority=1)
    lanes.put("c", "c", priority=4)
    assert lanes.take() is first
    assert lanes.oldest() is second
    lanes.park(first)
    assert lanes.oldest() is first


def test_running_max_must_let_something_run() -> None:
    """A bound of zero would wait for ever."""
    with pytest.raises(ValueError, match="at least one"):
        KeyLanes(0)


# --- against a naive model -----------------------------------------------------------------------


class Model:
    """Lists and loops: who may run next, and what became of everyone."""

    def __init__(self, running_max: int, limits: list[int]) -> None:
        self.lanes = Lanes(running_max)
        self.gates = [Gate(limit) for limit in limits]
        self.waiting: list[tuple[int, Item]] = []
        """(urgency, item) in order of arrival; a parked one has its place in it."""
        self.running: list[Item] = []
        self.parked: list[Item] = []
        self.ended: list[Item] = []
        self.gone: list[Item] = []
        self.number = 0

    def expected(self) -> Item | None:
        """The head that is first in rank among keys that are free and gates that have room."""
        if len(self.running) >= self.lanes.running_max:
            return None
        heads: dict[str, tuple[int, Item]] = {}
        for urgency, item in self.waiting:
            heads.setdefault(item.key or f"keyless {item.number}", (urgency, item))
        busy = {item.key for item in (*self.running, *self.parked)} - {None}
        free = [
            (urgency, item.number, item)
            for urgency, item in heads.values()
            if item.key not in busy and all(gate.inside < gate.limit for gate in item.gates)
        ]
        return min(free, key=lambda one: one[:2])[2] if free else None

    def offer(self, n: int) -> None:
        self.number += 1
        priority = 1 + n % PRIORITY_MAX
        key = (None, "a", "b", "c", "d")[n // 5 % 5]
        chosen = n // 25 % (1 << len(self.gates))
        gates = tuple(gate for index, gate in enumerate(self.gates) if chosen >> index & 1)
        item = Item(f"{key}:{self.number}", key, self.number)
        self.lanes.offer(key, priority, item, gates)
        self.waiting.append((PRIORITY_MAX - priority, item))

    def take(self, _n: int) -> None:
        expected, found = self.expected(), self.lanes.take()
        assert found is expected
        if found is not None:
            self.waiting = [one for one in self.waiting if one[1] is not found]
            self.running.append(found)

    def finish(self, n: int) -> None:
        if self.running:
            item = self.running.pop(n % len(self.running))
            self.lanes.finish(item)
            self.ended.append(item)

    def park(self, n: int) -> None:
        if self.running:
            item = self.running.pop(n % len(self.running))
            self.lanes.park(item)
            self.parked.append(item)

    def unpark(self, n: int) -> None:
        if self.parked:
            item = self.parked.pop(n % len(self.parked))
            assert self.lanes.unpark(item)
            urgency = item.rank >> 56
            at = sum(other.number < item.number for _, other in self.waiting)
            self.waiting.insert(at, (urgency, item))

    def discard(self, n: int) -> None:
        def unwanted(item: Item) -> bool:
            return item.number % 7 == n % 7

        removed = self.lanes.discard(unwanted)
        wanted = [one for _, one in self.waiting if unwanted(one)]
        wanted += [one for one in self.parked if unwanted(one)]
        assert sorted(one.number for one in removed) == sorted(one.number for one in wanted)
        self.waiting = [one for one in self.waiting if not unwanted(one[1])]
        self.parked = [one for one in self.parked if not unwanted(one)]
        self.gone += removed

    def check(self) -> None:
        lanes = self.lanes
        counts = (len(self.waiting), len(self.running), len(self.parked))
        assert (lanes.waiting, lanes.running, lanes.parked) == counts
        assert len(self.running) <= lanes.running_max
        keys = [item.key for item in (*self.running, *self.parked) if item.key is not None]
        assert len(set(keys)) == len(keys)
        for gate in self.gates:
            assert gate.inside == sum(gate in item.gates for item in self.running) <= gate.limit

    def complete(self) -> None:
        """Whatever is still there ends: nothing waits for ever."""
        while self.waiting or self.running or self.parked:
            before = len(self.running)
            self.take(0)
            if len(self.running) == before:
                assert self.running or self.parked, "something waits though nothing runs"
                self.finish(0) if self.running else self.unpark(0)
            self.check()


STEPS = ("offer", "offer", "offer", "take", "take", "take", "finish", "park", "unpark", "discard")


@given(st.integers(0, 2**32))
def test_any_schedule_runs_what_a_naive_model_would(seed: int) -> None:
    """Rank, key order, gates, parking and discarding: nothing is lost, starves or runs twice."""
    rng = random.Random(seed)
    model = Model(rng.randrange(1, 6), [rng.randrange(1, 3) for _ in range(rng.randrange(4))])
    for _ in range(rng.randrange(200)):
        getattr(model, rng.choice(STEPS))(rng.randrange(200))
        model.check()
    model.complete()
    ended = [item.number for item in (*model.ended, *model.gone)]
    assert sorted(ended) == list(range(1, model.number + 1))
    for key in "abcd":
        numbers = [item.number for item in model.ended if item.key == key]
        assert numbers == sorted(numbers)
    assert not model.lanes._lanes
    assert not model.lanes._keyless
    assert not model.lanes._ready
