"""Which handler runs in this task: for log lines, and for what handlers do behind our back."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

from consumers.context import Context


class RunCell:
    """Which handler runs in this task, now."""

    __slots__ = ("ctx",)

    def __init__(self, ctx: Context | None = None) -> None:
        self.ctx = ctx


current_run: ContextVar[RunCell | None] = ContextVar("agentlog_run", default=None)
"""The run of the handler in this task; None outside of handlers."""


def add_record_ids(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: what a handler logs carries the ids of what it runs on."""
    cell = current_run.get()
    if cell is not None and cell.ctx is not None:
        for name, value in cell.ctx.ids.items():
            event.setdefault(name, value)
    return event
