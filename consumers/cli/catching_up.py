"""A read model brought up to date before it is asked, and what to say if that takes too long."""

from __future__ import annotations

import time
from typing import Annotated, Final

import typer

from consumers.cli.output import stderr
from consumers.cli.progress import following
from consumers.read_models import Generations, RowKeeper, catch_up
from streams.cuts import Cut
from streams.kafka.reader import KafkaLogReader
from streams.session import Session

WAIT_S: Final = 60.0
"""Seconds that a command takes at most to bring a read model up to date, unless told otherwise."""

Wait = Annotated[
    float,
    typer.Option("--wait", min=0, help="Seconds for the read model to catch up with the log."),
]


def bring_up_to_date(
    session: Session,
    reader: KafkaLogReader,
    generations: Generations,
    wait_s: float,
    cut: Cut | None = None,
) -> int:
    """How many positions below the cut (default: the log's end) the rows still lack, after `wait_s`
    seconds at most. If there are any it is said on stderr.
    """
    model = generations.model
    cut = cut or reader.ends(session.namespace.topics(model.topics))
    keeper = RowKeeper(generations, session.codec)
    with following(model.name) as on_progress:
        if catch_up(
            keeper,
            reader,
            cut,
            deadline=time.monotonic() + wait_s,
            on_progress=on_progress,
        ):
            return 0
    stored = keeper.positions(cut)
    behind = sum(max(0, end - stored.get(source, 0)) for source, end in cut)
    if not behind:
        return 0
    stderr.print(
        f"the read model {model.name} is {behind:,} positions behind the log: what they hold is "
        f"not shown; `agentlog projections run {model.name}` brings it up to date, or a longer "
        "--wait",
        style="yellow",
        soft_wrap=True,
    )
    return behind
