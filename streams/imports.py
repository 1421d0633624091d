"""Imports: a file of S3 messages onto the log, every line accounted for.

Two passes over the file. The first reads every line as it would be published and finds what is
wrong with it, twice in the file, or already in the namespace; the second publishes the rest. So
`strict` can refuse the whole file before anything is sent, and an import that was broken off can
be run again. What is held meanwhile is the ids, not the messages.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol

import msgspec

from streams.envelope import IMPORT_SEQ, ORIGIN, Envelope
from streams.errors import ConfigurationError, EnvelopeError
from streams.headers import CE_ID, header
from streams.messages import parse_message
from streams.outgoing import Outbox
from streams.ports import LogReader
from streams.topics import Namespace

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer line is cut off, so it is no message."""
CHUNK: Final = 2_000
"""Envelopes handed to the publisher at a time, at most."""
CHUNK_BYTES: Final = 16 * 1024 * 1024
"""Bytes of lines, held meanwhile, after which a chunk is handed over with fewer."""

_SPOOL_BYTES_MAX: Final = 16 * 1024 * 1024
_PROGRESS_EVERY: Final = 500


class Phase(StrEnum):
    """What an import is doing."""

    CHECK = "check"
    COMPARE = "compare"
    PUBLISH = "publish"


Progress = Callable[[Phase, int, int | None], None]
"""`progress(phase, done, total)`: lines or records; total None while it is not known."""


class BadLine(NamedTuple):
    """A line that is no publishable message, counted from 1, and why."""

    line: int
    reason: str


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each line: `read` = `published` + `already_present` + `duplicates` + bad ones.

    With `strict` and a bad line, nothing was published and `refused` is True.
    """

    origin: str
    read: int
    """Lines that hold anything."""
    published: int
    already_present: int
    """Lines whose id was in the namespace before."""
    duplicates: int
    """Lines whose id an earlier line of the file has."""
    bad: tuple[BadLine, ...]
    refused: bool = False


class SendsMany(Protocol):
    """What an import needs of a publisher."""

    async def publish_many(self, envelopes: Iterable[Envelope]) -> object:
        """Put them on the log, in order per key."""
        ...


class _Checked(NamedTuple):
    """What the first pass found; `first_lines` maps each good id to its first line."""

    read: int
    bad: tuple[BadLine, ...]
    first_lines: dict[str, int]
    duplicates: int
    topics: frozenset[str]


class Source:
    """A file of lines that can be read twice: `.jsonl`, `.jsonl.gz`, or `-` for stdin."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._spooled: IO[bytes] | None = None

    @property
    def name(self) -> str:
        """The file's name without its endings; `stdin` for `-`."""
        if self.path == "-":
            return "stdin"
        return Path(self.path).name.removesuffix(".gz").removesuffix(".jsonl") or "file"

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line that holds anything, with its number from 1.

        Raises `ConfigurationError` if the file cannot be read, or is no gzip though it says so.
        """
        try:
            with self._opened() as stream:
                number = 0
                while line := stream.readline(LINE_BYTES_MAX):
                    number += 1
                    if line.strip():
                        yield number, line
                    while len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                        line = stream.readline(LINE_BYTES_MAX)
        except (OSError, EOFError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigurationError(f"cannot read {self.path}: {reason}") from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.path == "-":
            if self._spooled is None:
                self._spooled = _spool(sys.stdin.buffer)
            self._spooled.seek(0)
            yield self._spooled
        elif self.path.endswith(".gz"):
            with gzip.open(self.path) as unpacked:
                yield unpacked  # type: ignore[misc]  # a GzipFile reads as any binary file does
        else:
            with Path(self.path).open("rb") as plain:
                yield plain


def _spool(stream: IO[bytes]) -> IO[bytes]:
    spooled = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES_MAX)  # noqa: SIM115  # kept open
    while piece := stream.read(1 << 20):
        spooled.write(piece)
    return spooled


def imported(line: bytes, number: int, origin: str) -> Envelope:
    """The envelope of one line: id, sender and time are its own. Raises `InvalidMessage`."""
    envelope = parse_message(line, ttl_ms_default=0)
    return envelope.with_(headers={**envelope.headers, ORIGIN: origin, IMPORT_SEQ: str(number)})


class Importer:
    """Imports files into one namespace."""

    def __init__(
        self,
        publisher: SendsMany,
        outbox: Outbox,
        reader: LogReader,
        namespace: Namespace,
        *,
        progress: Progress = lambda phase, done, total: None,  # noqa: ARG005
    ) -> None:
        self._publisher = publisher
        self._outbox = outbox
        self._reader = reader
        self._namespace = namespace
        self._progress = progress

    async def run(
        self, source: Source, *, name: str | None = None, strict: bool = False
    ) -> ImportResult:
        """Publish the file's good lines, or with `strict` nothing unless all are good.

        `name` (default: the file's) makes the origin, `import:<name>`. Raises
        `ConfigurationError` if the file cannot be read, and whatever the publisher and the reader
        raise.
        """
        origin = f"import:{name or source.name}"
        checked = self._check(source, origin)
        if strict and checked.bad:
            return ImportResult(
                origin=origin,
                read=checked.read,
                published=0,
                already_present=0,
                duplicates=checked.duplicates,
                bad=checked.bad,
                refused=True,
            )
        present = self._present(checked)
        wanted = {number for id_, number in checked.first_lines.items() if id_ not in present}
        await self._publish(source, origin, wanted)
        return ImportResult(
            origin=origin,
            read=checked.read,
            published=len(wanted),
            already_present=len(present),
            duplicates=checked.duplicates,
            bad=checked.bad,
        )

    def _check(self, source: Source, origin: str) -> _Checked:
        read = duplicates = 0
        bad: list[BadLine] = []
        first_lines: dict[str, int] = {}
        topics: set[str] = set()
        for number, line in source.lines():
            read += 1
            try:
                outgoing = self._outbox.prepare(imported(line, number, origin))
            except EnvelopeError as error:
                bad.append(BadLine(number, str(error)))
            else:
                topics.update(topic for topic, _ in outgoing.routes)
                if outgoing.envelope.id in first_lines:
                    duplicates += 1
                else:
                    first_lines[outgoing.envelope.id] = number
            if read % _PROGRESS_EVERY == 0:
                self._progress(Phase.CHECK, read, None)
        self._progress(Phase.CHECK, read, read)
        return _Checked(read, tuple(bad), first_lines, duplicates, frozenset(topics))

    def _present(self, checked: _Checked) -> set[str]:
        """Ids of the file that are on the log, by the `ce_id` headers of the topics they go to."""
        topics = [self._namespace.topic(name) for name in sorted(checked.topics)]
        if not topics:
            return set()
        starts = self._reader.starts(topics)
        todo = [(part, starts[part], end) for part, end in self._reader.ends(topics)]
        total, done = sum(end - start for _, start, end in todo), 0
        present: set[str] = set()
        for part, start, end in todo:
            for batch in self._reader.read(part, start, end) if start < end else ():
                for record in batch:
                    id_ = (header(record.headers, CE_ID) or b"").decode(errors="replace")
                    if id_ in checked.first_lines:
                        present.add(id_)
                done += len(batch)
                self._progress(Phase.COMPARE, done, total)
        return present

    async def _publish(self, source: Source, origin: str, wanted: set[int]) -> None:
        done = size = 0
        chunk: list[Envelope] = []
        for number, line in source.lines():
            if number in wanted:
                chunk.append(imported(line, number, origin))
                size += len(line)
            if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
                await self._publisher.publish_many(chunk)
                done += len(chunk)
                chunk, size = [], 0
                self._progress(Phase.PUBLISH, done, len(wanted))
        if chunk:
            await self._publisher.publish_many(chunk)
        self._progress(Phase.PUBLISH, len(wanted), len(wanted))
