"""The root command: every family under one name, every error as one sentence."""

from __future__ import annotations

import sys
from typing import ClassVar

import typer

from consumers.cli.on_demand import OnDemand
from consumers.cli.output import stderr
from streams.errors import AgentlogError


class _Commands(OnDemand):
    commands_at: ClassVar = {
        "broker": "broker:app",
        "registry": "registry:app",
        "topics": "topics:app",
        "schemas": "schemas:app",
        "publish": "publish:publish",
        "tail": "tail:tail",
        "worker": "worker:worker",
        "workers": "workers:workers",
        "cancel": "cancel:cancel",
        "projections": "projections:app",
        "replay": "replay:app",
        "stream": "stream:stream",
        "state": "state:state",
        "diff": "diff:diff",
        "trace": "trace:trace",
        "trail": "trail:trail",
        "cut": "cut:app",
        "what-if": "what_if:what_if",
        "audit": "audit:audit",
        "prove": "prove:prove",
        "dlq": "dlq:app",
        "demo": "demo:demo",
    }


app = typer.Typer(
    name="agentlog",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def agentlog() -> None:
    """Agents' history on Apache Kafka: publish it, work on it, rebuild it, prove it."""


def main() -> None:
    """Run one command; our own errors become one sentence on stderr and an exit code."""
    try:
        app()
    except AgentlogError as error:
        stderr.print(f"agentlog: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
