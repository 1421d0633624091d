"""`agentlog audit` on books that real workers wrote, and that somebody then spoilt: each fault is
named by its topic, partition and position, in words and as JSON, and the exit code says 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumers.app import App
from consumers.cli import main
from consumers.context import Context
from consumers.journal import PartitionCommit, journal_envelopes
from consumers.journal.outcomes import HANDLED, Settled
from consumers.marks import Mark
from streams.envelope import Kind
from streams.kafka.groups import GroupAdmin
from streams.record import Partition
from streams.topics import EVENTS, JOURNAL, TASKS
from streams.topics.routing import route
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, status, until

HANDLED_BEFORE: Final = 20
MORE: Final = 6
"""Records that came afterwards, on one partition, about which books are made up."""

Plan = tuple[list[tuple[int, int, tuple[int, ...]]], Callable[[int], Mark]]
"""Commits as (prefix from, prefix to, positions that were handled), and the mark at the broker;
all positions count from the first of `MORE`."""


def _at(prefix: int, *finished: tuple[int, int]) -> Callable[[int], Mark]:
    return lambda first: Mark(
        first + prefix, tuple((first + start, first + end) for start, end in finished)
    )


PLANTED: Final[Mapping[str, Plan]] = {
    "sound": ([(0, 3, (0, 1, 2)), (3, 3, (4,)), (3, 6, (3, 5))], _at(6)),
    "gap": ([(0, 3, (0, 2)), (3, 6, (3, 5))], _at(6)),
    "overlap": ([(0, 3, (0, 1, 2)), (3, 6, (2, 3, 4, 5)), (6, 6, (4,))], _at(6)),
    "phantom": ([(0, 7, (0, 1, 2, 3, 4, 5, 6))], _at(7)),
    "chain": ([(0, 2, (0, 1)), (3, 6, (2, 3, 4, 5))], _at(6)),
    "lost": ([(0, 3, (0, 1, 2))], _at(6)),
    "beyond": ([(0, 3, (0, 1, 2))], _at(3, (4, 6))),
}
"""By group. `lost`: the journal's last commit is not there; `beyond`: outcomes that the mark at the
broker knows of, and nobody else."""

FAULTS: Final[Mapping[str, tuple[str, int, str]]] = {
    "gap": ("gap", 1, "is below the committed position, without an outcome"),
    "overlap": ("overlap", 2, "is handled and was handled: it ended twice"),
    "phantom": ("phantom", 6, "has an outcome, but no record is visible there"),
    "chain": ("broken_chain", 2, "follows one up to"),
    "lost": ("mark", 3, "is below what the group committed, but its journal has no outcome"),
    "beyond": ("mark", 4, "is finished by the group's mark, but its journal has no outcome"),
}
"""By group: the kind of its first fault, where it is, and what is said of it."""


class Spoilt(NamedTuple):
    """A log on which every group of `PLANTED` has worked, and what was made up."""

    bench: Bench
    source: Partition
    first: int
    """Position of the first record about which books were made up."""

    def where(self, fault: str) -> str:
        return f"{self.source}@{self.first + FAULTS[fault][1]}"


@pytest.fixture(scope="module")
def spoilt(kafka: str) -> Spoilt:
    """Real workers' books, each group's spoilt in one way."""
    bench = Bench(kafka, f"test-{secrets.token_hex(6)}")
    bench.send([assign_task(n, f"k{n}") for n in range(HANDLED_BEFORE)])
    asyncio.run(_work(bench, PLANTED))
    assert _run(bench).code == 0  # all of it is sound before
    last = bench.reader.ends([bench.namespace.topic(TASKS)])
    more = [assign_task(HANDLED_BEFORE + n, "one-key") for n in range(MORE)]
    bench.send(more)
    (source,) = {one.source for one in bench.records(TASKS) if one.key == b"one-key"}
    spoilt = Spoilt(bench, source, dict(last)[source])
    for group, (commits, mark) in PLANTED.items():
        _write_books(spoilt, group, commits)
        _commit(spoilt, group, mark(spoilt.first))
    return spoilt


async def _work(bench: Bench, groups: Iterable[str]) -> None:
    """One worker of each group handles all that is there."""
    apps = []
    for group in groups:
        app = App(group, topics=(TASKS,))

        @app.on(ASSIGN)
        async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
            await ctx.publish(status(ctx.idempotency_key, ctx.envelope.id))

        apps.append(app)

    async def run(app: App) -> None:
        async with bench.working(app) as task:
            await until(lambda: bench.caught_up(app.name), "all committed", task=task, every_s=0.2)

    await asyncio.gather(*map(run, apps))
    assert len(bench.records(EVENTS)) == HANDLED_BEFORE * len(apps)


def _write_books(
    spoilt: Spoilt, group: str, commits: list[tuple[int, int, tuple[int, ...]]]
) -> None:
    """Append journal records as that group's worker would have."""
    bench, first = spoilt.bench, spoilt.first
    with bench.raw_producer() as producer:
        for start, end, positions in commits:
            settled = [Settled(first + one, 1_700_000_000_000, 1, HANDLED, "") for one in positions]
            commit = PartitionCommit(spoilt.source, first + start, first + end, settled)
            full = bench.namespace.group(group)
            for envelope in journal_envelopes(full, commit, writer="nobody", now_us=1):
                made = envelope.with_(kind=Kind.EVENT)
                ((topic, key),) = route(made)
                assert topic == JOURNAL
                producer.produce(bench.namespace.topic(topic), CODEC.encode(made), key)


def _commit(spoilt: Spoilt, group: str, mark: Mark) -> None:
    """Commit a position and its mark for that group, which has no members any more."""
    bench = spoilt.bench
    consumer = Consumer(
        {"bootstrap.servers": bench.servers, "group.id": bench.namespace.group(group)}
    )
    at = TopicPartition(*spoilt.source, mark.position, mark.encode())
    consumer.commit(offsets=[at], asynchronous=False)
    consumer.close()
    committed = GroupAdmin(bench.servers, bench.namespace).committed(bench.namespace.group(group))
    assert committed[bench.namespace.group(group)][spoilt.source].position == mark.position


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def _run(bench: Bench, *arguments: str) -> Ran:
    """`agentlog audit` in this process, where it need not be loaded first."""
    environment = {
        "AGENTLOG_BOOTSTRAP_SERVERS": bench.servers,
        "AGENTLOG_NAMESPACE": bench.namespace.name,
    }
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["agentlog", "audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return Ran(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def _faults(group: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(kind, partition, position) of every fault that the JSON tells of one group."""
    for source, tiling in group["tilings"].items():
        for one in tiling["faults"]:
            yield one["kind"], f"{source}@{one['position']}", one["detail"]


@pytest.mark.parametrize("group", FAULTS)
def test_a_fault_is_named_and_the_exit_code_says_1(spoilt: Spoilt, group: str) -> None:
    """The first of its kind, with topic, partition and position; as JSON it is the same one."""
    kind, _, words = FAULTS[group]
    code, out, err = _run(spoilt.bench, "--group", group, "--json")
    assert code == 1
    document = json.loads(out)
    (found,) = document["groups"]
    assert (document["clean"], found["group"]) == (False, spoilt.bench.namespace.group(group))
    where = spoilt.where(group)
    told = list(_faults(found))
    assert told[0][:2] == (kind, where)
    assert words in told[0][2]
    assert err.startswith(f"agentlog: {found['group']}: {where} {told[0][2]} ({kind})")
    assert err.count("@") == len(told)  # nothing else is said to be wrong


def test_what_was_not_spoilt_is_clean_and_the_exit_code_says_0(spoilt: Spoilt) -> None:
    """A chain of commits with outcomes beyond the prefix, and the mark that goes with it."""
    code, out, err = _run(spoilt.bench, "--group", "sound", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    (found,) = document["groups"]
    assert (document["clean"], found["lost"], found["duplicated"]) == (True, 0, 0)
    assert (found["accepted"], found["outcomes"], found["in_flight"]) == (
        HANDLED_BEFORE + MORE,
        {"handled": HANDLED_BEFORE + MORE},
        0,
    )
    code, out, err = _run(spoilt.bench, "--group", "sound")
    assert (code, err) == (0, "")
    assert "clean" in out
    assert "faulty" not in out


def test_without_a_group_all_are_looked_at_and_every_faulty_one_is_named(spoilt: Spoilt) -> None:
    """In a table on stdout, and in one sentence on stderr."""
    code, out, err = _run(spoilt.bench)
    assert (code, "books" in out) == (1, True)
    told = err.removeprefix("agentlog: ").replace("\n", "").split("; ")
    for group in FAULTS:
        full = spoilt.bench.namespace.group(group)
        assert sum(one.startswith(f"{full}: {spoilt.where(group)} ") for one in told) == 1
    assert not any(one.startswith(spoilt.bench.namespace.group("sound")) for one in told)
