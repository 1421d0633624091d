"""The root command: every family under one name, every error as one sentence."""

from __future__ import annotations

import sys

import typer

from consumers.cli import (
    audit,
    broker,
    cancel,
    cut,
    demo,
    diff,
    dlq,
    projections,
    prove,
    publish,
    registry,
    replay,
    replay_handlers,
    schemas,
    state,
    stream,
    tail,
    topics,
    trace,
    trail,
    what_if,
    worker,
    workers,
)
from consumers.cli.output import stderr
from streams.errors import AgentlogError

app = typer.Typer(
    name="agentlog",
    help="Agents' history on Apache Kafka: publish it, work on it, rebuild it, prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(broker.app, name="broker")
app.add_typer(registry.app, name="registry")
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
app.command(name="publish")(publish.publish)
app.command(name="tail")(tail.tail)
app.command(name="worker")(worker.worker)
app.command(name="workers")(workers.workers)
app.command(name="cancel")(cancel.cancel)
app.add_typer(projections.app, name="projections")
replay.app.command(name="handlers")(replay_handlers.handlers)
app.add_typer(replay.app, name="replay")
app.command(name="stream")(stream.stream)
app.command(name="state")(state.state)
app.command(name="diff")(diff.diff)
app.command(name="trace")(trace.trace)
app.command(name="trail")(trail.trail)
app.add_typer(cut.app, name="cut")
app.command(name="what-if")(what_if.what_if)
app.command(name="audit")(audit.audit)
app.command(name="prove")(prove.prove)
app.add_typer(dlq.app, name="dlq")
app.command(name="demo")(demo.demo)


def main() -> None:
    """Run one command; our own errors become one sentence on stderr and an exit code."""
    try:
        app()
    except AgentlogError as error:
        stderr.print(f"agentlog: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
