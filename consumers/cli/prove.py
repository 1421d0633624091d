"""`agentlog prove`: what ran live is what the log comes to, in any order and in any process."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from consumers.aggregates import Aggregate, AggregateApp
from consumers.cli.asked import AsJson
from consumers.cli.cut import read_named
from consumers.cli.kept import READ_MODELS, Store, store_url
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.progress import following
from consumers.cli.replaying import codec_opener, load_projection
from consumers.cli.session import connect
from consumers.cli.stream import load_aggregates
from consumers.databases import Database
from consumers.index import LogIndex
from consumers.projections import Metrics
from consumers.proving import (
    Elsewhere,
    Fault,
    ProjectionSubject,
    Proof,
    Prover,
    Site,
    StreamsSubject,
    prove_rows,
)
from consumers.read_models import Generations, ReadModel, live_models
from consumers.references import load_reference
from consumers.state_store import LiveState, SqlStateStore, live_snapshot
from streams.cuts import Cut
from streams.errors import ConfigurationError, ProofFailed
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at
from streams.session import Session
from streams.topics import EVENTS

AGGREGATES: Final = "aggregates"
"""Names the built-in ones: the agents' shared state, and the life of a task."""
BUILT_IN: Final = ("state", "metrics")
SEED_MAX: Final = 2**32
DIGEST_SHOWN: Final = len("sha256:") + 16

Subject = ProjectionSubject | StreamsSubject | ReadModel


def prove(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[state|metrics|index|agents|aggregates|MODULE:NAME]…",
            help="Default: all that has stored states or rows, and the built-in aggregates.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="MOMENT",
            help="Compare replays at this moment; default: the live states at their own positions.",
        ),
    ] = None,
    store: Store = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=SEED_MAX, help="Draw the orders of an earlier proof."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Prove that live states are what the log comes to, however it is folded.

    A projection's stored state is compared with a replay at its own positions; the replay with
    others in other orders, batches and merges, and in another process. A read model's rows are
    compared with rows that are built again, in order and by turns of partitions. Of aggregates,
    every state digest on the log is compared with what `evolve` gives. What differs is named: the
    record, the path, both values. Exit code 1 if anything does.
    """
    session = connect()
    seed = random.SystemRandom().randrange(SEED_MAX) if seed is None else seed
    states = SqlStateStore(store_url(store, Metrics()))
    rows = Database(store_url(store, LogIndex()))
    site = Site(partial(KafkaLogReader, session.bootstrap_servers), codec_opener(session))
    try:
        subjects, unknown = _named(names) if names else _stored(states, rows, session, at)
        with (
            KafkaLogReader(session.bootstrap_servers) as reader,
            Elsewhere(site, seed) as elsewhere,
        ):
            _note(f"seed {seed}; PYTHONHASHSEED {elsewhere.hash_seed} in the other process")
            prover = Prover(reader, session.codec, session.namespace, elsewhere, seed, _note)
            moment = _Moment(session, reader, at)
            proofs = [
                _proof_of_rows(Generations(rows, subject, session.namespace.name), moment, seed)
                if isinstance(subject, ReadModel)
                else _proof(prover, name, subject, moment, states)
                for name, subject in subjects.items()
            ]
    finally:
        states.close()
        rows.close()
    if json_:
        emit(
            {
                "holds": all(one.holds for one in proofs),
                "seed": seed,
                "hash_seed": elsewhere.hash_seed,
                "proofs": [_document(one) for one in proofs],
                "unknown": unknown,
            }
        )
    else:
        _show(proofs)
    _conclude(proofs, unknown)


class _Moment(NamedTuple):
    """What `--at` says."""

    session: Session
    reader: KafkaLogReader
    at: str | None

    def cut(self, topics: Sequence[str]) -> Cut | None:
        """The cut of these topics (full names); None if nothing is said."""
        if self.at is None:
            return None
        named = NamedCuts(self.reader, self.session.namespace, self.session.codec)
        now_ms = time.time_ns() // 1_000_000
        return resolve_at(self.reader, topics, self.at, now_ms, read_named(named))


def _named(names: Sequence[str]) -> tuple[dict[str, Subject], list[str]]:
    return {name: _subject(name) for name in names}, []


def _subject(name: str) -> Subject:
    if name in BUILT_IN:
        return ProjectionSubject(partial(load_projection, name))
    if name == AGGREGATES:
        return StreamsSubject(partial(load_aggregates, None))
    if name in READ_MODELS:
        return READ_MODELS[name]()
    found: Any = load_reference(name)
    if isinstance(found, ReadModel):
        return found
    if isinstance(found, Aggregate | AggregateApp):
        return StreamsSubject(partial(load_aggregates, name))
    load_projection(name)  # raises for what is none
    return ProjectionSubject(partial(load_projection, name))


def _stored(
    states: SqlStateStore, rows: Database, session: Session, at: str | None
) -> tuple[dict[str, Subject], list[str]]:
    """What has stored states or rows here, and those of which nobody knows the code.

    Rows are what they are at their own positions: at another moment there is nothing to compare.
    """
    subjects: dict[str, Subject] = {}
    unknown = []
    for name, version in states.stored(f"{session.namespace.name}."):
        if name not in BUILT_IN:
            unknown.append(f"{name} (version {version})")
        elif version == load_projection(name).version:
            subjects[name] = _subject(name)
        else:
            _note(f"stored states of {name} version {version} are of older code, and not read")
    for name, version in live_models(rows, session.namespace.name) if at is None else ():
        if name not in READ_MODELS:
            unknown.append(f"{name} (version {version})")
        elif version == READ_MODELS[name]().version:
            subjects[name] = _subject(name)
        else:
            _note(f"stored rows of {name} version {version} are of older code, and not read")
    return {**subjects, AGGREGATES: _subject(AGGREGATES)}, unknown


def _proof_of_rows(generations: Generations, moment: _Moment, seed: int) -> Proof:
    name = generations.model.name
    if moment.at is not None:
        raise ConfigurationError(f"the rows of {name} are proved where they are: leave --at out")
    with following(f"prove {name}") as on_progress:
        return prove_rows(generations, moment.reader, moment.session.codec, seed, on_progress)


def _proof(
    prover: Prover,
    name: str,
    subject: ProjectionSubject | StreamsSubject,
    moment: _Moment,
    states: SqlStateStore,
) -> Proof:
    namespace = moment.session.namespace
    with following(f"prove {name}") as on_progress:
        if isinstance(subject, StreamsSubject):
            cut = moment.cut([namespace.topic(EVENTS)])
            return prover.aggregates(name, subject, cut, on_progress)
        projection = subject.projection
        topics = namespace.topics(projection.topics)
        cut, live = moment.cut(topics), None
        if cut is None:
            found: LiveState[Any] = live_snapshot(states, projection, topics)
            live = found
        return prover.projection(subject, live=live, cut=cut, on_progress=on_progress)


def _conclude(proofs: Sequence[Proof], unknown: Sequence[str]) -> None:
    faults = [f"{proof.name}: {fault}" for proof in proofs for fault in proof.faults]
    if faults:
        raise ProofFailed("; ".join(faults))
    if unknown:
        raise ConfigurationError(
            f"states or rows of {', '.join(unknown)} are stored too, and nobody here knows the "
            "code: name it, as in `agentlog prove examples.change_history:projection`"
        )


def _document(proof: Proof) -> dict[str, Any]:
    return {
        "name": proof.name,
        "kind": proof.kind,
        "holds": proof.holds,
        "cut": proof.cut.encode(),
        "digest": proof.digest,
        "live_digest": proof.live_digest,
        "records": proof.records,
        "undecodable": proof.undecodable,
        **({"counts": dict(proof.counts)} if proof.counts else {}),
        "seconds": round(proof.seconds, 3),
        "faults": [msgspec.to_builtins(fault) for fault in proof.faults],
    }


def _show(proofs: Sequence[Proof]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("", "proof", "compared", "records", "digest"):
        table.add_column(title, justify="right" if title == "records" else "left")
    for proof in proofs:
        table.add_row(
            Text("✓", style="green") if proof.holds else Text("✗", style="bold red"),
            proof.name,
            _compared(proof),
            f"{proof.records:,}",
            proof.digest[:DIGEST_SHOWN],
        )
    stdout.print(table)
    for proof in proofs:
        for fault in proof.faults:
            for part in _faulty(proof, fault):
                stdout.print(part, soft_wrap=True)


def _compared(proof: Proof) -> str:
    if proof.kind == AGGREGATES:
        return f"{proof.counts['verified']:,} of {proof.counts['events']:,} events, replays"
    if proof.kind == "read_model":
        return f"{sum(proof.counts.values()):,} rows, rebuilt twice"
    return "live, replays" if proof.live_digest is not None else "replays"


def _faulty(proof: Proof, fault: Fault) -> Iterator[Text | Table]:
    yield Text.assemble(("✗ ", "bold red"), f"{proof.name}: {fault.where}: {fault.detail}")
    if not fault.differences:
        return
    table = Table("path", fault.one, fault.other, box=box.SIMPLE_HEAD)
    for one in fault.differences:
        table.add_row(Text(one.path or "the state"), Text(one.one), Text(one.other))
    if fault.more:
        table.caption = f"and {fault.more:,} more"
    yield table


def _note(note: str) -> None:
    stderr.print(note, style="dim", markup=False, soft_wrap=True)
