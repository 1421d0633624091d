"""One partition in memory: who sees what, whatever the interleaving."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.memory.failures import CallFailed, Failure
from streams.memory.partition import PartitionLog
from streams.record import Partition

SOURCE = Partition("ns.tasks", 0)


def test_read_uncommitted_sees_what_is_pending_and_what_was_aborted() -> None:
    """Markers nobody sees."""
    log = PartitionLog(SOURCE)
    log.append(1, None, b"aborted", (), "a")
    log.mark(2, "a", commit=False)
    log.append(3, None, b"pending", (), "a")
    assert (log.stable_end, log.end) == (2, 3)
    found = log.fetch(0, count_max=10, committed=False)
    assert ([one.value for one in found.records], found.position) == ([b"aborted", b"pending"], 3)
    found = log.fetch(0, count_max=10)
    assert ([one.value for one in found.records], found.position) == ([], 2)


def test_a_fetch_takes_no_more_than_it_may() -> None:
    """And goes on where it ended."""
    log = PartitionLog(SOURCE)
    for n in range(5):
        log.append(n, None, b"%d" % n, ())
    first = log.fetch(0, count_max=2)
    assert ([one.position for one in first.records], first.position) == ([0, 1], 2)
    assert [one.position for one in log.fetch(first.position, count_max=9).records] == [2, 3, 4]


def test_what_is_pending_is_not_removed() -> None:
    """Retention stops at the stable end; positions stay what they were."""
    log = PartitionLog(SOURCE)
    log.append(1, None, b"0", ())
    log.append(2, None, b"1", (), "a")
    log.remove_before(9)
    assert (log.start, log.end) == (1, 2)
    log.mark(3, "a", commit=True)
    assert [one.position for one in log.fetch(1, count_max=9).records] == [1]
    with pytest.raises(CallFailed) as caught:
        log.fetch(0, count_max=9)
    assert caught.value.failure is Failure.OFFSET_OUT_OF_RANGE


Step = tuple[str, str]
STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "commit", "abort"]), st.sampled_from(["", "a", "b"])),
    max_size=40,
)


@given(STEPS)
def test_only_what_committed_is_ever_seen_and_the_stable_end_never_goes_back(
    steps: list[Step],
) -> None:
    """Against a plain model: the list of what each transaction wrote and how it ended."""
    log = PartitionLog(SOURCE)
    fate: dict[int, str] = {}
    open_: dict[str, list[int]] = {"a": [], "b": []}
    seen: list[int] = []
    position = 0
    for action, transactional_id in steps:
        if action == "append":
            at = log.append(0, None, b"", (), transactional_id)
            fate[at] = "pending" if transactional_id else "commit"
            if transactional_id:
                open_[transactional_id].append(at)
        elif transactional_id and open_[transactional_id]:
            log.mark(0, transactional_id, commit=action == "commit")
            fate |= dict.fromkeys(open_[transactional_id], action)
            open_[transactional_id] = []
        found = log.fetch(position, count_max=1_000)
        assert found.position >= position
        position = found.position
        seen += [one.position for one in found.records]
    assert position == log.stable_end
    assert seen == [at for at, how in sorted(fate.items()) if how == "commit" and at < position]
    assert all(fate[at] == "pending" for at in fate if at == log.stable_end)
