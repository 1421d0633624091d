"""Runs, histograms, journal records and the arithmetic that proves they tile the source."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consumers.journal import PartitionCommit, entries, journal_envelopes, journal_payload
from consumers.journal.histogram import bucket_bounds, bucket_of, quantile
from consumers.journal.outcomes import (
    HANDLED,
    IMPORT,
    NO_HANDLER,
    Delivery,
    Ending,
    Outcome,
    Reason,
    Settled,
)
from consumers.journal.runs import decode_runs, encode_runs
from consumers.journal.tiling import Tiling
from streams.identity import is_message_id
from streams.record import Partition

SOURCE = Partition("ns.tasks", 2)
GROUP = "ns.fleet"
ENDINGS = [
    HANDLED,
    NO_HANDLER,
    IMPORT,
    Ending(Outcome.EXPIRED, "expired"),
    Ending(Outcome.DEAD_LETTERED, "ValueError", "no such thing"),
]


def settled(position: int, ending: Ending = HANDLED, delivery_ms: int | None = 5) -> Settled:
    return Settled(position, 1_700_000_000_000, 100, ending, f"id-{position}", (), delivery_ms)


def payload(start: int, end: int, *ended: Settled) -> dict[str, object]:
    return journal_payload(GROUP, PartitionCommit(SOURCE, start, end, ended))


# --- runs ------------------------------------------------------------------------------------


def test_runs_have_the_stated_form() -> None:
    """First position, length, then gap, length, and so on."""
    assert encode_runs([5, 6, 7, 10]) == [5, 3, 2, 1]
    assert encode_runs([]) == []
    assert list(decode_runs([5, 3, 2, 1])) == [range(5, 8), range(10, 11)]


@given(st.sets(st.integers(0, 2**63 - 2)))
def test_runs_give_back_the_set(positions: set[int]) -> None:
    """Encoding and decoding is the identity on sets of positions."""
    ordered = sorted(positions)
    assert [p for run in decode_runs(encode_runs(ordered)) for p in run] == ordered


@pytest.mark.parametrize("runs", [[1], [1, 0], [1, 1, 0, 1], [-1, 2]])
def test_runs_of_another_form_are_refused(runs: list[int]) -> None:
    """A set has exactly one form, anything else is a broken journal."""
    with pytest.raises(ValueError, match="run"):
        list(decode_runs(runs))


def test_positions_out_of_order_are_refused() -> None:
    """The caller sorts: a repeated position would be two outcomes."""
    with pytest.raises(ValueError, match="does not come after"):
        encode_runs([3, 3])


# --- histogram -------------------------------------------------------------------------------


@given(st.integers(0, 2**41))
def test_a_bucket_holds_its_time_and_is_narrow(ms: int) -> None:
    """Bounds enclose the value and lie within an eighth of each other."""
    low, high = bucket_bounds(bucket_of(ms))
    assert low <= ms <= high
    assert high - low <= low // 8


def test_buckets_touch_without_gaps() -> None:
    """Each bucket begins right after the one before; a negative time counts as 0."""
    for index in range(1, 200):
        assert bucket_bounds(index)[0] == bucket_bounds(index - 1)[1] + 1
    assert bucket_of(-5) == 0


@given(st.lists(st.integers(0, 100_000), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_an_upper_bound_within_an_eighth(times: list[int], fraction: float) -> None:
    """What the report prints as p99 is never below p99 and at most 12.5 % above it."""
    counts = Counter(bucket_of(ms) for ms in times)
    exact = sorted(times)[max(0, -(-int(fraction * 1000) * len(times) // 1000) - 1)]
    found = quantile(counts, fraction)
    assert found is not None
    assert exact <= found <= exact + exact // 8


def test_no_times_have_no_quantile() -> None:
    """Not zero: nothing was delivered."""
    assert quantile({}, 0.5) is None


# --- journal records -------------------------------------------------------------------------


def test_a_journal_record_says_how_every_record_ended() -> None:
    """Sets by outcome, times by bucket, and a name for each that was not simply handled."""
    made = payload(
        10,
        15,
        settled(10, delivery_ms=3),
        settled(11, delivery_ms=3),
        settled(13, NO_HANDLER, 20),
        settled(14, IMPORT, None),
    )
    assert made["finished"] == [
        {"outcome": "handled", "runs": [10, 2]},
        {"outcome": "skipped", "runs": [13, 2]},
    ]
    assert made["delivery_buckets"] == [
        {"index": 3, "count": 2},
        {"index": bucket_of(20), "count": 1},
    ]
    assert made["delivery_ms_sum"] == 26
    assert made["exceptions"] == [
        {
            "position": 13,
            "id": "id-13",
            "outcome": "skipped",
            "reason": Reason.NO_HANDLER,
            "detail": "",
        },
        {
            "position": 14,
            "id": "id-14",
            "outcome": "skipped",
            "reason": Reason.IMPORT,
            "detail": "",
        },
    ]


def test_the_id_of_a_journal_record_is_derived() -> None:
    """The same commit makes the same id; another prefix makes another."""

    def only(prefix_to: int) -> str:
        commit = PartitionCommit(SOURCE, 0, prefix_to, [settled(0)])
        (envelope,) = journal_envelopes(GROUP, commit, writer="run", now_us=1)
        return envelope.id

    assert is_message_id(only(1))
    assert only(1) == only(1) != only(2)


def test_a_commit_that_names_many_records_comes_in_parts_that_tile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No journal record outgrows a Kafka record; the parts chain and cover the same positions."""
    monkeypatch.setattr(entries, "EXCEPTIONS_MAX", 3)
    positions = [p for p in range(40) if p % 7]
    commit = PartitionCommit(
        SOURCE, 0, 40, [settled(p, NO_HANDLER if p % 2 else HANDLED) for p in positions]
    )
    envelopes = list(journal_envelopes(GROUP, commit, writer="run", now_us=1))
    assert len({envelope.id for envelope in envelopes}) == len(envelopes) > 3
    tiling = Tiling()
    for envelope in envelopes:
        assert len(envelope.payload["exceptions"]) <= 3
        tiling.add(envelope.payload)
    result = tiling.check(positions)
    assert (result.faults, result.prefix_to) == ((), 40)


@given(
    positions=st.sets(st.integers(0, 60), max_size=40),
    unfinished=st.sets(st.integers(0, 60), max_size=4),
    named=st.randoms(use_true_random=False),
    exceptions_max=st.integers(1, 5),
)
def test_parts_tile_also_where_positions_beyond_the_prefix_finished(
    positions: set[int], unfinished: set[int], named: random.Random, exceptions_max: int
) -> None:
    """Whoever reads some of the parts alone finds no gap below the prefix that they reach."""
    visible = sorted(positions | unfinished)
    ended = [
        settled(p, NO_HANDLER if named.random() < 0.7 else HANDLED)
        for p in sorted(positions - unfinished)
    ]
    prefix_to = min(unfinished, default=61)
    commit = PartitionCommit(SOURCE, 0, prefix_to, ended)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "EXCEPTIONS_MAX", exceptions_max)
        envelopes = list(journal_envelopes(GROUP, commit, writer="run", now_us=1))
    assert len({envelope.id for envelope in envelopes}) == len(envelopes)
    tiling = Tiling()
    for envelope in envelopes:
        assert len(envelope.payload["exceptions"]) <= exceptions_max
        tiling.add(envelope.payload)
        assert tiling.check(visible).faults == ()
    result = tiling.check(visible)
    assert (result.prefix_to, result.lost) == (prefix_to, 0)
    assert sum(result.outcomes.values()) == len(ended)
    assert result.in_flight == len(unfinished)


def test_commits_that_move_no_prefix_have_ids_of_their_own() -> None:
    """While one record holds the prefix, others finish beyond it, commit by commit."""

    def ids(*positions: int) -> list[str]:
        commit = PartitionCommit(SOURCE, 3, 3, [settled(position) for position in positions])
        return [one.id for one in journal_envelopes(GROUP, commit, writer="run", now_us=1)]

    assert ids(5, 6) == ids(5, 6)
    assert len({*ids(5, 6), *ids(7), *ids(9)}) == 3


def test_a_journal_record_says_what_delivery_was_kept() -> None:
    """The audit judges repetitions by it."""
    commit = PartitionCommit(SOURCE, 0, 1, [settled(0)])
    assert journal_payload(GROUP, commit)["delivery"] == "exactly_once"
    least = journal_envelopes(
        GROUP, commit, writer="run", now_us=1, delivery=Delivery.AT_LEAST_ONCE
    )
    assert [one.payload["delivery"] for one in least] == ["at_least_once"]


# --- tiling ----------------------------------------------------------------------------------


@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=40),
    endings=st.lists(st.sampled_from(ENDINGS), min_size=40, max_size=40),
    cuts=st.sets(st.integers(0, 40)),
)
def test_a_journal_written_commit_by_commit_tiles(
    gaps: list[int], endings: list[Ending], cuts: set[int]
) -> None:
    """What was accepted is the outcomes' sum, whatever the commits' sizes and the log's holes."""
    visible = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    ended = [settled(p, endings[n]) for n, p in enumerate(visible)]
    tiling = Tiling()
    prefix = 0
    for stop in [*sorted(c for c in cuts if c < len(ended)), len(ended)]:
        done = [one for one in ended[:stop] if one.position >= prefix]
        prefix_to = done[-1].position + 1 if done else prefix
        tiling.add(payload(prefix, prefix_to, *done))
        prefix = prefix_to
    result = tiling.check([*visible, visible[-1] + 1, visible[-1] + 5])
    assert result.faults == ()
    assert result.accepted == len(visible) + 2
    assert (sum(result.outcomes.values()), result.in_flight) == (len(visible), 2)


@given(
    size=st.integers(2, 30),
    at=st.integers(0, 29),
    fault=st.sampled_from(["gap", "overlap", "phantom"]),
)
def test_a_planted_fault_is_found_and_named(size: int, at: int, fault: str) -> None:
    """A lost outcome, a second one, or one for a position nobody sees: each at its position."""
    assume(at < size)
    visible = [p * 2 for p in range(size)]
    ended = [settled(p) for p in visible]
    position = visible[at]
    if fault == "gap":
        del ended[at]
    elif fault == "phantom":
        position += 1
        ended.insert(at + 1, settled(position))
    tiling = Tiling()
    tiling.add(payload(0, visible[-1] + 2, *ended))
    if fault == "overlap":
        tiling.add(payload(visible[-1] + 2, visible[-1] + 2, settled(position)))
    result = tiling.check(visible)
    assert [(one.kind, one.position) for one in result.faults] == [(fault, position)]
    assert result.lost == (1 if fault == "gap" else 0)


def test_commits_that_do_not_chain_are_found() -> None:
    """A journal record that is missing shows even where it settled nothing visible."""
    tiling = Tiling()
    tiling.add(payload(0, 2, settled(0), settled(1)))
    tiling.add(payload(3, 4, settled(3)))
    result = tiling.check([0, 1, 3])
    assert [(one.kind, one.position) for one in result.faults] == [("broken_chain", 2)]


def test_at_least_once_who_lost_the_partition_may_step_back_between_its_owners_commits() -> None:
    """Its journal is written before its positions are refused; what it repeats is counted."""
    tiling = Tiling()
    for told in (
        payload(0, 2, settled(0), settled(1)),
        payload(1, 2, settled(1)),
        payload(0, 1, settled(0)),
        payload(2, 3, settled(2)),
    ):
        tiling.add({**told, "delivery": "at_least_once"})
    result = tiling.check([0, 1, 2])
    assert (result.faults, result.repeated, result.prefix_to) == ((), 2, 3)
    tiling.add({**payload(4, 5, settled(4)), "delivery": "at_least_once"})
    assert [one.kind for one in tiling.check([0, 1, 2, 4]).faults] == ["broken_chain"]


def test_what_a_group_began_above_is_a_gap() -> None:
    """Groups begin with a partition's first record: one that began higher has lost some."""
    tiling = Tiling()
    tiling.add(payload(2, 4, settled(2), settled(3)))
    result = tiling.check([0, 1, 2, 3])
    assert [(one.kind, one.position) for one in result.faults] == [("gap", 0)]
    assert (result.accepted, result.lost) == (4, 2)


def test_an_empty_journal_has_everything_in_flight() -> None:
    """A group that never committed has lost nothing."""
    result = Tiling().check([4, 5])
    assert (result.accepted, result.in_flight, result.faults) == (2, 2, ())
