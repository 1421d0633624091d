"""What a handler publishes now, compared with what is on the log because of the same record.

An output is known by its derived id: record, handler and its number among the handler's outputs
make it, so both runs name it alike. `created_at` and the process run that wrote it are no part of
what it says. What several handlers of one record publish is compared handler by handler; their
order among each other means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from consumers.differences import differences
from consumers.journal.outcomes import Output
from consumers.outbox import Outbox
from consumers.projections.folding import has_copies
from consumers.rehearsal.findings import Finding, FindingKind
from consumers.rehearsal.on_log import GroupOnLog, Logged
from streams.envelope import Envelope
from streams.record import Record
from streams.schemas import StoredPayload

_NO_PART: Final = frozenset({"created_at", "writer", "payload"})


class Comparison:
    """One record's outputs. `find` takes what is wrong."""

    def __init__(
        self,
        on_log: GroupOnLog,
        outbox: Outbox,
        record: Record,
        envelope: Envelope,
        find: Callable[[Finding], None],
    ) -> None:
        self._on_log = on_log
        self._outbox = outbox
        self._record = record
        self._envelope = envelope
        self._find = find
        self._logged = on_log.outputs(record, envelope)
        self.equal = 0
        """Envelopes that are on the log as they are."""
        self.not_compared = 0

    def handler(self, handler: str, outputs: Sequence[Output]) -> None:
        """A handler that ended well, and what it publishes now."""
        published = self._by_id(outputs)
        for made in published.values():
            self._envelope_of(handler, made)
        for logged in self._further(handler, len(published)):
            self._missing(handler, logged)

    def failed(self, handler: str) -> None:
        """A handler that did not come to its end: that much was said, and nothing of its outputs
        is missed.
        """
        for _ in self._further(handler, 0):
            pass

    def finish(self) -> None:
        """All handlers were given: what is left is of none that the app has."""
        for name in ("acknowledgement", "answer"):  # the worker's own
            self._logged.pop(self._derived(name, 0), None)
        if has_copies(self._record.topic) and len(self._envelope.recipients) > 1:
            return  # what was caused by the copy for another recipient cannot be told apart
        for logged in self._logged.values():
            self._missing("", logged)

    # --- one envelope ------------------------------------------------------------------------

    def _by_id(self, outputs: Iterable[Output]) -> dict[str, list[tuple[Output, Envelope]]]:
        found: dict[str, list[tuple[Output, Envelope]]] = {}
        for output in outputs:
            envelope = self._outbox.codec.decode(output.value, output.headers)
            if envelope.causation_id == self._envelope.id:
                found.setdefault(envelope.id, []).append((output, envelope))
            else:
                self.not_compared += 1  # the bytes of a resubmitted record
        return found

    def _envelope_of(self, handler: str, made: Sequence[tuple[Output, Envelope]]) -> None:
        envelope = made[0][1]
        now = said(envelope, [(output.topic, output.key or b"") for output, _ in made])
        logged = self._logged.pop(envelope.id, None)
        if logged is None:
            if all(output.topic in self._on_log.readable for output, _ in made):
                self._tell(
                    FindingKind.EXTRA, handler, envelope, "is published now, and is not on the log"
                )
            else:
                self.not_compared += 1
            return
        routes = [(one.topic, one.key) for one in logged]
        # At least once there may be several runs' copies: one that says the same is enough.
        before = [said(self._read(one), routes) for one in logged]
        if now in before:
            self.equal += 1
            return
        self._find(
            Finding(
                kind=FindingKind.DIFFERS,
                record=str(self._record),
                handler=handler,
                detail="says something else than on the log",
                output=envelope.id,
                type=envelope.type,
                place=logged[0].place,
                differences=tuple(differences(before[-1], now)),
                on_log=before[-1],
                now=now,
            )
        )

    def _missing(self, handler: str, logged: Sequence[Logged]) -> None:
        envelope = self._read(logged[0])
        who = "" if handler else ", and no handler of the app publishes it (was it renamed?)"
        self._find(
            Finding(
                kind=FindingKind.MISSING,
                record=str(self._record),
                handler=handler,
                detail=f"is on the log at {logged[0].place}, and is not published now{who}",
                output=envelope.id,
                type=envelope.type,
                place=logged[0].place,
                on_log=said(envelope, [(one.topic, one.key) for one in logged]),
            )
        )

    def _tell(self, kind: FindingKind, handler: str, envelope: Envelope, detail: str) -> None:
        self._find(
            Finding(
                kind=kind,
                record=str(self._record),
                handler=handler,
                detail=detail,
                output=envelope.id,
                type=envelope.type,
                now=said(envelope, []),
            )
        )

    def _further(self, handler: str, n: int) -> Iterable[list[Logged]]:
        """What is on the log of a handler, from its n-th output on."""
        while (logged := self._logged.pop(self._derived(handler, n), None)) is not None:
            yield logged
            n += 1

    def _derived(self, handler: str, n: int) -> str:
        return self._outbox.derived_id(self._record, f"{self._outbox.app_name}:{handler}", n)

    def _read(self, logged: Logged) -> Envelope:
        return self._outbox.codec.decode(logged.value)


def said(envelope: Envelope, routes: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """What an envelope says, and where it goes, as plain values; without what may change."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(envelope).items()
        if name not in _NO_PART and value is not None
    }
    payload: Mapping[str, Any] = envelope.payload
    plain = payload.fields if isinstance(payload, StoredPayload) else dict(payload)
    to = sorted({f"{topic} {key.decode('utf-8', 'replace')}" for topic, key in routes})
    return {**fields, "payload": plain, **({"to": to} if to else {})}
