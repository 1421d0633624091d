"""A trace as one page of HTML that needs nothing else: no scripts, no fonts, no network. Pure.

Everything that comes from the log is escaped, and isolated where it could turn the text around it
(names with right-to-left marks). The page forbids itself to load or run anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from consumers.pages import facts, page, table
from consumers.tracing import words
from consumers.tracing.document import payload_of
from consumers.tracing.finding import Trace
from consumers.tracing.tree import Ending, Message, Node, Note
from streams.headers import rfc3339

DEPTH_SHOWN_MAX: Final = 16
"""Levels that are indented; what is deeper stands below each other, and says how deep it is."""
PAYLOAD_CHARS_MAX: Final = 20_000
"""Characters of a payload that are shown."""

_SIGNS: Final = {
    "handled": "✓",
    "dead_lettered": "✕",
    "expired": "○",
    "skipped": "–",
    "unknown": "?",
}
_ORDER: Final = ("dead_lettered", "expired", "handled", "unknown", "skipped")
_NOTES: Final[dict[Note, str]] = {
    "missing": "not on the log",
    "outside": "of another correlation",
    "circle": "causes itself",
}
_STYLE: Final = Path(__file__).with_name("page.css")
_SHOWN_ENDINGS_MAX: Final = 3
_PARTS: Final = 4
"""Of the scale; the least that a part stands for is one of the log's milliseconds."""


class _Axis(msgspec.Struct, frozen=True):
    """The time that the page shows, in epoch milliseconds."""

    began_at_ms: int
    span_ms: int

    def at(self, epoch_ms: float) -> float:
        """Percent from the left."""
        return min(100.0, max(0.0, 100 * (epoch_ms - self.began_at_ms) / self.span_ms))


def trace_page(trace: Trace) -> str:
    """The whole page. There must be something in the trace."""
    found = words.summary(trace.nodes)
    axis = _Axis(found.began_at_ms, max(_PARTS, found.ended_at_ms - found.began_at_ms))
    title = _text(trace.correlation or trace.asked)
    return page(
        f"{title} · agentlog trace",
        _STYLE,
        (
            f"<header><h1><bdi>{title}</bdi></h1>",
            f'<p class="of">from {_moment(found.began_at_ms)}, append times in UTC</p></header>',
            _facts(found),
            *_notices(trace),
            '<main class="tree"><div class="head"><span>who → to whom</span><span>outcome</span>',
            _scale(axis),
            "</div>",
            *(_row(node, axis, trace.asked) for node in trace.nodes),
            "</main>",
            _LEGEND,
            f"<footer>{_footer(trace)}</footer>",
        ),
    )


_LEGEND: Final = (
    '<p class="legend">'
    '<span><i style="background:var(--wait)"></i>waiting for its turn</span>'
    '<span><i style="background:var(--work)"></i>from dispatch to commit</span>'
    '<span><i style="background:var(--bad)"></i>the same, in vain</span>'
    '<span><i style="background:var(--quiet);width:2px"></i>appended, nobody works on it</span>'
    "</p>"
)


def _facts(found: words.Summary) -> str:
    dead = found.outcomes.get("dead_lettered", 0)
    figures = [
        ("", f"{found.messages:,}", "message" if found.messages == 1 else "messages"),
        ("", f"{found.agents:,}", "agent" if found.agents == 1 else "agents"),
        ("", words.duration(found.ended_at_ms - found.began_at_ms), "from first to last"),
        ("", f"{found.outcomes.get('handled', 0):,}", "handled"),
    ]
    if dead:
        figures.append(("bad", f"{dead:,}", "dead-lettered"))
    if found.outcomes.get("expired", 0):
        figures.append(("late", f"{found.outcomes['expired']:,}", "expired"))
    if found.missing:
        figures.append(("late", f"{found.missing:,}", "causes not on the log"))
    return facts(figures)


def _notices(trace: Trace) -> Iterator[str]:
    if trace.is_cut_short:
        yield (
            '<p class="notice">There are more records than one trace may have; '
            "what is beyond them is left out.</p>"
        )


def _scale(axis: _Axis) -> str:
    marks = (
        f"<span>{words.duration(axis.span_ms * part / _PARTS)}</span>" for part in range(_PARTS + 1)
    )
    return f'<span class="axis">{"".join(marks)}</span>'


def _row(node: Node, axis: _Axis, asked: str) -> str:
    message = node.message
    failed = message is not None and any(one.outcome == "dead_lettered" for one in message.endings)
    kinds = " ".join(
        ("row", *(["failed"] if failed else []), *(["asked"] if node.id == asked else []))
    )
    head = f"<summary>{_who(node)}{_ends(message)}{_time(message, axis)}</summary>"
    return f'<details class="{kinds}">{head}{_more(node)}</details>'


def _who(node: Node) -> str:
    deep = min(node.depth, DEPTH_SHOWN_MAX)
    note = _NOTES.get(node.note, "")
    if node.depth > deep:
        note = f"level {node.depth}" + (f", {note}" if note else "")
    noted = f'<span class="note">{note}</span>' if note else ""
    if node.message is None:
        dot, said = (
            '<span class="dot none"></span>',
            f'<span class="to mono">{_text(node.id)}</span>',
        )
    else:
        envelope = node.message.envelope
        hue = crc32(envelope.sender.encode("utf-8", "replace")) % 360
        dot = f'<span class="dot" style="--h:{hue}"></span>'
        said = (
            f'<bdi class="a">{_text(envelope.sender)}</bdi> <span class="arrow">→</span> '
            f'<bdi class="to">{_text(words.recipients(node.message.envelope), 200)}</bdi> '
            f'<span class="type">{_text(words.last_name(envelope.type))}</span>'
        )
    rails = f'<span class="rails" style="--d:{deep}"></span>' if deep else ""
    return f'<span class="who">{rails}{dot}<span class="text">{said} {noted}</span></span>'


def _ends(message: Message | None) -> str:
    if message is None:
        return '<span class="ends"></span>'
    if not message.endings:
        return '<span class="ends"><span class="none">no group yet</span></span>'
    alike: dict[tuple[str, str], list[Ending]] = {}
    for one in sorted(message.endings, key=lambda one: _ORDER.index(one.outcome)):
        alike.setdefault((one.outcome, one.group), []).append(one)
    shown = [_end(*key, endings) for key, endings in alike.items()]
    if len(shown) > _SHOWN_ENDINGS_MAX:
        shown[_SHOWN_ENDINGS_MAX:] = [
            f'<span class="none">+{len(shown) - _SHOWN_ENDINGS_MAX}</span>'
        ]
    return f'<span class="ends">{"".join(shown)}</span>'


def _end(name: str, group: str, endings: Sequence[Ending]) -> str:
    """How one group finished, with as many of the message's records as ended so."""
    why = _text("; ".join(dict.fromkeys(words.outcome(one) for one in endings)), 300)
    times = f" ×{len(endings)}" if len(endings) > 1 else ""
    who = _text(group, 30)
    return f'<span class="{name}" title="{why}">{_SIGNS[name]} <bdi>{who}</bdi>{times}</span>'


def _time(message: Message | None, axis: _Axis) -> str:
    if message is None:
        return '<span class="time"></span>'
    bars, last = [], message.appended_at_ms
    appended = {one.place: one.appended_at_ms for one in message.sightings}
    for one in message.endings:
        if one.handling_ms_max is not None and one.waited_ms_min is not None:
            sent = appended[one.place]
            dispatched = sent + one.waited_ms_min
            bars.append(_bar("wait", axis, sent, dispatched))
            bars.append(_bar(f"work {one.outcome}", axis, dispatched, one.settled_at_ms))
            last = max(last, one.settled_at_ms)
    if not bars:
        bars.append(f'<i class="sent" style="left:{axis.at(last):.3f}%"></i>')
    end = axis.at(last)
    label = words.duration(last - message.appended_at_ms) if last > message.appended_at_ms else ""
    # Beside the bar, on the side where there is room for it.
    side = (
        f"left:calc({end:.3f}% + 7px)"
        if end < 84
        else f"right:calc({100 - axis.at(message.appended_at_ms):.3f}% + 7px)"
    )
    return f'<span class="time">{"".join(bars)}<em style="{side}">{label}</em></span>'


def _bar(kind: str, axis: _Axis, begin_ms: int, end_ms: int) -> str:
    left, right = axis.at(begin_ms), axis.at(end_ms)
    if kind == "wait" and right - left < 0.05:
        return ""
    return f'<i class="{kind}" style="left:{left:.3f}%;width:{right - left:.3f}%"></i>'


def _more(node: Node) -> str:
    message = node.message
    if message is None:
        return (
            '<div class="more">Something names this message as its cause, and it is not on the '
            "log: it was sent elsewhere, or never.</div>"
        )
    envelope = message.envelope
    facts = [
        ("id", envelope.id),
        ("type", f"{envelope.type} ({envelope.kind})"),
        ("created", rfc3339(envelope.created_at)),
        ("correlation", envelope.correlation_id or ""),
        ("caused by", envelope.causation_id or ""),
        ("channel", envelope.channel_id or ""),
        ("stream", envelope.stream_id or ""),
        ("recipients", ", ".join(envelope.recipients[:50])),
        ("origin", envelope.origin or ""),
    ]
    named = "".join(
        f"<dt>{name}</dt><dd class=mono>{_text(value, 2_000)}</dd>"
        for name, value in facts
        if value
    )
    records = _table(
        ("record", "appended", "key", ""),
        (
            (
                words.place(one.place),
                rfc3339(one.appended_at_ms * 1000),
                one.key,
                f"redrive {one.redrive}" if one.redrive else "",
            )
            for one in message.sightings
        ),
    )
    endings = _table(
        ("group", "record", "outcome", "waited", "handling", "attempts", "why"),
        (_ending_cells(one) for one in message.endings),
    )
    return (
        f'<div class="more"><dl>{named}</dl>{records}{endings}<pre>{_payload(message)}</pre></div>'
    )


def _ending_cells(one: Ending) -> tuple[str, ...]:
    why = one.detail
    if one.dead_letter is not None:
        failed = f" in {', '.join(one.handlers)}" if one.handlers else ""
        why = f"{why}{failed} (kept at {words.place(one.dead_letter)})"
    return (
        one.group,
        words.place(one.place),
        words.outcome(one),
        words.waited(one),
        words.handled(one),
        str(one.attempts) if one.attempts is not None else "",
        why,
    )


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return table(names, ((_text(cell, 2_000) for cell in row) for row in rows))


def _payload(message: Message) -> str:
    raw = msgspec.json.encode(payload_of(message.envelope))
    text = json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    cut = text[:PAYLOAD_CHARS_MAX]
    return escape(cut) + (f"\n… {len(text) - len(cut):,} characters more" if cut != text else "")


def _footer(trace: Trace) -> str:
    cut = trace.cut.encode() if trace.cut is not None else ""
    return f"agentlog trace {_text(trace.asked)} · up to <code>{escape(cut)}</code>"


def _moment(epoch_ms: int) -> str:
    return f"<time>{rfc3339(epoch_ms * 1000)[:23]}Z</time>"


def _text(text: str, chars_max: int = words.TEXT_CHARS_MAX) -> str:
    return escape(words.plain(text, chars_max))
