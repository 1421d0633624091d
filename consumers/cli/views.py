"""How states look to people: rich tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

ROWS_MAX: Final = 20
"""Rows of one table; `--json` has them all."""


def metrics_table(view: Mapping[str, Any]) -> RenderableType:
    """The metrics report: totals, then who, what and where."""
    totals = _table("messages", "")
    for label, value in _totals(view):
        totals.add_row(label, _shown(value))
    return Group(
        totals,
        *(
            counts_table(title, view[name])
            for title, name in (
                ("type", "by_type"),
                ("channel", "by_channel"),
                ("sender", "by_sender"),
            )
            if view[name]
        ),
    )


def _totals(view: Mapping[str, Any]) -> list[tuple[str, Any]]:
    throughput = view["throughput"]
    errors = ", ".join(f"{name} {share:.2%}" for name, share in view["error_rates"].items())
    success = view["success_rate"]
    return [
        *(
            (name.removeprefix("messages_").replace("_", " "), view[name])
            for name in view
            if name.startswith("messages_")
        ),
        ("sent per second", throughput["per_second"]),
        ("sent per minute", throughput["per_minute"]),
        ("delivery time, mean, ms", view["average_delivery_time"]),
        (
            "delivery time, p50 / p99, ms",
            f"{_shown(view['delivery_time_p50'])} / {_shown(view['delivery_time_p99'])}",
        ),
        ("success rate", None if success is None else f"{success:.2%}"),
        ("errors", errors or None),
        ("as of", view["timestamp"]),
    ]


def state_table(agents: Mapping[str, Mapping[str, Any]]) -> Table:
    """Agents, busiest first."""
    table = _table("agent", "sent", "received", "tasks done", "last task", "last seen")
    busiest = sorted(agents.items(), key=lambda item: (-_sum(item[1]["sent"]), item[0]))
    for name, agent in busiest[:ROWS_MAX]:
        task = agent["last_task"]
        table.add_row(
            name,
            _shown(_sum(agent["sent"])),
            _shown(_sum(agent["received"])),
            f"{_sum(agent['tasks_finished']):,}/{agent['tasks_assigned']:,}",
            f"{task['id']} ({task['status']})" if task else "–",
            (agent["last_seen"] or "–")[:10],
        )
    return _with_rest(table, len(agents))


def counts_table(title: str, counts: Mapping[str, Any]) -> Table:
    """Counts, largest first, each with its share as a bar."""
    table, total = _table(title, "count", ""), max(_sum(counts), 1)
    for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:ROWS_MAX]:
        table.add_row(name, _shown(n), "█" * max(1, round(24 * n / total)) if n > 0 else "")
    return _with_rest(table, len(counts))


def plain_table(title: str, view: Mapping[str, Any]) -> RenderableType:
    """Any view: its single values, then a table for each mapping in it."""
    singles = _table(title, "")
    parts: list[RenderableType] = [singles]
    for name, value in view.items():
        if isinstance(value, Mapping) and value and all(type(n) is int for n in value.values()):
            parts.append(counts_table(name, value))
        elif isinstance(value, Mapping):
            table = _table(name, "")
            for key, item in list(value.items())[:ROWS_MAX]:
                table.add_row(str(key), _shown(item))
            parts.append(_with_rest(table, len(value)))
        else:
            singles.add_row(name, _shown(value))
    return Group(*parts)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column(first, overflow="fold", min_width=12)
    for name in others:
        numeric = name in {"count", "sent", "received", "tasks done"}
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    return table


def _with_rest(table: Table, total: int) -> Table:
    if total > ROWS_MAX:
        table.caption = f"and {total - ROWS_MAX:,} more; --json has them all"
    return table


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
