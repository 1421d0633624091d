"""What a group's process runs have written because of the records they handled.

Outputs by the record that caused them, and recorded effects by their idempotency keys, in a
temporary SQLite file: memory does not grow with the log, the disk holds the outputs once more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, NamedTuple, Self

from consumers.audit import OUTPUT_TOPICS
from consumers.context import EFFECT_RECORDED
from streams.envelope import ATTEMPT, Envelope
from streams.errors import AgentlogError, DecodeError
from streams.headers import header
from streams.ports import LogReader
from streams.record import Record
from streams.schemas import Codec
from streams.schemas.framing import SCHEMA_ID_HEADER
from streams.topics import Namespace

_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE outputs (cause TEXT, id TEXT, topic TEXT, place TEXT, key BLOB, value BLOB);
CREATE TABLE effects (key TEXT, record TEXT, result TEXT);
"""
_INDEXES: Final = """
CREATE INDEX by_cause ON outputs (cause);
CREATE INDEX by_key ON effects (key);
"""
_MS: Final = slice(4, 17)
"""Where a derived id has its cause's append time: `msg-<13 digits>-…`."""


class Logged(NamedTuple):
    """One record that a handler's envelope has become."""

    id: str
    topic: str
    """Full name."""
    place: str
    """As in `agentlog.events[3]@17`."""
    key: bytes
    value: bytes


class GroupOnLog:
    """See the module. Use it with `with`; its file is gone afterwards."""

    def __init__(self, codec: Codec, namespace: Namespace) -> None:
        self._codec = codec
        self._topics = namespace.topics(OUTPUT_TOPICS)
        self.readable: frozenset[str] = frozenset()
        """Topics (full names) that are all there, from their first position on."""

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="agentlog-")
        # Filled by one thread, asked by another, never by both at once.
        self._database = sqlite3.connect(
            Path(self._folder.name) / "outputs.sqlite", check_same_thread=False
        )
        self._database.executescript(_TABLES)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()
        self._folder.cleanup()

    def load(self, reader: LogReader, runs: Collection[str]) -> None:
        """Read all that these process runs have written up to now.

        Raises `AgentlogError` where the file cannot take it.
        """
        try:
            self._load(reader, runs)
        except sqlite3.Error as error:
            raise AgentlogError(
                f"cannot keep the group's outputs below {self._folder.name}: {error}; it takes as "
                "much room as they do on the log (TMPDIR names another folder)"
            ) from error

    def _load(self, reader: LogReader, runs: Collection[str]) -> None:
        starts = reader.starts(self._topics)
        cut = {source for source, start in starts.items() if start > 0}
        self.readable = frozenset(self._topics) - {source.topic for source in cut}
        with closing(self._database.cursor()) as cursor:
            for source, end in reader.ends(self._topics):
                for batch in reader.read(source, starts[source], end):
                    ours = list(self._ours(batch, runs))
                    cursor.executemany(
                        "INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?)",
                        [_output(*one) for one in ours if one[1].type != EFFECT_RECORDED],
                    )
                    cursor.executemany(
                        "INSERT INTO effects VALUES (?, ?, ?)",
                        [_effect(one) for _, one in ours if one.type == EFFECT_RECORDED],
                    )
            cursor.executescript(_INDEXES)
        self._database.commit()

    def outputs(self, record: Record, envelope: Envelope) -> dict[str, list[Logged]]:
        """What came of a record, by envelope id."""
        asked = "SELECT id, topic, place, key, value FROM outputs WHERE cause = ? ORDER BY rowid"
        found: dict[str, list[Logged]] = {}
        since = f"{record.appended_at_ms:013d}"
        for row in self._database.execute(asked, (envelope.id,)):
            one = Logged(*row)
            if one.id[_MS] == since:
                found.setdefault(one.id, []).append(one)
        return found

    def effect(self, key: str, record: Record) -> str | None:
        """The JSON text that an effect had returned when this record was handled."""
        asked = "SELECT result FROM effects WHERE key = ? AND record = ? ORDER BY rowid DESC"
        row = self._database.execute(asked, (key, str(record))).fetchone()
        return None if row is None else str(row[0])

    def _ours(
        self, batch: Collection[Record], runs: Collection[str]
    ) -> Iterator[tuple[Record, Envelope]]:
        for record in batch:
            try:
                envelope = self._codec.decode(record.value, record.headers)
                if envelope.writer not in runs or ATTEMPT in envelope.headers:
                    continue  # another's; or sent at once, and promised at least once
                if header(record.headers, SCHEMA_ID_HEADER) is None:  # workers never write that
                    yield record, envelope
            except DecodeError:
                continue


def _output(record: Record, envelope: Envelope) -> tuple[str | bytes | None, ...]:
    return (
        envelope.causation_id,
        envelope.id,
        record.topic,
        str(record),
        record.key,
        record.value,
    )


def _effect(envelope: Envelope) -> tuple[str, str, str]:
    said = envelope.payload
    at = f"{said['topic']}[{said['partition']}]@{said['position']}"
    return said["idempotency_key"], at, said["result"]
