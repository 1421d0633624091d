"""`agentlog prove` on real Kafka: what holds is proven, what does not is named with both values."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from typer.testing import CliRunner, Result

from consumers.aggregates import AggregateApp
from consumers.cli.main import app as cli
from consumers.live import wait_for
from consumers.projections import AgentState, Metrics, Projection
from consumers.state_store import Change, SqlStateStore
from streams.errors import ConfigurationError, LogError, ProofFailed
from streams.kafka.admin import TopicAdmin
from streams.session import session_on
from streams.settings import Settings
from streams.topics import COMMANDS, EVENTS, SNAPSHOTS, TOPICS, Namespace
from tests.consumers.proving import planted
from tests.consumers.test_live import DEADLINE_S, end_of, publish, running
from tests.consumers.worker.harness import USED, Bench, assign_task

PLANTED = "tests.consumers.proving.planted"
TWO = {
    **USED,
    **{
        name: msgspec.structs.replace(TOPICS[name], partitions=2)
        for name in (COMMANDS, EVENTS, SNAPSHOTS)
    },
}


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'states.sqlite'}"


class Prove:
    """The command, on one namespace and store."""

    def __init__(self, kafka: str, namespace: str, store_url: str) -> None:
        self._environment = {
            "AGENTLOG_BOOTSTRAP_SERVERS": kafka,
            "AGENTLOG_NAMESPACE": namespace,
            "AGENTLOG_STORE": store_url,
        }

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["prove", *arguments], env=self._environment)

    def json(self, *arguments: str) -> tuple[dict[str, Any], Result]:
        ended = self("--json", *arguments)
        assert ended.stdout, ended.exception
        return json.loads(ended.stdout), ended


@pytest.fixture
def prove(kafka: str, namespace: str, store_url: str) -> Prove:
    return Prove(kafka, namespace, store_url)


@pytest.fixture
def log(kafka: str, namespace: str) -> Namespace:
    found = Namespace(namespace)
    TopicAdmin(kafka).provision(found)
    return found


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStateStore]:
    with contextlib.closing(SqlStateStore(store_url)) as opened:
        yield opened


def keep_live(kafka: str, log: Namespace, store: SqlStateStore, *folds: Projection[Any]) -> None:
    """Stored states at the log's end, as live projections keep them."""
    with contextlib.ExitStack() as stack:
        for fold in folds:
            stack.enter_context(running(kafka, log, fold, store))
        for fold in folds:
            wait_for(store, fold, end_of(kafka, log, fold), DEADLINE_S)


@pytest.mark.timeout(180)
def test_what_is_stored_is_proven_then_spoilt_and_named(
    kafka: str, log: Namespace, store: SqlStateStore, prove: Prove
) -> None:
    """Live = replayed, at the live states' own positions, though the log went on; then one row is
    changed behind its fold's back.
    """
    publish(kafka, log, range(60))
    keep_live(kafka, log, store, AgentState(), Metrics())
    publish(kafka, log, range(60, 80))

    found, ended = prove.json("--seed", "7")
    assert ended.exit_code == 0, ended.exception
    assert (found["holds"], found["seed"], found["unknown"]) == (True, 7, [])
    proofs = {one["name"]: one for one in found["proofs"]}
    assert set(proofs) == {"metrics", "state", "aggregates"}
    for name in ("metrics", "state"):
        assert proofs[name]["live_digest"] == proofs[name]["digest"] != ""
        assert proofs[name]["records"] > 0
    shown = prove("metrics").stdout
    assert "✓" in shown
    assert "live, replays" in shown

    row = max(store.rows(AgentState(), f"{log.name}."), key=lambda one: len(one.state))
    state = cbor2.loads(row.state)
    state["ghost"] = {**next(iter(state.values()))}
    assert store.save(AgentState(), [Change(row.position, row._replace(state=cbor2.dumps(state)))])
    found, ended = prove.json("state")
    (fault,) = found["proofs"][0]["faults"]
    assert (found["holds"], fault["kind"]) == (False, "live_differs")
    assert fault["where"] == f"{row.source}@{row.position}"
    assert fault["differences"][0]["path"] == "ghost"
    assert fault["differences"][0]["other"] == "nothing"
    assert isinstance(ended.exception, ProofFailed)
    assert str(row.source) in str(ended.exception)
    shown = prove("state").stdout
    assert "✗" in shown
    assert "ghost" in shown


@pytest.mark.timeout(180)
def test_a_projection_of_ones_own_is_named_by_its_module(
    kafka: str, log: Namespace, store: SqlStateStore, prove: Prove
) -> None:
    """Its stored states are seen, and nobody can guess the code: the others are proven, and the
    command says what to do. With --at only replays are compared, in whatever is named.
    """
    Bench(kafka, log.name).send([assign_task(n, f"key-{n % 5}") for n in range(40)])
    with pytest.raises(LogError, match="no state of projection steady is stored yet"):
        raise prove(f"{PLANTED}:steady").exception or AssertionError
    keep_live(kafka, log, store, planted.steady)
    found, ended = prove.json()
    assert isinstance(ended.exception, ConfigurationError)
    assert "steady (version 1)" in str(ended.exception)
    assert found["unknown"] == ["steady (version 1)"]
    found, ended = prove.json(f"{PLANTED}:steady")
    assert ended.exit_code == 0, ended.exception
    cut = found["proofs"][0]["cut"]

    Bench(kafka, log.name).send([assign_task(40, planted.CULPRIT), assign_task(41, "key-1")])
    found, ended = prove.json(f"{PLANTED}:set_order", "--at", cut)
    assert ended.exit_code == 0, ended.exception
    assert found["proofs"][0]["live_digest"] is None
    found, ended = prove.json(f"{PLANTED}:set_order", "--at", "now")
    (fault,) = found["proofs"][0]["faults"]
    assert (fault["kind"], fault["differences"][0]["path"]) == ("hash_order", "seen")
    assert fault["where"].startswith(f"{log.name}.tasks[")
    assert isinstance(ended.exception, ProofFailed)


@pytest.mark.timeout(180)
async def test_streams_are_proven_against_what_was_decided(
    kafka: str, namespace: str, prove: Prove
) -> None:
    """Every digest on the log; an `evolve` that reads the clock is named with the event."""
    bench = Bench(kafka, namespace, TWO)
    session = session_on(kafka, Settings(namespace=namespace))

    async def decide(app: AggregateApp, values: range) -> None:
        async with bench.working(app), session.shared_state("planner") as state:
            for n in values:
                await state.set(f"key-{n % 3}", planted.CULPRIT if n == 15 else n, notify=False)

    await decide(planted.steady_app, range(12))
    found, ended = prove.json(f"{PLANTED}:steady_app")
    assert ended.exit_code == 0, ended.exception
    assert found["proofs"][0]["counts"] == {"events": 12, "verified": 12}
    assert "12 of 12 events" in prove(f"{PLANTED}:steady_app").stdout

    await decide(planted.clocked_app, range(12, 18))
    found, ended = prove.json(f"{PLANTED}:clocked_app")
    (fault,) = found["proofs"][0]["faults"]
    assert fault["kind"] == "not_repeatable"
    assert fault["where"].startswith(f"{namespace}.events[")
    assert fault["differences"][0]["path"] == "streams['state:key-0'].state.seen"
    assert isinstance(ended.exception, ProofFailed)


def test_what_is_no_fold_is_refused(kafka: str, log: Namespace, prove: Prove) -> None:
    """Before anything is read."""
    ended = prove("tests.consumers.proving.planted:CULPRIT")
    assert isinstance(ended.exception, ConfigurationError)
    assert "is no projection" in str(ended.exception)
