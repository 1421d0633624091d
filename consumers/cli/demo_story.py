"""How the demo's story looks: an agent then and now, and what became of a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from consumers.cli.trace_views import trace_tree
from consumers.demo.travel import Story
from consumers.tracing.document import trace_document

NODES_SHOWN_MAX: Final = 12


def story_view(story: Story) -> RenderableType:
    """For a person."""
    table = Table(box=box.SIMPLE_HEAD, title="Back to the kill", title_justify="left")
    table.add_column(story.agent)
    table.add_column(f"at {story.killed_at[11:]}")
    table.add_column("now")
    then = dict(_lines(story.then))
    for name, value in _lines(story.now):
        table.add_row(name, then.get(name, "–"), value)
    what = "which the killed worker had begun" if story.was_interrupted else "the killed worker's"
    table.caption = (
        f"agentlog state {story.agent} --at {story.killed_at}\n"
        f"agentlog trace {story.trace.asked}, of {story.record}, {what}:"
    )
    table.caption_justify = "left"
    shown = msgspec.structs.replace(story.trace, nodes=story.trace.nodes[:NODES_SHOWN_MAX])
    return Group(table, trace_tree(shown))


def story_document(story: Story) -> dict[str, Any]:
    """For a machine."""
    told = {name: getattr(story, name) for name in story.__struct_fields__ if name != "trace"}
    return {**told, "trace": trace_document(story.trace)}


def _lines(agent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not agent:
        return
    for name in ("sent", "received", "tasks_finished"):
        yield name.replace("_", " "), f"{sum(agent[name].values()):,}"
    yield "tasks assigned", f"{agent['tasks_assigned']:,}"
    last = agent["last_task"]
    yield "last task", f"{last['id']}, {last['status']}" if last else "–"
