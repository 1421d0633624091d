"""`agentlog state`: what the log knows of the agents, now or at any moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated, Any

import msgspec
import typer

from consumers.agent_history import AgentHistory, agent_at
from consumers.cli.asked import AsJson, Asked, asking
from consumers.cli.catching_up import WAIT_S, Wait, bring_up_to_date
from consumers.cli.cut import read_named
from consumers.cli.kept import Store, store_url
from consumers.cli.output import emit, stdout
from consumers.cli.replaying import facts, replayed, require_found
from consumers.cli.session import connect
from consumers.cli.views import state_table
from consumers.databases import Database
from consumers.projections import AgentState, Filters
from consumers.read_models import Generations, read_live
from streams.digest import digest
from streams.errors import ConfigurationError, LogError
from streams.kafka.cuts import NamedCuts
from streams.kafka.lookup import KafkaLookup
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at


@asking
def state(
    asked: Asked,
    of_agent: Annotated[
        str | None, typer.Argument(metavar="[AGENT]", help="Only this one; as --agent.")
    ] = None,
    kept: Annotated[
        bool,
        typer.Option(
            "--kept",
            help="Of one agent, from the read model `agents` instead of a fold of the log: soon, "
            "where `agentlog projections run agents` keeps it.",
        ),
    ] = False,
    wait: Wait = WAIT_S,
    store: Store = None,
    json_: AsJson = False,
) -> None:
    """What the log knows of every agent, or of one."""
    asked = _with_agent(asked, of_agent)
    if kept:
        _show_kept(asked, wait, store, json_=json_)
        return
    projection, agent = AgentState(), asked.filters.agent
    done, view = replayed(projection, asked)
    agents: Mapping[str, Any] = view["agents"]
    if agent is not None:
        if agent not in agents:
            raise LogError(
                f"no agent {agent!r} sent or was sent anything up to {asked.at} that passes the "
                "filters; `agentlog state` lists those that did"
            )
        agents = {agent: agents[agent]}
    require_found(done, projection, asked)
    if json_:
        emit({**facts(done), "agents": agents})
    else:
        stdout.print(state_table(agents))


def _with_agent(asked: Asked, agent: str | None) -> Asked:
    if agent is None:
        return asked
    if asked.filters.agent not in {None, agent}:
        raise ConfigurationError(f"which agent: {agent!r} or --agent {asked.filters.agent!r}?")
    return asked._replace(filters=msgspec.structs.replace(asked.filters, agent=agent))


def _show_kept(asked: Asked, wait_s: float, store: str | None, *, json_: bool) -> None:
    agent = asked.filters.agent
    if agent is None or asked.filters != Filters(agent=agent):
        raise ConfigurationError("--kept is for one agent, without other filters")
    session, model = connect(), AgentHistory()
    topics = session.namespace.topics(model.topics)
    with (
        closing(Database(store_url(store, model))) as database,
        KafkaLogReader(session.bootstrap_servers) as reader,
        KafkaLookup(session.bootstrap_servers) as lookup,
    ):
        named = read_named(NamedCuts(reader, session.namespace, session.codec))
        cut = resolve_at(reader, topics, asked.at, time.time_ns() // 1_000_000, named)
        generations = Generations(database, model, session.namespace.name)
        bring_up_to_date(session, reader, generations, wait_s, cut)
        began = time.monotonic()
        found = read_live(
            generations,
            lambda view: agent_at(view, lookup, session.codec, session.namespace, agent, cut),
        )
        seconds = time.monotonic() - began
    if found.state is None:
        raise LogError(f"no agent {agent!r} sent or was sent anything up to {asked.at}")
    state = {agent: dict(found.state)}
    agents = AgentState().view(state)["agents"]
    if json_:
        told = {"digest": digest(state), "cut": cut.encode(), "seconds": round(seconds, 3)}
        emit({**told, "stored": found.stored, "read": found.read, "agents": agents})
    else:
        stdout.print(state_table(agents))
