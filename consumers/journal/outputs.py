"""Outputs, checked against the records that caused them: lost, duplicated, reordered.

An output is an envelope that a handler published while it ran on a source record. It is known by
its derived id: `causation_id` is the source's id, and the milliseconds in its own id are the
source record's append time. (Where one id is on several source records, one per recipient, these
milliseconds tell which one it was; if not even they can, order is not judged.)

- *Lost*: a handled record whose outputs an expectation asks for, and that are not on the log.
- *Duplicated*: an output's id that is on the log twice under one topic and key (an envelope to
  several recipients is on it once for each), or more outputs of a type than are expected.
- *Reordered*: along an output partition, the outputs of one source key must have source positions
  that never decrease; each step back counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

import msgspec

from streams.envelope import Envelope
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


class _Source(msgspec.Struct, frozen=True):
    partition: Partition
    position: int
    key: bytes | None
    appended_at: str
    expected: Mapping[str, int]


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
        self._sources: dict[str, list[_Source]] = {}
        self._seen: Counter[tuple[str, bytes | None, str]] = Counter()
        self._counted: set[str] = set()
        self._caused: Counter[tuple[Partition, int, str]] = Counter()
        self._last: dict[tuple[Partition, Partition, bytes | None], int] = {}

    def add_source(self, record: Record, envelope: Envelope) -> None:
        """A record that was handled."""
        expected = self._expect(envelope) if self._expect is not None else {}
        source = _Source(
            record.source, record.position, record.key, f"{record.appended_at_ms:013d}", expected
        )
        self._sources.setdefault(envelope.id, []).append(source)

    def add_output(self, record: Record, envelope: Envelope) -> None:
        """Any record of the output topics; what no source caused is passed over."""
        caused_by = self._sources.get(envelope.causation_id or "", ())
        sources = [one for one in caused_by if one.appended_at == envelope.id[_MS]]
        if not sources:
            return
        self.outputs += 1
        copy = (record.topic, record.key, envelope.id)
        self._seen[copy] += 1
        if self._seen[copy] > 1:
            self.duplicated += 1
            self._find("duplicated", str(record), f"{envelope.id} is there for the second time")
            return
        if len(sources) > 1:
            return
        source = sources[0]
        if envelope.id not in self._counted:
            self._counted.add(envelope.id)
            self._caused[source.partition, source.position, envelope.type] += 1
        along = (record.source, source.partition, source.key)
        if source.position < self._last.get(along, -1):
            self.reordered += 1
            self._find(
                "reordered",
                str(record),
                f"{envelope.id} of {source.partition}@{source.position} comes after an output of "
                f"{source.partition}@{self._last[along]}, same key",
            )
        self._last[along] = max(source.position, self._last.get(along, -1))

    def finish(self) -> None:
        """All is given: compare with what was expected."""
        for source in self._every_source():
            where = f"{source.partition}@{source.position}"
            for type_name, wanted in source.expected.items():
                found = self._caused[source.partition, source.position, type_name]
                if found < wanted:
                    self.lost += wanted - found
                    self._find("lost", where, f"caused {found} of {wanted} {type_name}")
                elif found > wanted:
                    self.duplicated += found - wanted
                    self._find("duplicated", where, f"caused {found}, not {wanted}, {type_name}")

    def _every_source(self) -> Iterable[_Source]:
        for sources in self._sources.values():
            yield from sources

    def _find(
        self, kind: Literal["lost", "duplicated", "reordered"], record: str, detail: str
    ) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(OutputFinding(kind, record, detail))
