"""How a trace looks on a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from consumers.tracing import Ending, Message, Node, Trace, words
from consumers.tracing.trail import Entry
from consumers.tracing.tree import Note
from streams.envelope import Envelope
from streams.headers import rfc3339

DEPTH_SHOWN_MAX: Final = 12
"""Levels that are indented; what is deeper stands below each other, and says how deep it is."""

_STYLES: Final = {
    "handled": "green",
    "dead_lettered": "red",
    "expired": "yellow",
    "skipped": "dim",
    "unknown": "dim",
}
_NOTES: Final[dict[Note, str]] = {
    "missing": "not on the log",
    "outside": "of another correlation",
    "circle": "causes itself",
}


def trace_tree(trace: Trace) -> RenderableType:
    """The tree, and below it the trace in numbers. There must be something in it."""
    found = words.summary(trace.nodes)
    root = Tree(Text(words.plain(trace.correlation or trace.asked), style="bold"))
    above: list[Tree] = [root]
    for node in trace.nodes:
        depth = min(node.depth, DEPTH_SHOWN_MAX)
        del above[depth + 1 :]
        above.append(above[depth].add(_node(node, found.began_at_ms, trace.asked)))
    return Group(root, _numbers(found))


def trail_entry(entry: Entry) -> RenderableType:
    """A record in one line, and one for each group that has finished with it."""
    line = Text(rfc3339(entry.record.appended_at_ms * 1000)[:23].replace("T", " "), style="dim")
    line.append("  ")
    line.append(_who(entry.envelope))
    line.append(f"  {words.place(entry.record.place)}", style="dim")
    return Group(line, *(_ending(one) for one in entry.endings))


def _node(node: Node, began_at_ms: int, asked: str) -> RenderableType:
    if node.message is None:
        line = Text(words.plain(node.id), style="dim")
    else:
        line = _line(node.message, began_at_ms)
    if node.id == asked:
        line.stylize("reverse", 0, len(line))
    if node.note:
        line.append(f"  {_NOTES[node.note]}", style="yellow")
    if node.depth > DEPTH_SHOWN_MAX:
        line.append(f"  (level {node.depth})", style="yellow")
    message = node.message
    several = message is not None and len(message.sightings) > 1
    endings = [_ending(one, several=several) for one in message.endings] if message else []
    return Group(line, *endings) if endings else line


def _line(message: Message, began_at_ms: int) -> Text:
    line = _who(message.envelope)
    since = words.duration(message.appended_at_ms - began_at_ms)
    if not message.is_outside:
        line.append(f"  +{since}", style="dim")
    line.append(f"  {words.place(message.sightings[0].place)}", style="dim")
    if len(message.sightings) > 1:
        line.append(f" and {len(message.sightings) - 1} more", style="dim")
    return line


def _who(envelope: Envelope) -> Text:
    line = Text()
    line.append(words.plain(envelope.sender) or "?", style="bold")
    line.append(" → ")
    line.append(words.recipients(envelope))
    line.append(f"  {words.last_name(envelope.type)}", style="cyan")
    return line


def _ending(one: Ending, *, several: bool = False) -> Text:
    """`several`: of a message that is on the log more than once, so that its place is said."""
    style = _STYLES.get(one.outcome, "")
    line = Text("  ")
    line.append(words.outcome(one), style=style)
    line.append(f" by {words.plain(one.group)}")
    if several:
        line.append(f" ({words.place(one.place)})", style="dim")
    line.append(_measured(one), style="dim")
    if one.detail:
        line.append(f"\n    {words.plain(one.detail, 300)}", style=style)
    if one.dead_letter is not None:
        line.append(f"\n    kept at {words.place(one.dead_letter)}", style="dim")
    return line


def _measured(one: Ending) -> str:
    parts = [
        f"waited {words.waited(one)}" if words.waited(one) else "",
        f"handling {words.handled(one)}" if words.handled(one) else "",
        f"{one.attempts} attempts" if one.attempts and one.attempts > 1 else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f", {said}" if said else ""


def _numbers(found: words.Summary) -> Text:
    parts = [
        _counted(found.messages, "message"),
        _counted(found.agents, "agent"),
        f"{words.duration(found.ended_at_ms - found.began_at_ms)} from "
        f"{rfc3339(found.began_at_ms * 1000)[:23]}Z",
        *(f"{count:,} {name.replace('_', '-')}" for name, count in found.outcomes.items()),
    ]
    if found.missing:
        parts.append(f"{_counted(found.missing, 'cause')} not on the log")
    return Text(", ".join(parts), style="dim")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
