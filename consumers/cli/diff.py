"""`agentlog diff`: what changed about an agent between two moments, and which records did it."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from consumers.cli.asked import AsJson, Processes
from consumers.cli.cut import read_named
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.progress import following
from consumers.cli.replaying import codec_opener, tell_undecodable
from consumers.cli.session import connect
from consumers.differences import NOTHING, Difference, differences
from consumers.projections import AgentState, Filters
from consumers.projections.agent_changes import AgentChanges, Did
from consumers.replay import replay
from streams.cuts import Cut
from streams.errors import ConfigurationError, LogError
from streams.headers import rfc3339
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at

RECORDS_DEFAULT: Final = 1_000
"""Records that changed something, of which the places are kept; what comes later is counted."""
SHOWN_MAX: Final = 50
"""Of those, rows of the table."""


def diff(
    agent: Annotated[str, typer.Argument()],
    from_: Annotated[str, typer.Option("--from", metavar="MOMENT")],
    to: Annotated[str, typer.Option("--to", metavar="MOMENT")] = "now",
    records_max: Annotated[
        int,
        typer.Option(
            "--records", min=0, help="Name so many of the records that changed something."
        ),
    ] = RECORDS_DEFAULT,
    processes: Processes = None,
    json_: AsJson = False,
) -> None:
    """What changed in what the log knows of an agent, and the records that did it."""
    session = connect()
    states, changes = AgentState(), AgentChanges(agent, records_max)
    topics = session.namespace.topics(states.topics)
    with KafkaLogReader(session.bootstrap_servers) as reader:
        named = read_named(NamedCuts(reader, session.namespace, session.codec))
        now_ms = time.time_ns() // 1_000_000
        before, after = (resolve_at(reader, topics, one, now_ms, named) for one in (from_, to))
        _require_order(before, after, from_, to)
        run = partial(
            replay,
            reader=reader,
            namespace=session.namespace,
            codec=session.codec,
            filters=Filters(agent=agent),
            workers=processes,
            open_codec=codec_opener(session),
        )
        with following(f"{agent} up to {from_}") as on_progress:
            first: Any = run(states, cut=before, on_progress=on_progress)
        with following(f"{agent} from {from_} to {to}") as on_progress:
            then: Any = run(changes, cut=after, since=before, on_progress=on_progress)
    tell_undecodable(first.tally + then.tally)
    was = states.view(first.state)["agents"].get(agent)
    found = changes.view(then.state)
    # Both are of one agent, and one stretch follows the other: merged they are what it is now.
    now = states.view(states.merge(first.state, then.state["agents"]))["agents"].get(agent)
    if now is None:
        raise LogError(
            f"no agent {agent!r} sent or was sent anything up to {to}; `agentlog state` lists "
            "those that did"
        )
    changed = list(differences(was or {}, now))
    if json_:
        emit(
            {
                "agent": agent,
                "from": before.encode(),
                "to": after.encode(),
                "changes": [_change(one) for one in changed],
                "records_changed": found["changed"],
                "records": [_record(did) for did in found["first"]],
            }
        )
    else:
        _show(agent, changed, found["first"], found["changed"])


def _require_order(before: Cut, after: Cut, from_: str, to: str) -> None:
    for source, end in before:
        if after.ends.get(source, 0) < end:
            raise ConfigurationError(
                f"--from {from_} is later than --to {to} on {source}: {end} is behind "
                f"{after.ends.get(source, 0)}; swap them"
            )


def _change(one: Difference) -> dict[str, Any]:
    return {
        "path": one.path,
        "before": None if one.before is NOTHING else one.before,
        "after": None if one.after is NOTHING else one.after,
    }


def _record(did: Did) -> dict[str, Any]:
    return {
        "record": f"{did.topic}[{did.partition}]@{did.position}",
        "appended_at": rfc3339(did.appended_at_ms * 1000),
        "id": did.id,
        "type": did.type,
        "sender": did.sender,
        "recipients": did.recipients,
        "correlation_id": did.correlation_id,
    }


def _show(agent: str, changes: list[Difference], records: list[Did], total: int) -> None:
    if not changes:
        stdout.print(f"nothing changed about {agent}", markup=False)
        return
    table = Table(agent, "before", "after", box=box.SIMPLE_HEAD)
    for one in changes:
        table.add_row(one.path, str(one.before), str(one.after))
    stdout.print(table)
    did = Table("appended", "record", "type", "from", "to", box=box.SIMPLE_HEAD)
    for one_did in records[:SHOWN_MAX]:
        did.add_row(
            rfc3339(one_did.appended_at_ms * 1000),
            f"{one_did.topic.rpartition('.')[2]}[{one_did.partition}]@{one_did.position}",
            one_did.type.rpartition(".")[2],
            one_did.sender,
            ", ".join(one_did.recipients) or "*",
        )
    stdout.print(did)
    shown = min(len(records), SHOWN_MAX)
    if total > shown:
        stderr.print(
            f"and {total - shown:,} records more; --json has the first {len(records):,} of them "
            "all, --records N more"
        )
