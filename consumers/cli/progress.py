"""How far something is: a bar on a terminal, else a line from time to time. On stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from consumers.cli.output import stderr
from consumers.folds import OnProgress

LINE_EVERY_S: Final = 10.0
"""Seconds between two lines, where there is no terminal."""


@contextmanager
def following(what: str) -> Iterator[OnProgress]:
    """Show how far `what` is, how fast it goes, and when it will be done.

    Yields what to call with (positions passed, positions in all). The rate is that of the last
    half minute; what was passed at the first call does not count for it.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal,
    )
    task_id = progress.add_task(what, total=None)
    task = progress.tasks[0]
    line_at_s = time.monotonic() + LINE_EVERY_S

    def on_progress(passed: int, total: int) -> None:
        nonlocal line_at_s
        progress.update(task_id, completed=passed, total=total)
        if not stderr.is_terminal and time.monotonic() >= line_at_s:
            line_at_s = time.monotonic() + LINE_EVERY_S
            stderr.print(line_of(task), markup=False, soft_wrap=True)

    with progress:
        yield on_progress


def line_of(task: Task) -> str:
    """As in `replay state: 1,200,000 of 5,000,000 positions, 45,000/s, 84 s left`."""
    done = f"{task.description}: {task.completed:,.0f} of {task.total or 0:,.0f} positions"
    if not task.speed or task.time_remaining is None:
        return done
    return f"{done}, {task.speed:,.0f}/s, {task.time_remaining:,.0f} s left"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Positions per second."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")
