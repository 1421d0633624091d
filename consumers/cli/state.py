"""`agentlog state`: what the log knows of the agents, now or at any moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import typer

from consumers.cli.asked import AsJson, Asked, asking
from consumers.cli.output import emit, stdout
from consumers.cli.replaying import facts, replayed, require_found
from consumers.cli.views import state_table
from consumers.projections import AgentState
from streams.errors import ConfigurationError, LogError


@asking
def state(
    asked: Asked,
    of_agent: Annotated[
        str | None, typer.Argument(metavar="[AGENT]", help="Only this one; as --agent.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """What the log knows of every agent, or of one."""
    asked = _with_agent(asked, of_agent)
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
