"""Outputs, checked against the records that caused them: lost, duplicated, reordered.

An output is an envelope that a handler published while it ran on a source record. It is known by
its derived id: `causation_id` is the source's id, and the milliseconds in its own id are the
source record's append time. (Where one id is on several source records, one per recipient, these
milliseconds tell which one it was; if not even they can, those records are one cause together,
whose outputs are counted and whose order is not judged.)

- *Lost*: an output that an expectation asks for, and that is not on the log.
- *Duplicated*: an output's id that is on the log twice under one topic and key (an envelope to
  several recipients is on it once for each), or more outputs of a type than are expected.
- *Reordered*: along an output partition, the outputs of one source key must have source positions
  that never decrease; each step back counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from streams.envelope import ATTEMPT, Envelope
from streams.record import Partition, Record

Expectation = Callable[[Envelope], Mapping[str, int]]
"""How many outputs of each payload type a handled envelope must have caused."""

FINDINGS_MAX: Final = 20
"""Faults that are named one by one; all are counted."""

_MS: Final = slice(4, 17)
"""Where a message id has its milliseconds: `msg-<13 digits>-…`."""


class OutputFinding(msgspec.Struct, frozen=True):
    """One fault of one output."""

    kind: Literal["lost", "duplicated", "reordered"]
    record: str
    """The source record, or the output's own where it is there too often or too early."""
    detail: str


class _Cause:
    """A source record (or several with one id and one append time), and what came of it."""

    __slots__ = ("expected", "found", "ids", "key", "partition", "position", "shared")

    def __init__(self, record: Record) -> None:
        self.partition = record.source
        self.position = record.position
        self.key = record.key
        self.shared = False
        """Whether it is several records; then the first names them."""
        self.expected: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.ids: set[str] = set()

    def __str__(self) -> str:
        return f"{self.partition}@{self.position}"


class OutputCheck:
    """Give it the handled source records first, then every record of the output topics in order.

    Memory grows with the number of sources and outputs.
    """

    def __init__(self, expect: Expectation | None = None) -> None:
        self.lost = 0
        self.duplicated = 0
        self.reordered = 0
        self.outputs = 0
        self.findings: list[OutputFinding] = []
        self._expect = expect
        self._causes: dict[tuple[str, str], _Cause] = {}
        self._seen: set[tuple[str, bytes | None, str]] = set()
        self._last: dict[tuple[Partition, Partition, bytes | None], int] = {}

    def add_source(self, record: Record, envelope: Envelope) -> None:
        """A record that was handled."""
        known_by = (envelope.id, f"{record.appended_at_ms:013d}")
        cause = self._causes.get(known_by)
        if cause is None:
            cause = self._causes[known_by] = _Cause(record)
        else:
            cause.shared = True
        if self._expect is not None:
            cause.expected.update(self._expect(envelope))

    def add_output(self, record: Record, envelope: Envelope) -> None:
        """Any record of the output topics; what no source caused is passed over."""
        cause = self._causes.get((envelope.causation_id or "", envelope.id[_MS]))
        if cause is None or ATTEMPT in envelope.headers:
            return  # nobody's, or sent at once: that was promised at least once
        self.outputs += 1
        copy = (record.topic, record.key, envelope.id)
        if copy in self._seen:
            self.duplicated += 1
            self._find("duplicated", str(record), f"{envelope.id} is there once more")
            return
        self._seen.add(copy)
        if envelope.id not in cause.ids:
            cause.ids.add(envelope.id)
            cause.found[envelope.type] += 1
        if not cause.shared:
            self._check_order(record, envelope, cause)

    def _check_order(self, record: Record, envelope: Envelope, cause: _Cause) -> None:
        along = (record.source, cause.partition, cause.key)
        last = self._last.get(along, -1)
        if cause.position < last:
            self.reordered += 1
            self._find(
                "reordered",
                str(record),
                f"{envelope.id} of {cause} comes after an output of {cause.partition}@{last}, "
                "same key",
            )
        self._last[along] = max(cause.position, last)

    def finish(self) -> None:
        """All is given: compare with what was expected."""
        for cause in self._causes.values():
            for type_name, wanted in cause.expected.items():
                found = cause.found[type_name]
                if found < wanted:
                    self.lost += wanted - found
                    self._find("lost", str(cause), f"caused {found} of {wanted} {type_name}")
                elif found > wanted:
                    self.duplicated += found - wanted
                    self._find(
                        "duplicated", str(cause), f"caused {found}, not {wanted}, {type_name}"
                    )

    def _find(
        self, kind: Literal["lost", "duplicated", "reordered"], record: str, detail: str
    ) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(OutputFinding(kind, record, detail))
