"""One fault, from its load to its row.

1. Topics in a fresh namespace, the load, the workers.
2. When `begins_at` of the work is done, the fault; then whatever it left broken is mended.
3. Wait until the group has committed all there is, or commits nothing for `SILENCE_S_MAX`: what
   has no outcome then is stuck.
4. Stop the workers, read everything back, check, delete the topics.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from consumers.worker.worker import new_run_id
from streams.kafka.admin import TopicAdmin
from streams.topics import Namespace
from tests.faults import roles
from tests.faults.checkers import HANDLED, Verdict, check
from tests.faults.cluster import Cluster
from tests.faults.evidence import Evidence, Reading
from tests.faults.load import Load, publish
from tests.faults.stage import (
    CODEC,
    DidNotHappen,
    Fault,
    Notes,
    NothingWorks,
    NotPossibleHere,
    Placement,
    Stage,
)
from tests.faults.starts import starts_of, total_starts
from tests.faults.timeline import Figures, figures

LEFT_MAX: Final = 20_000
"""Positions left at which a load that comes at a pace waits: some six seconds of it."""
SILENCE_S_MAX: Final = 90.0
"""Without a commit for so long, all nodes being up, what is left counts as stuck: transaction and
session timeouts are over by then several times."""
LEAST_SHARE: Final = 0.5
"""Share of a load with a pace that is sent in any case."""
AFTER_SHARE: Final = 1 / 6
"""Share of its time for which it is sent on when the fault is over: to see that nothing is late."""
JOIN_S_MAX: Final = 180.0
"""A dozen of Python processes may start at once, on cores that others use as well."""
KEEP_UP_S_MAX: Final = 30.0
LIMIT_S: Final = 900.0
FAULT_S_MAX: Final = 330.0
PLACEMENT_TRIES_MAX: Final = 1000
COMMITS: Final = "commits.jsonl"
"""File of a row's folder: [append time in ms, partition, run id, prefix before, prefix after,
records finished] of every commit."""

Status = Literal["passed", "failed", "did not happen", "not possible here"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one fault."""

    name: str
    what: str
    status: Status
    records: int
    """What the load held; each passes two handlers."""
    verdicts: dict[str, Verdict] = {}
    """By checker; empty if the fault did not run."""
    audit_clean: bool | None = None
    audit: dict[str, int] = {}
    """The group's own audit: accepted, lost, duplicated, reordered, in flight."""
    outcomes: dict[str, int] = {}
    handler_starts: int = 0
    rerun: int = 0
    """Handler starts beyond one per handled record: runs that a crash or an abort undid, and
    attempts that failed."""
    figures: Figures | None = None
    fault_s: float = 0.0
    run_s: float = 0.0
    left_at_end: int = 0
    """Positions that were still to be committed when the fault was over."""
    own_deaths: int = 0
    """Workers that ended without being killed by the fault."""
    failures: list[str] = []
    """What went wrong though the log is whole: it fails the row too."""
    laps: dict[str, float] = {}
    """Seconds that each part of the run took."""
    notes: Notes = {}

    @property
    def clean(self) -> bool:
        """True unless something was found, or the fault did not take place."""
        return self.status in ("passed", "not possible here")


async def run_fault(
    fault: Fault,
    cluster: Cluster,
    records: int,
    say: Callable[[str], None],
    *,
    keep: Path | None = None,
) -> Row:
    """Run one fault on a healthy cluster, and leave it healthy.

    The workers' logs stay in a folder of their own if the row is not clean, and in `keep` always;
    if it is not clean, the brokers' beside them, and what they hold of its topics.
    """
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"{fault.name}-", dir=keep))
    load = Load(records, special=fault.special(records))
    try:
        namespace = await _namespace(cluster, fault)
        stage = Stage(cluster, namespace, load, fault.ground, folder, say)
        if fault.placement is not Placement.ANYWHERE:
            stage.run_id = await _placed_run_ids(stage, fault.placement)
        row = await _run(fault, stage, began)
    except NotPossibleHere as reason:
        row = Row(
            name=fault.name,
            what=fault.what,
            status="not possible here",
            records=0,
            notes={"reason": str(reason)},
        )
    except Exception:
        cluster.copy_logs(folder)
        raise
    if not row.clean:
        cluster.copy_logs(folder)
    if row.clean and keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        row.notes["logs"] = str(folder)
    return row


def blamed(dead_letters: Iterable[str], load: Load) -> list[str]:
    """What is said of dead letters that nothing was wrong with."""
    innocent = sorted(set(dead_letters) - load.doomed())
    return [f"{task_id} is a dead letter, and nothing was wrong with it" for task_id in innocent]


def broken_row(fault: Fault, error: Exception) -> Row:
    """The row of a fault that ended in an error of the suite's own."""
    return Row(
        name=fault.name,
        what=fault.what,
        status="did not happen",
        records=0,
        notes={"error": f"{type(error).__name__}: {error}"},
    )


async def _run(fault: Fault, stage: Stage, began: float) -> Row:
    admin = TopicAdmin(stage.cluster.servers)
    await asyncio.to_thread(admin.provision, stage.namespace)
    stage.lap("topics")
    problem = ""
    try:
        async with _loading(fault, stage), fault.setting(stage), _stopping(stage):
            stage.lap("load")
            await _reach(stage, fault.begins_at)
            if fault.pace_s:
                await _keep_up(stage, fault.pace_s)
            stage.lap("begin")
            stage.say(f"{fault.name}: begins, {stage.progress.left} positions left")
            stage.strikes()
            try:
                async with asyncio.timeout(FAULT_S_MAX):
                    await fault.during(stage)
            except DidNotHappen as error:
                problem = str(error)
            except TimeoutError:
                problem = f"the fault was not over within {FAULT_S_MAX:g} s"
            began_ms, ended_ms = stage.struck_ms or 0, time.time_ns() // 1_000_000
            stage.is_over()
            stage.lap("fault")
            with contextlib.suppress(DidNotHappen):
                await stage.until(stage.progress.ask, "the group's coordinator answers")
            left = stage.progress.left
            stage.say(f"{fault.name}: over after {(ended_ms - began_ms) / 1000:.1f} s, {left} left")
            await stage.cluster.heal()
            stage.lap("heal")
            await _settle(stage)
            stage.lap("settle")
        stage.lap("stop")
        evidence = await asyncio.to_thread(_collect, stage)
        _write_down(evidence, stage.folder)
        stage.lap("read")
        if problem:
            stage.notes["did not happen"] = problem
        row = _row(
            fault,
            stage,
            evidence,
            status="did not happen" if problem else "passed",
            figures=figures(
                evidence.history.commits,
                evidence.appended_ms,
                began_ms=began_ms,
                ended_ms=ended_ms,
                backlog=not fault.pace_s,
            ),
            fault_s=(ended_ms - began_ms) / 1000,
            run_s=time.monotonic() - began,
            left=left,
        )
        if not row.clean:
            stage.cluster.copy_data(stage.folder, stage.namespace)
        return row
    finally:
        await asyncio.to_thread(stage.progress.close)
        await stage.cluster.heal()
        await asyncio.to_thread(admin.delete, stage.namespace.topics())
        stage.lap("clean")


def _row(
    fault: Fault,
    stage: Stage,
    evidence: Evidence,
    *,
    status: Status,
    figures: Figures,
    fault_s: float,
    run_s: float,
    left: int,
) -> Row:
    verdicts = check(evidence.history, streams=bool(stage.ground.aggregates))
    books = evidence.audit
    if stage.ground.aggregates:
        stage.notes["states"] = f"{evidence.verified:,} rebuilt ones are what was decided on"
    stage.failures += blamed(evidence.history.dead_letters, stage.load)
    clean = books.clean and not any(verdict.count for verdict in verdicts.values())
    clean = clean and not stage.failures
    stage.lap("check")
    starts = total_starts(stage.folder)
    if stage.fleet.deaths:
        stage.notes["ended by themselves"] = str(stage.fleet.deaths)
    return Row(
        name=fault.name,
        what=fault.what,
        status=status if clean else "failed",
        records=stage.load.records,
        verdicts=verdicts,
        audit_clean=books.clean,
        audit={
            "accepted": books.accepted,
            "lost": books.lost,
            "duplicated": books.duplicated,
            "reordered": books.reordered,
            "in_flight": books.in_flight,
        },
        outcomes=dict(books.outcomes),
        handler_starts=starts,
        rerun=starts - books.outcomes.get(HANDLED, 0),
        figures=figures,
        fault_s=fault_s,
        run_s=run_s,
        left_at_end=left,
        own_deaths=len(stage.fleet.deaths),
        failures=stage.failures,
        laps=stage.laps,
        notes=stage.notes,
    )


# --- steps -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _loading(fault: Fault, stage: Stage) -> AsyncIterator[None]:
    """The load: on the log before the block; or, if it has a pace, on its way while the block
    runs, from when all workers are members.
    """

    async def load() -> None:
        if fault.pace_s:
            await stage.until(stage.all_joined, "every worker is a member", JOIN_S_MAX)
        servers, pace_s = stage.cluster.servers, fault.pace_s
        least = stage.load
        if pace_s:
            least = msgspec.structs.replace(least, records=int(least.records * LEAST_SHARE))
        stage.load = await asyncio.to_thread(
            publish,
            *(servers, stage.namespace, CODEC, stage.ground, least),
            pace_s=pace_s * LEAST_SHARE,
            goes_on=lambda: pace_s > 0 and stage.not_over_for(pace_s * AFTER_SHARE),
            is_kept_up=lambda: not pace_s or stage.given_up or stage.progress.left <= LEFT_MAX,
        )

    stage.loaded = asyncio.create_task(load())
    if not fault.pace_s:
        await stage.loaded
    async with stage.progress.watching():  # or a load that waits for the workers would wait on
        try:
            yield
        finally:
            stage.is_over()
            stage.given_up = True  # the workers are gone: nobody catches up with the load any more
            await stage.loaded


@contextlib.asynccontextmanager
async def _stopping(stage: Stage) -> AsyncIterator[None]:
    """Whatever happens, no worker is left."""
    try:
        yield
    finally:
        unclean = await stage.fleet.stop()
        if unclean:
            stage.notes["ended uncleanly"] = str(unclean)


async def _reach(stage: Stage, share: float) -> None:
    """Wait until this share of all handling is committed, and every worker has had a part in it: a
    fault of an idle one would prove nothing.
    """
    wanted = share * stage.ground.hops * stage.load.records

    def reached() -> bool:
        idle = any(not starts_of(stage.folder, one.pid) for one in stage.fleet.processes)
        return stage.progress.done >= wanted and not idle

    if not await stage.progress.until(reached, silence_s_max=SILENCE_S_MAX, limit_s=LIMIT_S):
        raise NothingWorks(f"not every worker works even before the fault: see {stage.folder}")


async def _keep_up(stage: Stage, pace_s: float) -> None:
    """Wait until the workers, which have only just begun, have as much left as comes in a second;
    not for long: the figures will say that they never had.
    """
    await stage.progress.until(
        lambda: stage.progress.left <= stage.ground.hops * stage.load.records / pace_s,
        silence_s_max=SILENCE_S_MAX,
        limit_s=KEEP_UP_S_MAX,
    )


async def _settle(stage: Stage) -> None:
    """All is sent and committed, or nothing goes on any more."""
    loaded = stage.loaded

    def silent() -> None:
        stage.notes["silent"] = f"{stage.progress.left} positions left; stacks are in the logs"
        for process in stage.fleet.processes:
            process.tell_stacks()

    if not await stage.progress.until(
        lambda: (loaded is None or loaded.done()) and stage.progress.caught_up,
        silence_s_max=SILENCE_S_MAX,
        limit_s=LIMIT_S,
        on_silence=silent,
    ):
        stage.given_up = True
        stage.notes["group"] = await asyncio.to_thread(stage.group_now)
        stage.notes["not caught up"] = "; ".join(stage.progress.apart)


def _collect(stage: Stage) -> Evidence:
    reading = Reading(stage.cluster.servers, stage.namespace, CODEC, stage.ground)
    gc.disable()  # some million objects, all of which stay
    try:
        return reading.collect(
            frozenset(stage.load.task_ids()),
            frozenset(stage.never_committed),
            stage.progress.steps_back,
        )
    finally:
        gc.enable()
        reading.close()


def _write_down(evidence: Evidence, folder: Path) -> None:
    """Every commit that the journal tells of, for whoever asks afterwards where the time went."""
    lines = [
        (one.at_ms, one.source.index, one.writer, one.prefix_from, one.prefix_to, one.count)
        for one in sorted(evidence.history.commits, key=lambda one: one.at_ms)
    ]
    (folder / COMMITS).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


# --- who coordinates -------------------------------------------------------------------------


async def _namespace(cluster: Cluster, fault: Fault) -> Namespace:
    """A fresh one, whose group has its coordinator where the placement wants it."""
    names = (Namespace(f"fault-{secrets.token_hex(5)}") for _ in range(PLACEMENT_TRIES_MAX))
    if fault.placement is Placement.ANYWHERE:
        return next(names)
    controls = await roles.known_controller(cluster)
    led = await asyncio.to_thread(roles.leaders, cluster, roles.OFFSETS)
    for name in names:
        group = name.group(fault.ground.group)
        node = led[roles.coordinator_partition(group, len(led))]
        if (node == controls) is (fault.placement is Placement.TOGETHER):
            return name
    raise RuntimeError(f"no group coordinator can be placed {fault.placement.name}: {led}")


async def _placed_run_ids(stage: Stage, placement: Placement) -> Callable[[], str]:
    """Run ids whose transaction coordinator is where the placement wants it."""
    controls = await roles.known_controller(stage.cluster)
    coordinates = await asyncio.to_thread(roles.group_coordinator, stage.cluster, stage.group)
    led = await asyncio.to_thread(roles.leaders, stage.cluster, roles.TRANSACTIONS)
    apart = placement is Placement.APART
    wanted = {node for node in stage.cluster.ports if node not in (controls, coordinates)}
    wanted = wanted if apart else {controls}

    def run_id() -> str:
        for _ in range(PLACEMENT_TRIES_MAX):
            found = new_run_id()
            partition = roles.coordinator_partition(stage.transactional_id(found), len(led))
            if led[partition] in wanted:
                return found
        raise RuntimeError(f"no transaction coordinator can be placed {placement.name}: {led}")

    return run_id
