"""What people read about a trace, in words and numbers: for the terminal and the page. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from consumers.tracing.tree import Ending, Message, Node
from streams.dead_letters import NOWHERE
from streams.envelope import Envelope
from streams.record import Place

TEXT_CHARS_MAX: Final = 120
"""Characters of a name that somebody chose; what is longer loses its end."""

_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60 * _SECOND_MS
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS


def plain(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Text of anybody's on one line: nothing in it that a terminal or a reader would obey."""
    cut = text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in cut)


def last_name(type_name: str) -> str:
    """`AssignTask` of `agentlog.task.AssignTask`."""
    return plain(type_name.rpartition(".")[2] or "?")


def duration(ms: float) -> str:
    """As in `12 ms`, `1.24 s`, `3 min 12 s`, `5.2 h`, `3.1 d`."""
    if ms < _SECOND_MS:
        return f"{ms:.0f} ms"
    if ms < _MINUTE_MS:
        return f"{ms / _SECOND_MS:.2f} s"
    if ms < _HOUR_MS:
        minutes, rest = divmod(int(ms), _MINUTE_MS)
        return f"{minutes} min {rest // _SECOND_MS} s"
    if ms < 2 * _DAY_MS:
        return f"{ms / _HOUR_MS:.1f} h"
    return f"{ms / _DAY_MS:.1f} d"


def waited(ending: Ending) -> str:
    """From append to dispatch; empty if nobody knows."""
    low, high = ending.waited_ms_min, ending.waited_ms_max
    if low is None or high is None:
        return ""
    return duration(low) if low == high else f"{duration(low)} to {duration(high)}"


def handled(ending: Ending) -> str:
    """From dispatch to commit, at most; empty if nobody knows."""
    return "" if ending.handling_ms_max is None else f"≤ {duration(ending.handling_ms_max)}"


def outcome(ending: Ending) -> str:
    """As in `handled`, `dead-lettered: ValueError`, `skipped: no_handler`."""
    name = ending.outcome.replace("_", "-")
    return f"{name}: {plain(ending.reason)}" if ending.reason else name


def recipients(envelope: Envelope) -> str:
    """Whom it is for; everyone, if it names nobody."""
    named = envelope.recipients
    if not named and envelope.reply_to:
        return plain(envelope.reply_to)
    shown = ", ".join(plain(one, 40) for one in named[:3])
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return shown + more if named else "everyone"


def place(where: Place) -> str:
    """A position without the namespace: `tasks[0]@12`."""
    if where.position == NOWHERE:
        return "nowhere"
    topic = where.source.topic.partition(".")[2]
    return f"{topic}[{where.source.index}]@{where.position}"


class Summary(msgspec.Struct, frozen=True):
    """A trace in numbers. Times are epoch milliseconds."""

    messages: int
    agents: int
    missing: int
    """Causes that are not on the log."""
    outcomes: dict[str, int]
    """Endings, by outcome."""
    open: int
    """Records that no group has finished with."""
    began_at_ms: int
    ended_at_ms: int


def summary(nodes: Sequence[Node]) -> Summary:
    """What a trace comes to. There must be a node with a message."""
    messages = [node.message for node in nodes if node.message is not None]
    endings = [ending for message in messages for ending in message.endings]
    ended = {ending.place for ending in endings}
    agents = {message.envelope.sender for message in messages}
    agents.update(name for message in messages for name in message.envelope.recipients)
    # A cause outside may be as old as the log: it would leave no room for the rest.
    inside = [message for message in messages if not message.is_outside] or messages
    times = [time for message in inside for time in _times(message)]
    return Summary(
        messages=len(messages),
        agents=len(agents - {""}),
        missing=sum(node.message is None for node in nodes),
        outcomes=dict(Counter(ending.outcome for ending in endings).most_common()),
        open=sum(
            sighting.place not in ended for message in messages for sighting in message.sightings
        ),
        began_at_ms=min(times),
        ended_at_ms=max(times),
    )


def _times(message: Message) -> Iterable[int]:
    yield from (one.appended_at_ms for one in message.sightings)
    yield from (one.settled_at_ms for one in message.endings)
