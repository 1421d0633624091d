"""Routing: which topics an envelope goes to, under which keys. A pure function.

The policy is the table `RULES`, read from the top: the first row that fits decides. A row fits by
lane, kind, payload family and whether the envelope names recipients, so the choice is remembered
per combination; only the key is taken from each envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from streams import topics
from streams.envelope import Envelope, Kind, Lane
from streams.errors import Unroutable


class Route(NamedTuple):
    """One record to write: the topic's logical name and the key."""

    topic: str
    key: bytes


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One row. An empty condition fits anything; all that are given must fit."""

    topic: str
    keys: Callable[[Envelope], tuple[str | None, ...]]
    """The key, or several for one record each. None or empty: the key is missing."""
    needs: str
    """What the key is taken from, for the error where it is missing."""
    lanes: frozenset[Lane] = frozenset()
    kinds: frozenset[Kind] = frozenset()
    family: str = ""
    """Prefix of the payload type."""
    addressed: bool | None = None
    """Whether it names a recipient or a reply inbox."""

    def fits(self, lane: Lane, kind: Kind, family: str, addressed: bool) -> bool:
        """True if the row decides such an envelope."""
        return (
            (not self.lanes or lane in self.lanes)
            and (not self.kinds or kind in self.kinds)
            and (not self.family or family == self.family)
            and (self.addressed is None or self.addressed is addressed)
        )


EVERYONE: Final = "*"
"""Key of a control record that is for nobody in particular."""

CHAT: Final = "agentlog.chat."
JOURNAL: Final = "agentlog.journal."
_FAMILIES: Final = (CHAT, JOURNAL)


def _control_key(envelope: Envelope) -> tuple[str | None, ...]:
    # One record however many targets: every process reads the whole of `control`.
    target = envelope.recipients[0] if envelope.recipients else EVERYONE
    return (envelope.session_id or target,)


def _journal_key(envelope: Envelope) -> tuple[str | None, ...]:
    payload = envelope.payload
    try:
        return (f"{payload['group']}/{payload['topic']}/{payload['partition']}",)
    except LookupError:
        return (None,)


RULES: Final = (
    Rule(
        topic=topics.CONTROL,
        lanes=frozenset({Lane.SYSTEM}),
        needs="session_id or recipients",
        keys=_control_key,
    ),
    Rule(
        topic=topics.CONTROL,
        kinds=frozenset({Kind.SHUTDOWN}),
        needs="session_id or recipients",
        keys=_control_key,
    ),
    Rule(
        topic=topics.TASKS,
        kinds=frozenset({Kind.TASK_ASSIGNMENT, Kind.TASK_RESULT}),
        needs="correlation_id or id",
        keys=lambda e: (e.correlation_id or e.id,),
    ),
    Rule(topic=topics.CHANNELS, family=CHAT, needs="channel_id", keys=lambda e: (e.channel_id,)),
    Rule(
        topic=topics.REPLIES,
        kinds=frozenset({Kind.RESPONSE, Kind.ERROR}),
        addressed=True,
        needs="reply_to or recipients",
        keys=lambda e: (e.reply_to,) if e.reply_to else e.recipients,
    ),
    Rule(
        topic=topics.INBOX,
        addressed=True,
        needs="recipients",
        keys=lambda e: e.recipients,
        kinds=frozenset(
            {Kind.REQUEST, Kind.NOTIFICATION, Kind.STATE_CHANGE, Kind.STATE_SYNC_REQUEST}
        ),
    ),
    Rule(
        topic=topics.COMMANDS,
        kinds=frozenset({Kind.COMMAND}),
        needs="stream_id",
        keys=lambda e: (e.stream_id,),
    ),
    Rule(
        topic=topics.JOURNAL,
        family=JOURNAL,
        needs="group, topic and partition in its payload",
        keys=_journal_key,
    ),
    Rule(
        topic=topics.EVENTS,
        needs="stream_id, correlation_id or sender",
        keys=lambda e: (e.stream_id or e.correlation_id or e.sender,),
    ),
)
"""From the top: the first row that fits. The last fits everything."""

_ANSWERS: Final = frozenset({Kind.RESPONSE, Kind.ERROR})


@lru_cache(maxsize=1024)
def _rule(lane: Lane, kind: Kind, type_name: str, addressed: bool) -> Rule:
    family = next((family for family in _FAMILIES if type_name.startswith(family)), "")
    return next(rule for rule in RULES if rule.fits(lane, kind, family, addressed))


def route(envelope: Envelope) -> tuple[Route, ...]:
    """The records that an envelope becomes; one per recipient in an inbox, mostly just one.

    Kind and id should be stamped before. Raises `Unroutable` where the row that fits finds no key.
    """
    kind = envelope.kind
    addressed = bool(envelope.recipients) or (kind in _ANSWERS and bool(envelope.reply_to))
    rule = _rule(envelope.lane, kind, envelope.type, addressed)
    keys = rule.keys(envelope)
    try:
        if len(keys) == 1:
            key = keys[0]
            if not key:
                raise _no_key(envelope, rule)
            return (Route(rule.topic, key.encode()),)
        if not all(keys):
            raise _no_key(envelope, rule)
        return tuple(Route(rule.topic, key.encode()) for key in dict.fromkeys(keys) if key)
    except UnicodeEncodeError as error:
        raise Unroutable(
            f"{envelope.type} {envelope.id}: its key for {rule.topic} ({rule.needs}) is not "
            f"Unicode text: {error.reason}"
        ) from error


def topics_for(kind: Kind, type_name: str) -> tuple[str, ...]:
    """Logical names of the topics that envelopes of this kind and type go to: those of the data
    lane, whether they name a recipient or not.
    """
    found = (_rule(Lane.DATA, kind, type_name, addressed).topic for addressed in (True, False))
    return tuple(dict.fromkeys(found))


def _no_key(envelope: Envelope, rule: Rule) -> Unroutable:
    return Unroutable(
        f"{envelope.kind} of type {envelope.type} ({envelope.id or 'no id yet'}) goes to "
        f"{rule.topic}, whose key is missing: set {rule.needs}"
    )
