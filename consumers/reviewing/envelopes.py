"""Envelopes: what a change of `envelope.avsc` means for the fields before every payload.

Agentlog's own readers take those by name from the writer's schema, so they read on. Others resolve
whole records: they have the envelope as the newest schema of a type has it. So stored envelopes are
read under the base's and the candidate's, as payloads are; writers whose envelopes were the same
count as one version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from consumers.reviewing.evidence import Observed
from consumers.reviewing.sites import Hit, Unreadable
from consumers.reviewing.verdict import Version
from consumers.reviewing.watch import Watch, front_watch_of
from streams.schemas import WriterSchema
from streams.schemas.compatibility import ParsedSchema, compare, parse_schema
from streams.schemas.decoder import BAD_BYTES
from streams.schemas.writer_schema import fingerprint


class EnvelopeReading:
    """How the envelopes of one writer's records are judged: a `Reading`."""

    def __init__(
        self, envelopes: tuple[dict[str, Any], dict[str, Any]], writer: WriterSchema
    ) -> None:
        before, after = map(_named_alike, envelopes)
        front = _front_of(writer)
        self._written = parse_schema(front, released=True)
        # Who has the writer's own schema reads without resolution.
        self._today = None if front["fields"] == before["fields"] else _parsed(before)
        same = front["fields"] == after["fields"]
        watch = self._watch(None if same else _parsed(after))
        self.sites, self.always, self.walk = watch

    def _watch(self, candidate: ParsedSchema | None) -> Watch:
        return front_watch_of(self._written, self._today, candidate)

    @cached_property
    def _of_today(self) -> Watch:
        return self._watch(self._today)

    def fails_today(self, b: bytes, i: int) -> bool:
        """Whether the base's envelope cannot read it either."""
        hits: list[Hit] = []
        try:
            self._of_today.walk(b, i, hits.append)
        except (Unreadable, *BAD_BYTES):
            return True
        return False


def envelope_versions(
    after: dict[str, Any], writers: Iterable[WriterSchema], observed: Mapping[int, Observed]
) -> tuple[Version, ...]:
    """Every envelope that was ever written, under the candidate's; `observed` by schema id."""
    reader = _parsed(_named_alike(after))
    alike: dict[str, list[WriterSchema]] = {}
    for writer in sorted(writers, key=lambda one: one.id):
        alike.setdefault(fingerprint(_front_of(writer)["fields"]), []).append(writer)
    found = []
    for same in alike.values():
        seen = [observed[one.id] for one in same if one.id in observed]
        whole = Observed() if seen else None
        for one in seen:
            assert whole is not None
            whole.merge(one)
        name = same[0].payload_name.rpartition(".")[2]
        found.append(
            Version(
                label=name + (f" and {len(same) - 1} more" if len(same) > 1 else ""),
                schema_id=same[0].id,
                report=compare(parse_schema(_front_of(same[0]), released=True), reader),
                has_step=False,
                observed=whole,
            )
        )
    return tuple(found)


def _front_of(writer: WriterSchema) -> dict[str, Any]:
    """The record without its payload. Its types are in no payload's namespace."""
    fields = writer.schema["fields"][:-1]
    return _named_alike({**writer.schema, "fields": fields})


def _named_alike(envelope: dict[str, Any]) -> dict[str, Any]:
    """By one name, for each type's whole record has another."""
    fields = [{k: v for k, v in one.items() if k != "doc"} for one in envelope["fields"]]
    return {"type": "record", "name": "Envelope", "namespace": "envelope", "fields": fields}


def _parsed(envelope: dict[str, Any]) -> ParsedSchema:
    return parse_schema(envelope, released=True)
