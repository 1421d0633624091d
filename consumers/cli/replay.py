"""`agentlog replay`: rebuild a state from the log alone, at any cut."""

from __future__ import annotations

from typing import Annotated

import typer

from consumers.cli.asked import AsJson, Asked, asking, named_filters
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.replay_handlers import handlers
from consumers.cli.replaying import facts, load_projection, replayed, require_found
from consumers.cli.state import state
from consumers.cli.views import metrics_table, plain_table
from consumers.projections import Metrics
from streams.digest import digest

app = typer.Typer(help="Rebuild a state from the log alone.", no_args_is_help=True)
app.command(name="state")(state)


@app.command()
@asking
def metrics(asked: Asked, json_: AsJson = False) -> None:
    """What was sent, how it ended, how long it took (S3.18)."""
    found = Metrics()
    done, view = replayed(found, asked)
    require_found(done, found, asked)
    if json_:
        emit({**facts(done), **view})
    else:
        stdout.print(metrics_table(view))


@app.command()
@asking
def projection(
    reference: Annotated[str, typer.Argument(metavar="MODULE:NAME")],
    asked: Asked,
    json_: AsJson = False,
) -> None:
    """A projection of your own; --json prints exactly its view."""
    found = load_projection(reference)
    done, view = replayed(found, asked)
    if named_filters(asked.filters) and done.digest == digest(found.initial()):
        # It may be right: only its fold knows what it looks at.
        stderr.print(
            f"nothing that passes {named_filters(asked.filters)} changed its state",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    if json_:
        emit(view)
    else:
        stdout.print(plain_table(reference, view))


app.command(name="handlers")(handlers)
