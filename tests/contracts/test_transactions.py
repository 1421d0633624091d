"""The contract of `Transactions`: all of it happens, or nothing does, and the answer says which."""

from __future__ import annotations

from functools import partial

from consumers.journal.outcomes import Output
from consumers.marks import Mark
from consumers.worker.ports import Committed, Transaction
from streams.record import Partition
from streams.schemas.encoder import long
from streams.topics.partitioning import partition_for
from tests.contracts.members import (
    PARTITIONS,
    Bench,
    Member,
    bench,
    join,
    partitions,
    until,
    visible,
)

__all__ = ["bench"]


def outputs(bench: Bench, *values: bytes) -> list[Output]:
    return [Output(bench.outputs, b"k", value, [("h", b"1")]) for value in values]


async def joined(bench: Bench) -> Member:
    member = join(bench)
    await member.owns(PARTITIONS)
    return member


async def sees(bench: Bench, *values: bytes) -> None:
    """Kafka answers a commit before its markers are written."""
    wanted = list(values)
    await until(lambda: [one.value for one in visible(bench, bench.outputs)] == wanted, f"{wanted}")


async def test_outputs_and_positions_happen_together(bench: Bench) -> None:
    """In order, by key or where they say, with headers; the mark with the position."""
    member, transactions = await joined(bench), bench.transactions("run")
    source = partitions(bench)[0]
    mark = Mark(3, finished=((5, 7),), takeovers=1)
    somewhere = (partition_for(b"k", PARTITIONS) + 1) % PARTITIONS
    everything = [
        *outputs(bench, b"0", b"1"),
        Output(bench.outputs, None, None, [], partition=somewhere),
    ]
    metadata = member.assigned[source].metadata
    made = await transactions.commit(Transaction(everything, [(metadata, {source: mark})]))
    assert made is Committed.YES
    await until(lambda: len(visible(bench, bench.outputs)) == 3, "the outputs")
    found = visible(bench, bench.outputs)
    by_key = [one for one in found if one.key is not None]
    assert [(one.key, one.value, one.headers) for one in by_key] == [
        (b"k", b"0", (("h", b"1"),)),
        (b"k", b"1", (("h", b"1"),)),
    ]
    assert {one.partition for one in by_key} == {partition_for(b"k", PARTITIONS)}
    (other,) = [one for one in found if one.key is None]
    assert (other.partition, other.value) == (somewhere, None)
    assert bench.committed(partitions(bench)) == {source: (3, mark.encode())}
    await transactions.close()
    await member.source.stop()


def seen(bench: Bench, count: int) -> bool:
    return len(visible(bench, bench.outputs)) == count


async def test_an_output_tells_where_another_of_its_transaction_has_come_to_lie(
    bench: Bench,
) -> None:
    """An Avro long at its end; whatever order they are in, and again for the next transaction."""
    transactions = bench.transactions("run")
    told = []
    for turn in range(2):
        first, wanted, last = outputs(bench, b"a%d" % turn, b"b%d" % turn, b"c%d" % turn)
        tells = Output(bench.outputs, b"k", b"at ", [], tells=wanted)
        everything = Transaction([tells, first, wanted, last], [])
        assert await transactions.commit(everything) is Committed.YES
        await until(partial(seen, bench, 4 * (turn + 1)), "all of it")
        found = {one.value: one.position for one in visible(bench, bench.outputs)}
        told.append(b"at " + long(found[b"b%d" % turn]))
        assert told[-1] in found
    assert [one.value for one in visible(bench, bench.outputs)] == [
        *(b"a0", b"b0", b"c0", told[0]),
        *(b"a1", b"b1", b"c1", told[1]),
    ]
    await transactions.close()


async def test_one_transaction_after_another(bench: Bench) -> None:
    """Positions alone, outputs alone, several assignments' at once."""
    member, transactions = await joined(bench), bench.transactions("run")
    by_source = {one.source: one.metadata for one in member.assigned.values()}
    positions = [(metadata, {source: Mark(0)}) for source, metadata in by_source.items()]
    assert await transactions.commit(Transaction([], positions)) is Committed.YES
    assert await transactions.commit(Transaction(outputs(bench, b"0"), [])) is Committed.YES
    assert await transactions.commit(Transaction(outputs(bench, b"1"), [])) is Committed.YES
    await sees(bench, b"0", b"1")
    assert bench.committed(by_source) == {source: (0, Mark(0).encode()) for source in by_source}
    await transactions.close()
    await member.source.stop()


async def test_h03_an_assignments_metadata_commits_what_stayed_and_not_what_went(
    bench: Bench,
) -> None:
    """Nothing of a refused transaction happens, and the next one is not harmed by it (H4)."""
    first, transactions = await joined(bench), bench.transactions("first")
    before = dict(first.assigned)
    second = join(bench)
    await second.owns(PARTITIONS // 2)
    await first.owns(PARTITIONS // 2)
    stayed, went = min(first.assigned), min(second.assigned)

    async def commit(name: bytes, source: Partition, *, of: dict[Partition, object]) -> Committed:
        positions = [(of[source], {source: Mark(0)})]
        return await transactions.commit(Transaction(outputs(bench, name), positions))

    old = {source: one.metadata for source, one in before.items()}
    new = {source: one.metadata for source, one in second.assigned.items()}
    assert await commit(b"stayed", stayed, of=old) is Committed.YES
    assert await commit(b"went", went, of=old) is Committed.NO
    assert await commit(b"new owner", went, of=new) is Committed.YES
    assert await commit(b"stayed", stayed, of=old) is Committed.YES
    await sees(bench, b"stayed", b"new owner", b"stayed")
    await transactions.close()
    await first.source.stop()
    await second.source.stop()


async def test_h03_metadata_of_the_current_epoch_commits_anything(bench: Bench) -> None:
    """Kafka's hole, and why metadata is taken per assignment: equal epochs are asked no more."""
    first, transactions = await joined(bench), bench.transactions("second")
    second = join(bench)
    await second.owns(PARTITIONS // 2)
    await first.owns(PARTITIONS // 2)
    current, foreign = next(iter(second.assigned.values())).metadata, min(first.assigned)
    made = await transactions.commit(Transaction([], [(current, {foreign: Mark(0)})]))
    assert made is Committed.YES
    await transactions.close()
    await first.source.stop()
    await second.source.stop()


async def test_who_left_the_group_commits_nothing(bench: Bench) -> None:
    """A member that is gone; outputs neither."""
    member, transactions = await joined(bench), bench.transactions("run")
    source = partitions(bench)[0]
    metadata = member.assigned[source].metadata
    successor = join(bench)
    await member.source.stop()
    await successor.owns(PARTITIONS)
    late = Transaction(outputs(bench, b"late"), [(metadata, {source: Mark(9)})])
    assert await transactions.commit(late) is Committed.NO
    assert await transactions.commit(Transaction(outputs(bench, b"next"), [])) is Committed.YES
    await sees(bench, b"next")
    assert bench.committed([source]) == {}
    await transactions.close()
    await successor.source.stop()


async def test_a_successor_of_the_same_run_fences(bench: Bench) -> None:
    """Whoever comes later under the id wins: the answer is not yes unless it happened."""
    earlier, later = bench.transactions("run"), bench.transactions("run")
    assert await earlier.commit(Transaction(outputs(bench, b"0"), [])) is Committed.YES
    assert await later.commit(Transaction(outputs(bench, b"1"), [])) is Committed.YES
    # A producer that was slow is discarded: then the next one fences the later.
    made = await earlier.commit(Transaction(outputs(bench, b"2"), []))
    await sees(bench, *([b"0", b"1", b"2"] if made is Committed.YES else [b"0", b"1"]))
    await earlier.close()
    await later.close()
