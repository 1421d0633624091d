"""Each checker finds what is planted for it, and nothing else does."""

from __future__ import annotations

import msgspec
import pytest

from streams.record import Partition
from tests.faults.checkers import (
    ASSIGNED,
    CHECKERS,
    FINISHED,
    HANDLED,
    REPORTED,
    Commit,
    History,
    Seen,
    check,
)

TASKS = Partition("t", 0)
EVENTS = Partition("e", 0)


def history(numbers: int = 3) -> History:
    """One key through both hops, committed in two transactions, with nothing wrong."""
    ids = [f"k-{n}" for n in range(numbers)]
    assigned = [Seen(ASSIGNED, one, TASKS, n, f"a{n}") for n, one in enumerate(ids)]
    finished = [
        Seen(FINISHED, one, TASKS, numbers + n, f"f{n}", f"a{n}") for n, one in enumerate(ids)
    ]
    reported = [Seen(REPORTED, one, EVENTS, n, f"r{n}", f"f{n}") for n, one in enumerate(ids)]
    return History(
        sent=frozenset(ids),
        seen=[*assigned, *finished, *reported],
        commits=[
            Commit(TASKS, 1000, "w", 0, numbers, ((HANDLED, range(numbers)),)),
            Commit(
                TASKS, 2000, "w", numbers, 2 * numbers, ((HANDLED, range(numbers, 2 * numbers)),)
            ),
        ],
    )


def without(told: History, hop: int, task_id: str) -> History:
    seen = [one for one in told.seen if (one.hop, one.task_id) != (hop, task_id)]
    return msgspec.structs.replace(told, seen=seen)


def counts(told: History) -> dict[str, int]:
    return {name: verdict.count for name, verdict in check(told).items() if verdict.count}


def test_a_clean_history_is_clean() -> None:
    """And every checker has looked."""
    assert counts(history()) == {}
    assert set(check(history())) == set(CHECKERS)


def test_a_record_that_never_arrived_is_lost() -> None:
    """Acknowledged and nowhere: whether a handler swallowed it or the log did."""
    missing = without(
        without(without(history(), ASSIGNED, "k-1"), FINISHED, "k-1"), REPORTED, "k-1"
    )
    assert counts(missing) == {"lost": 1}
    assert check(missing)["lost"].findings == ("k-1, nowhere never came to the pipeline's end",)


def test_an_output_that_is_missing_is_lost_and_torn() -> None:
    """Its source's position is committed: one without the other."""
    assert counts(without(history(), REPORTED, "k-2")) == {"lost": 1, "torn": 1}


def test_a_dead_letter_is_not_lost() -> None:
    """It is at an end, and its source was not handled."""
    told = without(without(history(), FINISHED, "k-2"), REPORTED, "k-2")
    dead = msgspec.structs.replace(
        told,
        dead_letters=["k-2"],
        commits=[
            Commit(TASKS, 1000, "w", 0, 3, ((HANDLED, range(2)), ("dead_lettered", range(2, 3)))),
            Commit(TASKS, 2000, "w", 3, 6, ((HANDLED, range(3, 6)),)),
        ],
    )
    assert counts(dead) == {}
    gone = msgspec.structs.replace(dead, dead_letters=[])
    assert counts(gone) == {"lost": 1, "torn": 1}
    twice = msgspec.structs.replace(dead, dead_letters=["k-2", "k-2"])
    assert counts(twice) == {"duplicated": 1}


@pytest.mark.parametrize("hop", [FINISHED, REPORTED])
def test_a_second_copy_is_duplicated(hop: int) -> None:
    """At either hop, even under another id."""
    told = history()
    found = next(one for one in told.seen if one.hop == hop)
    again = msgspec.structs.replace(found, position=99, id="again")
    seen = [*told.seen, again]
    if hop == FINISHED:  # handled, with an output of its own
        seen.append(Seen(REPORTED, "k-9", EVENTS, 99, "r9", "again"))
        seen.append(Seen(ASSIGNED, "k-9", TASKS, 98, "a9"))
    commits = [*told.commits, Commit(TASKS, 3000, "w", 6, 100, ((HANDLED, range(98, 100)),))]
    found_counts = counts(msgspec.structs.replace(told, seen=seen, commits=commits))
    assert found_counts["duplicated"] == 1
    assert "lost" not in found_counts


def test_a_number_behind_a_higher_one_is_reordered() -> None:
    """Within a key; two keys may cross as they like."""
    told = history()
    seen = [*told.seen]
    first = next(at for at, one in enumerate(seen) if one.hop == REPORTED)
    seen[first], seen[first + 1] = seen[first + 1], seen[first]
    assert counts(msgspec.structs.replace(told, seen=seen)) == {"reordered": 1}
    other = [
        msgspec.structs.replace(one, task_id=f"other-{one.task_id[2:]}", id="o" + one.id)
        for one in seen[first : first + 1]
    ]
    assert "reordered" not in counts(msgspec.structs.replace(told, seen=[*told.seen, *other]))


def test_an_output_of_what_was_not_handled_is_torn() -> None:
    """Its transaction's positions did not commit, its records did."""
    told = history()
    open_ended = msgspec.structs.replace(told, commits=told.commits[:1])
    assert counts(open_ended) == {"torn": 3, "stuck": 1}


def test_a_key_that_never_ends_is_stuck_and_not_lost() -> None:
    """Its record is on the log, without an outcome."""
    told = history()
    for task_id in told.sent:
        told = without(told, REPORTED, task_id)
    told = msgspec.structs.replace(told, commits=told.commits[:1])
    assert counts(told) == {"stuck": 1}
    assert check(told)["stuck"].findings == ("k: 3 records without an outcome",)


def test_what_comes_from_an_aborted_transaction_is_an_aborted_read() -> None:
    """A visible record that must not have committed, and an output of what nobody can see."""
    told = history()
    ghost = msgspec.structs.replace(told, never_committed=frozenset({"k-1"}))
    assert counts(ghost)["aborted_read"] == 3
    unseen = [
        msgspec.structs.replace(one, caused_by="gone") if one.id == "r1" else one
        for one in told.seen
    ]
    assert counts(msgspec.structs.replace(told, seen=unseen)) == {"aborted_read": 1, "torn": 1}


def test_commits_that_do_not_chain_are_non_monotonic() -> None:
    """Back or ahead; and so is a position that was seen to go back."""
    told = history()
    back = Commit(TASKS, 3000, "w", 3, 6, ())
    assert counts(msgspec.structs.replace(told, commits=[*told.commits, back])) == {
        "non_monotonic": 1
    }
    assert counts(msgspec.structs.replace(told, steps_back=["t[0]: 1 after 2"])) == {
        "non_monotonic": 1
    }


def test_streams_are_judged_only_where_there_are_any() -> None:
    """A column of zeros for streams that nobody has would prove nothing."""
    told = msgspec.structs.replace(history(3), forks=["two writers"], differing_states=["other"])
    found = check(told, streams=True)
    assert (found["forked"].findings, found["state_differs"].findings) == (
        ("two writers",),
        ("other",),
    )
    assert not {"forked", "state_differs"} & check(told).keys()
