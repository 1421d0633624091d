"""What must hold of every run, each with a name. All of them pure, over a `History`.

no_loss               every accepted record has its outcome, and what was handled its outputs
no_duplicate_effect   one outcome a record, each output once, none without the outcome that made it
key_order             outputs of a key in its source's order; its handlers never beside each other,
                      never out of order
tiling                the journal tiles its source, and what is committed is a moment of it
dead_letters          poison after all its attempts, what kills after a bounded number of deaths,
                      what nobody can read; and nothing else
all_released          who has ended holds nothing: no record, no byte, no task
no_progress           when faults stop, everything ends in bounded time

`all_released` and `no_progress` are noticed by the world itself, and audits in the middle of a run
by whoever makes them (`run`); they are in `observed.problems`.

At least once, what is there twice is no fault; it is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from consumers.journal.tiling import TilingResult
from consumers.worker.assignment import STARTS_MAX, TAKEOVERS_MAX
from streams.record import Partition
from tests.simulation.history import History, Input, Place
from tests.simulation.plans import Plan
from tests.simulation.schedule import Kind
from tests.simulation.world import HandlerRun

Checker = Callable[[History], Iterable[str]]

DEATHS_MAX: Final = 2 * (TAKEOVERS_MAX + STARTS_MAX)
"""Deaths that one record may cause. Half of that as a rule: until its partition is under suspicion,
and then alone. What else dies or commits meanwhile can make it more.
"""
HANDLED: Final = "handled"
DEAD: Final = "dead_lettered"
SKIPPED: Final = "skipped"
EXPIRED: Final = "expired"


def no_loss(history: History) -> Iterator[str]:
    """Nothing that was accepted has gone, and nothing that it led to."""
    known = {one.place for one in history.inputs}
    for place in history.observed.accepted:
        if place not in known:
            yield f"{place} was accepted and is not on the log"
    written = {one.id for one in history.outputs}
    for one in history.inputs:
        if not one.endings:
            yield f"{one} has no outcome"
            continue
        if one.endings[0].outcome == DEAD and not one.letters:
            yield f"{one} was dead-lettered, and there is no dead letter"
        if any(ended.outcome == HANDLED for ended in one.endings):
            for handler in one.handlers:
                for wanted in (*one.effect_ids(handler), *one.output_ids(handler)):
                    if wanted not in written:
                        yield f"{one} was handled, and output {wanted} of {handler} is not there"


def no_duplicate_effect(history: History) -> Iterator[str]:
    """Nothing happened twice, and nothing without its outcome."""
    causes = {
        wanted: (one, handler)
        for one in history.inputs
        for handler in one.handlers
        for wanted in one.output_ids(handler)
    }
    effects = {
        wanted: one
        for one in history.inputs
        for handler in one.handlers
        for wanted in one.effect_ids(handler)
    }
    written = Counter(one.id for one in history.outputs)
    for output in history.outputs:
        if output.id in effects:
            if not history.repeats and not effects[output.id].endings:
                yield f"{effects[output.id]} has no outcome, and its effect {output.id} is there"
            continue
        if output.id not in causes:
            yield f"output {output.id} at {output.record} comes from no record"
            continue
        one, handler = causes[output.id]
        ends = {ended.outcome for ended in one.endings}
        # What one handler did well outlives a retry of another that came too late.
        beside = len(one.handlers) > 1 and bool(ends)
        if not history.repeats and not ends & {HANDLED, DEAD} and not beside:
            yield f"{one} is {ends or 'not ended'}, and output {output.id} of {handler} is there"
    for one in history.inputs if not history.repeats else ():
        yield from _once(one, written)
    yield from _repetitions(history)


def _once(one: Input, written: Counter[str]) -> Iterator[str]:
    """One record: one outcome, one dead letter at most, each output once."""
    if len(one.endings) > 1:
        yield f"{one} ended {len(one.endings)} times: {_said(one)}"
    if len(one.letters) > 1:
        yield f"{one} has {len(one.letters)} dead letters"
    if one.letters and one.endings and one.endings[0].outcome != DEAD:
        yield f"{one} is {_said(one)}, and has a dead letter"
    for handler in one.handlers:
        counts = [written[wanted] for wanted in one.output_ids(handler)]
        counts_of_effects = [written[wanted] for wanted in one.effect_ids(handler)]
        if any(count > 1 for count in (*counts, *counts_of_effects)):
            yield f"{one}: outputs of {handler} are there {counts} times"
        if len(set(counts)) > 1:
            yield f"{one}: only some outputs of {handler} are there: {counts}"


def _repetitions(history: History) -> Iterator[str]:
    """What repeats within the window is skipped, and nothing else is."""
    window = history.schedule.bounds.dedup_window
    seen: dict[tuple[str, Partition, str], list[int]] = defaultdict(list)
    for one in history.inputs:
        if not one.id or one.kind is Kind.IMPORT:
            continue
        source, position = one.place
        earlier = seen[one.group, source, one.id]
        reasons = {ended.reason for ended in one.endings}
        skipped = "duplicate" in reasons
        near = [at for at in earlier if position - at <= window]
        if window and near and not reasons & {"duplicate", "replay", "crashed"}:
            yield f"{one} repeats {near[-1]} within {window} positions: {_said(one)}"
        # The window forgets in quarters, the last of which may be as long again.
        if skipped and not any(position - at <= window * 2 for at in earlier):
            yield f"{one} was skipped as a duplicate of {earlier or 'nothing'}"
        earlier.append(position)


def key_order(history: History) -> Iterator[str]:
    """A key's records one after the other, and what they led to as well."""
    yield from _outputs_in_order(history)
    by_owner: dict[tuple[str, int, Partition, bytes | None], list[HandlerRun]] = defaultdict(list)
    for run in history.observed.runs:
        if run.key is not None:
            by_owner[run.run_id, run.token, run.source, run.key].append(run)
    for runs in by_owner.values():
        open_runs: list[HandlerRun] = []
        highest = -1
        for run in runs:
            open_runs = [one for one in open_runs if one.ended is None or one.ended > run.began]
            beside = [one for one in open_runs if one.position != run.position]
            if beside:
                yield f"{_named(run)} began while {_named(beside[0])} ran, of the same key"
            if run.position < highest:
                yield f"{_named(run)} began after {highest} of the same key"
            highest = max(highest, run.position)
            open_runs.append(run)


def _outputs_in_order(history: History) -> Iterator[str]:
    causes: dict[str, tuple[Place, bytes | None, int]] = {}
    for one in history.inputs:
        if history.repeats and {HANDLED} < {ended.outcome for ended in one.endings}:
            continue  # its one owner had handled it, late, and it had expired for the other
        n = 0
        for handler in one.handlers:
            for wanted in one.output_ids(handler):
                causes[wanted] = (one.place, one.record.key, n)
                n += 1
    last: dict[tuple[Partition, Partition, bytes | None], tuple[int, int]] = {}
    seen: set[str] = set()
    for output in history.outputs:
        if output.id in seen or output.id not in causes:
            continue
        seen.add(output.id)
        (source, position), key, n = causes[output.id]
        along = (output.record.source, source, key)
        if (position, n) < last.get(along, (-1, -1)):
            yield f"output {output.id} of {source}@{position} comes after one of {last[along][0]}"
        last[along] = max((position, n), last.get(along, (-1, -1)))


def tiling(history: History) -> Iterator[str]:
    """The audit's arithmetic, at the end of the run."""
    for found in history.audits:
        for source, result in found.tilings.items():
            yield from faults_of(f"{found.group} {source}", result)


def faults_of(where: str, result: TilingResult) -> Iterator[str]:
    """What is wrong with the journal of a group and partition, in words."""
    for fault in result.faults:
        yield f"{where}: {fault.kind} at {fault.position}: {fault.detail}"


def dead_letters(history: History) -> Iterator[str]:
    """Every record ended as what it is must end."""
    alone = Counter(suspect for death in history.observed.deaths for suspect in death.suspects)
    ran = Counter((run.source, run.position, run.handler) for run in history.observed.runs)
    for one in history.inputs:
        wanted = _endings_of(history, one)
        for ended in one.endings:
            if ended.outcome == DEAD and ended.reason == "crashed":
                kills = one.kind is Kind.CRASHING or _kills(one)
                if not kills and alone[one.place] < STARTS_MAX:
                    yield f"{one} is dead as crashed; owners died {alone[one.place]} times with it"
            elif (ended.outcome, ended.reason) not in wanted:
                yield f"{one} ended as {ended.outcome} {ended.reason}, not as one of {wanted}"
        yield from _attempts(history, one)
        if any(run for run in ran if run[:2] == one.place) and not one.handlers:
            yield f"{one} was handled, and nothing takes it"
    yield from _blame(history)
    yield from _deaths(history)


def _blame(history: History) -> Iterator[str]:
    """The log does not say of a record that its process died of it, if it died of another."""
    for death in history.observed.deaths:
        for suspect in death.suspects:
            if death.of is not None and suspect != death.of:
                source, position = suspect
                yield (
                    f"{death.run_id} died of {death.by}, and the log says that {source}@{position} "
                    "was started and has not ended"
                )


def _kills(one: Input) -> bool:
    return any(plan.crashes for plan in one.plans.values())


def _endings_of(history: History, one: Input) -> set[tuple[str, str]]:
    """How a record may end, from what it is and what its handlers do."""
    wanted: set[tuple[str, str]] = set()
    if history.schedule.bounds.dedup_window:
        wanted.add((SKIPPED, "duplicate"))  # `_repetitions` says whether it may
    match one.kind:
        case Kind.UNDECODABLE:
            return {*wanted, (DEAD, "undecodable")}
        case Kind.UNKNOWN_SCHEMA:
            return {*wanted, (DEAD, "unknown_schema")}
        case Kind.REPLAY:
            return {(SKIPPED, "replay")}
        case Kind.IMPORT:
            return {(SKIPPED, "import")}
    if one.id in history.observed.cancelled:
        wanted.add((SKIPPED, "cancelled"))
    if one.ttl_ms and any(e.at_ms - one.created_at_ms > one.ttl_ms for e in one.endings):
        wanted.add((EXPIRED, "time_to_live"))
    if not one.handlers:
        return {*wanted, (SKIPPED, "no_handler")}
    failures = {found for plan in one.plans.values() if (found := _failure(history, plan))}
    if not failures:
        return {*wanted, (HANDLED, "")}
    return wanted | {(DEAD, found) for found in failures}


def _failure(history: History, plan: Plan) -> str:
    """The error that a handler ends with, however often it is tried; empty: none."""
    bounds = history.schedule.bounds
    if bounds.timeout_ms is not None and plan.waits_ms >= bounds.timeout_ms:
        return "HandlerTimedOut"
    if plan.final:
        return "NonRetriable"
    if plan.poison or plan.failures >= bounds.retry.attempts_max:
        return "Failed"
    return ""


def _attempts(history: History, one: Input) -> Iterator[str]:
    """What failed for want of attempts had all of them, with one owner."""
    attempts_max = history.schedule.bounds.retry.attempts_max
    for letter in one.letters:
        retried = letter.error_name in {"Failed", "HandlerTimedOut"}
        final = any(plan.final for plan in one.plans.values())
        if retried and not final and letter.attempts != attempts_max:
            yield f"{one} is dead after {letter.attempts} of {attempts_max} attempts"
        if letter.attempts > attempts_max:
            yield f"{one} is dead after {letter.attempts} attempts, more than {attempts_max}"


def _deaths(history: History) -> Iterator[str]:
    """What kills its process is put away after a bounded number of deaths."""
    records = Counter(one.subject for one in history.inputs if _kills(one))
    deaths = Counter(death.by for death in history.observed.deaths if death.by)
    for subject, count in deaths.items():
        allowed = DEATHS_MAX * max(1, records[subject])
        if count > allowed:
            yield f"{subject} took its process along {count} times, more than {allowed}"


def _said(one: Input) -> str:
    return ", ".join(f"{ended.outcome} {ended.reason}".strip() for ended in one.endings) or "open"


def _named(run: HandlerRun) -> str:
    return f"{run.subject}/{run.handler} at {run.source}@{run.position} in {run.run_id}"


CHECKERS: Final[Mapping[str, Checker]] = {
    "no_loss": no_loss,
    "no_duplicate_effect": no_duplicate_effect,
    "key_order": key_order,
    "tiling": tiling,
    "dead_letters": dead_letters,
}
"""All that read a history."""
NOTICED: Final = ("all_released", "no_progress")
"""Those that the world tells."""
