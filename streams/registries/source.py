"""A registry as a place to look for the writer schema of an id that nobody else knows."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from streams.errors import DecodeError, RegistryError
from streams.registries.client import AVRO, Reference, RegistryClient
from streams.schemas.lock import FIRST_ID
from streams.schemas.references import inlined
from streams.schemas.writer_schema import Schema, canonical_text

ABSENT_S: Final = 5.0
"""Seconds between two questions for one id that was not there: a flood of bad records stays cheap.
"""
ABSENT_MAX: Final = 1_024
"""Ids remembered as absent; then the memory starts anew."""
DOWN_S: Final = 5.0
"""Seconds for which a registry that did not answer is not asked again."""
REFERENCES_MAX: Final = 256
"""Schemas that one schema may refer to, directly or not."""

_log: Final = logging.getLogger("agentlog.registries")


class RegistrySource:
    """A `SchemaSource`: what a registry has under an id, with its references in place. Thread-safe.

    Ids from 2³⁰ up are those of locks; no registry gives them, and it is not asked for them.
    """

    def __init__(
        self, client: RegistryClient, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._monotonic_s = monotonic_s
        self._absent_at_s: dict[int, float] = {}
        self._down = ""
        self._down_at_s = 0.0
        self._lock = threading.Lock()

    def writer_schema(self, schema_id: int) -> str | None:
        """The schema's JSON text, or None if the registry does not have the id.

        Raises `RegistryError` if it does not answer: at once, while it is known not to. Raises
        `DecodeError` for a schema that is not Avro, or that refers to what is not there.
        """
        if schema_id >= FIRST_ID:
            return None
        with self._lock:
            now_s = self._monotonic_s()
            absent_at_s = self._absent_at_s.get(schema_id)
            if absent_at_s is not None and now_s - absent_at_s < ABSENT_S:
                return None
            if self._down and now_s - self._down_at_s < DOWN_S:
                raise RegistryError(self._down)
            try:
                text = self._ask(schema_id)
            except RegistryError as error:
                self._note_down(error)
                raise
            if self._down:
                _log.warning("the schema registry at %s answers again", self._client.url)
                self._down = ""
            self._remember(schema_id, text)
            return text

    def _ask(self, schema_id: int) -> str | None:
        found = self._client.schema(schema_id)
        if found is None:
            return None
        if found.kind != AVRO:
            raise DecodeError(f"schema id {schema_id} is {found.kind} in the registry, not Avro")
        if not found.references:
            return found.text
        others: dict[tuple[str, int], Schema] = {}
        self._gather(schema_id, found.references, others)
        schema = inlined(_parsed(schema_id, found.text), others.values())
        return canonical_text(schema)

    def _gather(
        self,
        schema_id: int,
        references: tuple[Reference, ...],
        others: dict[tuple[str, int], Schema],
    ) -> None:
        """Everything that is referred to, each once."""
        for reference in references:
            place = reference.subject, reference.version
            if place in others:
                continue
            if len(others) >= REFERENCES_MAX:
                raise DecodeError(
                    f"schema id {schema_id} refers to more than {REFERENCES_MAX} others"
                )
            found = self._client.version(*place)
            if found is None:
                raise DecodeError(
                    f"schema id {schema_id} refers to {reference.name}, version "
                    f"{reference.version} of subject {reference.subject}, which the registry has "
                    "not"
                )
            others[place] = _parsed(schema_id, found.text)
            self._gather(schema_id, found.references, others)

    def _note_down(self, error: RegistryError) -> None:
        if not self._down:
            _log.warning("schemas of unknown ids cannot be looked up: %s", error)
        self._down, self._down_at_s = str(error), self._monotonic_s()

    def _remember(self, schema_id: int, text: str | None) -> None:
        self._absent_at_s.pop(schema_id, None)
        if text is None:
            if len(self._absent_at_s) >= ABSENT_MAX:
                self._absent_at_s.clear()
            self._absent_at_s[schema_id] = self._monotonic_s()


def _parsed(schema_id: int, text: str) -> Schema:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip().strip('"')  # a registry may keep a bare name as such
    except RecursionError as error:
        raise DecodeError(f"schema id {schema_id} is nested too deeply") from error
