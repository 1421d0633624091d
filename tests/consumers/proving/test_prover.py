"""Every mistake that keeps a fold from being a function of the log is found, and named."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest

from consumers.aggregates import AggregateApp
from consumers.proving import Elsewhere, ProjectionSubject, Proof, Prover, Site, StreamsSubject
from consumers.proving.elsewhere import other_hash_seed
from consumers.proving.faults import Shown
from consumers.state_store import Change, LiveState, Row, SqlStateStore, live_snapshot
from consumers.testing import MemoryStage, virtual_time
from streams.envelope import Envelope, Kind
from streams.errors import AgentlogError, BrokerError, LogError
from streams.identity import message_id
from streams.record import Partition, Record
from streams.shared_state import set_entry
from streams.topics import EVENTS, Namespace
from tests.consumers.projections.strategies import CODEC
from tests.consumers.proving import planted
from tests.consumers.proving.recorded import RecordedLog, open_codec

NAMESPACE = Namespace("ns")
SEED = 20_261_121
PARTITIONS, RECORDS = 5, 60
WHERE = Partition("ns.tasks", 2), 41
"""The record at which the mistakes are made."""


def recorded(n: int, partition: int) -> Record:
    culprit = (Partition("ns.tasks", partition), n) == WHERE
    envelope = Envelope(
        type="agentlog.Json",
        payload={"json": "{}"},
        kind=Kind.EVENT,
        id=message_id(1 + n, "abcdefghi"),
        sender=f"agent-{(n * 3 + partition) % 7}",
        correlation_id=planted.CULPRIT if culprit else "other",
        created_at=1,
    )
    return Record("ns.tasks", partition, n, 1_000 + n, b"k", CODEC.encode(envelope))


LOG = RecordedLog(recorded(n, part) for part in range(PARTITIONS) for n in range(RECORDS + part))


def open_log() -> RecordedLog:
    """What another process opens."""
    return LOG


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere(Site(open_log, open_codec), SEED) as process:
        yield process


@pytest.fixture
def prover(elsewhere: Elsewhere) -> Prover:
    return Prover(LOG, CODEC, NAMESPACE, elsewhere, SEED)


def stored(projection: Any, path: Path) -> SqlStateStore:
    """The rows that a live projection would have at the end of the log."""
    store = SqlStateStore(f"sqlite:///{path / 'states.sqlite'}")
    changes = []
    for source, end in LOG.ends(["ns.tasks"]):
        state = projection.initial()
        for batch in LOG.read(source, 0, end):
            for record in batch:
                state = projection.apply(state, record, CODEC.decode(record.value))
        changes.append(
            Change(None, Row(source, "id-ns.tasks", "recorded", end, cbor2.dumps(state)))
        )
    assert store.save(projection, changes)
    return store


def live(store: SqlStateStore, projection: Any) -> LiveState[Any]:
    return live_snapshot(store, projection, ["ns.tasks"])


def test_a_fold_without_a_mistake_is_proven(prover: Prover, tmp_path: Path) -> None:
    """Live, replayed, in another order, in another process: one digest."""
    store = stored(planted.Steady(), tmp_path)
    proof = prover.projection(ProjectionSubject(planted.Steady), live=live(store, planted.Steady()))
    assert proof.holds
    assert proof.faults == ()
    assert proof.live_digest == proof.digest
    assert proof.records == sum(end for _, end in LOG.ends(["ns.tasks"]))
    store.close()


@pytest.mark.parametrize(
    ("mistake", "kind", "says"),
    [
        (planted.WallClock, "not_repeatable", "a clock"),
        (planted.Random, "not_repeatable", "draws at random"),
        (planted.Remembers, "not_repeatable", "remembers something"),
        (planted.SetOrder, "hash_order", "the order of a set"),
    ],
)
def test_a_planted_mistake_is_named_with_its_record_and_both_values(
    prover: Prover, mistake: Any, kind: str, says: str
) -> None:
    """Wall clock, random numbers, a counter of the module, the order of a set."""
    (fault,) = prover.projection(ProjectionSubject(mistake)).faults
    assert fault.kind == kind
    assert fault.where.startswith(f"{WHERE[0]}@{WHERE[1]} (agentlog.Json from agent-")
    assert says in fault.detail
    (different,) = fault.differences
    assert different.path == "seen"
    assert different.one != different.other
    assert fault.one != fault.other
    assert str(fault).startswith(fault.where)


@pytest.mark.parametrize(
    ("mistake", "one", "other"),
    [
        (planted.Unstorable, "('a', 'b')", "['a', 'b']"),
        (planted.DefaultDict, "defaultdict(<class 'int'>, {'a': 1})", "{'a': 1}"),
    ],
)
def test_a_state_that_does_not_survive_storage_is_named(
    prover: Prover, mistake: Any, one: str, other: str
) -> None:
    """A live fold that was stopped would see another state, or fail on it."""
    (fault,) = prover.projection(ProjectionSubject(mistake)).faults
    assert fault.kind == "not_storable"
    assert fault.where.startswith(f"{WHERE[0]}@{WHERE[1]} (")
    assert fault.differences == (Shown("seen", one, other),)


def test_an_initial_state_that_is_not_always_the_same_is_named(prover: Prover) -> None:
    """No record is blamed for it."""
    (fault,) = prover.projection(ProjectionSubject(planted.InitialClock)).faults
    assert (fault.kind, fault.where) == (
        "not_repeatable",
        "ns.tasks[0] before its first record",
    )
    assert "initial()" in fault.detail
    assert "(and 3 more partitions" in fault.detail


@pytest.mark.parametrize(
    ("mistake", "kind", "says", "path"),
    [
        (planted.FloatSum, "merge_associates", "only floats differ", "cost"),
        (planted.TakesTheOther, "merge_commutes", "does not commute", "by_sender"),
        (planted.Averages, "merge_associates", "does not associate", "messages"),
        (planted.CountsMerges, "merge_neutral", "with initial()", "messages"),
        (planted.MergeClock, "merge_repeats", "for the same states", "seen"),
        (planted.MergeHash, "merge_hash_order", "another hash seed", "seen"),
    ],
)
def test_a_merge_that_breaks_a_law_is_named_with_the_partitions(
    prover: Prover, mistake: Any, kind: str, says: str, path: str
) -> None:
    """Which law, and both values."""
    (fault,) = prover.projection(ProjectionSubject(mistake)).faults
    assert fault.kind == kind
    assert says in fault.detail
    assert fault.differences[0].path.startswith(path)
    if kind != "merge_hash_order":
        assert "ns.tasks[" in fault.one


def test_columns_that_say_something_else_than_rows_are_named(prover: Prover) -> None:
    """Both are folds of the same records."""
    (fault,) = prover.projection(ProjectionSubject(planted.Columns)).faults
    assert fault.kind == "columns_differ"
    assert fault.differences


def test_a_fold_that_raises_is_a_fault_that_names_the_record(prover: Prover) -> None:
    """Others are proven all the same."""
    proof = prover.projection(ProjectionSubject(planted.Fails))
    (fault,) = proof.faults
    assert (fault.kind, proof.holds) == ("fold_failed", False)
    assert f"{WHERE[0]}@{WHERE[1]}: KeyError: 'planted'" in fault.detail


def test_a_state_of_what_has_no_form_is_a_fault_that_names_the_path(prover: Prover) -> None:
    """An object of the user's own can be neither compared nor stored."""
    (fault,) = prover.projection(ProjectionSubject(planted.Objects)).faults
    assert fault.kind == "fold_failed"
    assert "seen: a object has no canonical form" in fault.detail


def test_a_live_state_that_the_log_does_not_come_to_is_named_by_path(
    prover: Prover, tmp_path: Path
) -> None:
    """The first ten paths of each partition, both values, and how many more there are."""
    store, projection = stored(planted.Steady(), tmp_path), planted.Steady()
    row = store.load(projection, WHERE[0])
    assert row is not None
    state = cbor2.loads(row.state)
    state["by_sender"] |= {f"ghost-{n:02d}": n for n in range(12)}
    spoilt = row._replace(state=cbor2.dumps(state))
    assert store.save(projection, [Change(row.position, spoilt)])
    proof = prover.projection(ProjectionSubject(planted.Steady), live=live(store, projection))
    (fault,) = proof.faults
    assert (fault.kind, fault.where) == ("live_differs", f"{WHERE[0]}@{RECORDS + 2}")
    assert len(fault.differences) == 10
    assert fault.more == 2
    first = fault.differences[0]
    assert (first.path, first.one, first.other) == ("by_sender['ghost-00']", "0", "nothing")
    assert proof.live_digest != proof.digest
    store.close()


def test_the_same_seed_draws_the_same_orders(prover: Prover) -> None:
    """A proof that failed can be tried again as it was."""
    proofs = [prover.projection(ProjectionSubject(planted.FloatSum)) for _ in range(2)]
    assert proofs[0].faults == proofs[1].faults


def test_the_other_process_has_another_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if this one was given the very seed that it would get."""
    monkeypatch.setenv("PYTHONHASHSEED", "8")
    assert other_hash_seed(7) != 8
    assert other_hash_seed(9) == 10


def fail_to_open() -> RecordedLog:
    """A process that cannot begin."""
    raise BrokerError("nobody there")


def test_a_process_that_cannot_begin_is_said_so() -> None:
    """Not waited for."""
    with (
        Elsewhere(Site(fail_to_open, open_codec), 1) as process,
        pytest.raises(AgentlogError, match="the other process of the proof ended"),
    ):
        process.fold_partitions(ProjectionSubject(planted.Steady), {WHERE[0]: 1}, 1)()


@pytest.mark.timeout(60)
def test_a_proof_that_is_given_up_leaves_no_process_at_work() -> None:
    """Ctrl-C, or an error in this process: what the other folds is of no use any more."""
    before = set(multiprocessing.active_children())

    def give_up() -> None:
        with Elsewhere(Site(open_log, open_codec), 1) as process:
            assert process.merge_digests(ProjectionSubject(planted.Steady), [], [()])
            process.fold_partitions(ProjectionSubject(planted.Endless), {WHERE[0]: RECORDS}, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert set(multiprocessing.active_children()) <= before


# --- aggregates ----------------------------------------------------------------------------------


async def decided(make: Any) -> list[Record]:
    """What a worker writes that decides with these aggregates; the mistake is in the middle."""
    app = AggregateApp("state", *make())
    async with MemoryStage(app, namespace="ns") as stage, stage.client("planner") as client:
        for n in range(30):
            value = planted.CULPRIT if n == 20 else n
            await client.command(set_entry(f"key-{n % 4}", value))
        return stage.records(EVENTS)


def proof_of(records: list[Record], make: Any) -> Proof:
    log = RecordedLog(records)
    site = Site(partial(RecordedLog, records), open_codec)
    with Elsewhere(site, SEED) as process:
        prover = Prover(log, CODEC, NAMESPACE, process, SEED)
        return prover.aggregates("aggregates", StreamsSubject(make))


@virtual_time
async def test_streams_that_are_what_was_decided_are_proven() -> None:
    """Each event's state is compared with what the log says of it."""
    proof = proof_of(await decided(planted.steady_entries), planted.steady_entries)
    assert proof.holds, proof.faults
    assert proof.counts == {"events": 30, "verified": 30}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (planted.clocked_entries, "not_repeatable"),
        (planted.remembering_entries, "not_repeatable"),
        (planted.hashed_entries, "hash_order"),
    ],
)
@virtual_time
async def test_an_evolve_that_is_no_function_of_its_arguments_is_named(
    make: Any, kind: str
) -> None:
    """A clock, a counter of the module, the order of a set; with the event and both values."""
    records = await decided(make)
    culprit = next(
        one
        for one in records
        if CODEC.decode(one.value, one.headers).payload["value"] == f'"{planted.CULPRIT}"'
    )
    (fault,) = proof_of(records, make).faults
    assert fault.kind == kind
    assert fault.where.startswith(f"{culprit} (agentlog.state.EntrySet from state")
    assert fault.differences[0].path == "streams['state:key-0'].state.seen"


@virtual_time
async def test_code_that_did_not_decide_is_told_from_code_that_is_unsteady() -> None:
    """The digest on the log is another, and evolve gives the same each time."""
    (fault,) = proof_of(await decided(planted.steady_entries), planted.other_entries).faults
    assert fault.kind == "state_differs"
    assert "it is not the code that decided then" in fault.detail
    assert "state:key-0" in fault.detail


@virtual_time
async def test_a_history_with_a_gap_is_no_history() -> None:
    """The event behind the gap is named."""
    records = await decided(planted.steady_entries)
    lost = next(one for one in records if CODEC.decode(one.value, one.headers).stream_version == 3)
    (fault,) = proof_of([one for one in records if one != lost], planted.steady_entries).faults
    assert fault.kind == "stream_broken"
    assert "goes from version 2 to 4: events are missing" in fault.detail


@virtual_time
async def test_an_epoch_that_decreases_is_two_writers() -> None:
    """Whoever was replaced has written on."""
    records = await decided(planted.steady_entries)
    last = max(records, key=lambda one: (one.partition == records[0].partition, one.position))
    envelope = CODEC.decode(last.value, last.headers).with_(writer_epoch=0)
    forged = msgspec.structs.replace(last, value=CODEC.encode(envelope))
    spoilt = [forged if one == last else one for one in records]
    (fault,) = proof_of(spoilt, planted.steady_entries).faults
    assert fault.kind == "stream_broken"
    assert "under epoch 0, after epoch 1 had begun" in fault.detail


def test_a_beginning_that_is_gone_is_an_error(prover: Prover, elsewhere: Elsewhere) -> None:
    """Nothing is proven from half a history."""

    class Trimmed(RecordedLog):
        def starts(self, topics: Any) -> dict[Partition, int]:
            return dict.fromkeys(self.ends(topics).ends, 3)

    events = [msgspec.structs.replace(recorded(n, 0), topic="ns.events") for n in range(5)]
    trimmed = Prover(Trimmed(events), CODEC, NAMESPACE, elsewhere, SEED)
    with pytest.raises(LogError, match=r"ns\.events\[0\] begins at 3"):
        trimmed.aggregates("aggregates", StreamsSubject(planted.steady_entries))
