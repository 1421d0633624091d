"""Imports: every line accounted for, on real Kafka, and what a file can do wrong."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from streams.cuts import Cut
from streams.envelope import Envelope
from streams.errors import ConfigurationError
from streams.headers import read_headers
from streams.imports import Importer, ImportResult, Phase, Source
from streams.kafka.admin import TopicAdmin
from streams.kafka.publisher import Publisher
from streams.kafka.reader import KafkaLogReader
from streams.outgoing import Outbox
from streams.ports import SystemClock
from streams.record import Partition, Record
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace

DATA = Path(__file__).parent / "data"
CODEC = Codec(Catalogue.load())
USED = ("tasks", "inbox", "events", "schemas")


def message(n: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"msg-{n:013d}-aaaaaaaaa",
        "from": "a",
        "to": "b",
        "type": "request",
        "timestamp": "2026-01-31T12:00:00Z",
        "payload": {"n": n},
        **fields,
    }


def write(path: Path, *lines: dict[str, Any] | str) -> Source:
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    )
    return Source(str(path))


class Collected:
    """A publisher that keeps what it is given, and a log that holds these ids."""

    def __init__(self, *present: str) -> None:
        self.envelopes: list[Envelope] = []
        self._present = present

    async def publish_many(self, envelopes: Iterable[Envelope]) -> None:
        self.envelopes += envelopes

    def ends(self, topics: Iterable[str]) -> Cut:
        parts = {Partition(topic, 0): len(self._present) for topic in topics}
        return Cut(cluster_id="c", topic_ids={part.topic: "t" for part in parts}, ends=parts)

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        return {Partition(topic, 0): 0 for topic in topics}

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        yield [
            Record(source.topic, source.index, n, 0, None, b"", (("ce_id", id_.encode()),))
            for n, id_ in enumerate(self._present)
        ][start:end]


def importer(where: Collected, **options: Any) -> Importer:
    namespace = Namespace("x")
    outbox = Outbox(
        CODEC,
        sender="",
        clock=SystemClock(),
        rng=random.Random(1),
        record_bytes_max=10_000,
        namespace=namespace,
    )
    return Importer(where, outbox, where, namespace, **options)


async def run(source: Source, *present: str, **options: Any) -> tuple[ImportResult, Collected]:
    where = Collected(*present)
    return await importer(where).run(source, **options), where


async def test_what_is_held_of_a_file_of_large_lines_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk ends by bytes as well as by count."""
    monkeypatch.setattr("streams.imports.CHUNK_BYTES", 1_000)
    chunks: list[int] = []

    class Counting(Collected):
        async def publish_many(self, envelopes: Iterable[Envelope]) -> None:
            chunks.append(len(list(envelopes)))

    large = [message(n, payload={"text": "x" * 600}) for n in range(1, 8)]
    await importer(Counting()).run(write(tmp_path / "f.jsonl", *large))
    assert chunks == [2, 2, 2, 1]


async def test_every_bad_line_has_its_number_and_reason_and_good_ones_go(tmp_path: Path) -> None:
    source = write(
        tmp_path / "f.jsonl",
        message(1),
        "{",
        "",
        message(2, to=""),
        message(3, type="gossip"),
        message(4),
        message(5, payload={"text": "x" * 20_000}),
        message(6, type="command"),
        message(7, type="task_result", payload={"task_id": "t", "status": "done"}),
    )
    result, where = await run(source)
    assert [envelope.id[4:17] for envelope in where.envelopes] == [f"{1:013d}", f"{4:013d}"]
    assert (result.read, result.published, result.refused) == (8, 2, False)
    reasons = {bad.line: bad.reason for bad in result.bad}
    assert reasons.keys() == {2, 4, 5, 7, 8, 9}
    assert reasons[2].startswith("not JSON")
    assert reasons[4] == "Missing required field: to"
    assert reasons[5] == "Invalid message type: gossip"
    assert "the limit is 10000" in reasons[7]
    assert "stream_id" in reasons[8]
    assert reasons[9].startswith("payload.status: 'done'")


async def test_strict_publishes_nothing_if_one_line_is_bad(tmp_path: Path) -> None:
    source = write(tmp_path / "f.jsonl", message(1), message(2, to=""))
    result, where = await run(source, strict=True)
    assert where.envelopes == []
    assert (result.read, result.published, result.refused) == (2, 0, True)
    good = write(tmp_path / "g.jsonl", message(1), message(2))
    result, where = await run(good, strict=True)
    assert (result.published, len(where.envelopes), result.refused) == (2, 2, False)


async def test_imports_keep_id_sender_and_time_and_say_where_they_are_from(tmp_path: Path) -> None:
    source = write(tmp_path / "past.jsonl", message(1), "", message(2, headers={"ttl": 5}))
    result, where = await run(source)
    first, second = where.envelopes
    assert result.origin == "import:past"
    assert (first.id, first.sender, first.created_at) == (
        message(1)["id"],
        "a",
        1_769_860_800_000_000,
    )
    assert (first.origin, first.import_seq, first.ttl_ms) == ("import:past", 1, 0)
    assert (second.import_seq, second.ttl_ms) == (3, 5)
    _, named = await run(source, name="other")
    assert named.envelopes[0].origin == "import:other"


async def test_ids_on_the_log_and_ids_twice_in_the_file_are_skipped(tmp_path: Path) -> None:
    source = write(tmp_path / "f.jsonl", message(1), message(2), message(1), message(3))
    result, where = await run(source, message(2)["id"], "msg-0000000000099-aaaaaaaaa")
    assert [envelope.import_seq for envelope in where.envelopes] == [1, 4]
    assert (result.read, result.published, result.already_present, result.duplicates) == (
        4,
        2,
        1,
        1,
    )


async def test_progress_is_told_by_phase(tmp_path: Path) -> None:
    told: list[tuple[Phase, int, int | None]] = []
    where = Collected("msg-0000000000001-aaaaaaaaa")
    source = write(tmp_path / "f.jsonl", *(message(n) for n in range(4_500)))
    await importer(where, progress=lambda *told_: told.append(told_)).run(source)
    assert told[-1] == (Phase.PUBLISH, 4_499, 4_499)
    assert (Phase.CHECK, 4_500, 4_500) in told
    assert [phase for phase, _, _ in told] == sorted(
        (phase for phase, _, _ in told), key=list(Phase).index
    )


async def test_packed_files_and_stdin_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(json.dumps(message(n)) + "\n" for n in range(3)).encode()
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(lines))
    _, packed = await run(Source(str(tmp_path / "f.jsonl.gz")), name="n")

    class Piped:
        buffer = io.BytesIO(lines)

    monkeypatch.setattr("sys.stdin", Piped)
    piped_source = Source("-")
    assert piped_source.name == "stdin"
    _, piped = await run(piped_source, name="n")
    assert packed.envelopes == piped.envelopes
    assert len(packed.envelopes) == 3


@pytest.mark.parametrize(
    "content",
    [None, b"not gzip", gzip.compress(b"{}\n" * 9000)[:-20]],
    ids=["absent", "no gzip", "cut off"],
)
async def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "f.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"cannot read .*f\.jsonl\.gz"):
        await run(Source(str(path)))


@pytest.fixture
async def real(kafka: str, namespace: str) -> AsyncIterator[tuple[Importer, str, Namespace]]:
    mine = Namespace(namespace)
    admin = TopicAdmin(kafka)
    admin.provision(mine, {name: TOPICS[name] for name in USED})
    outbox = Outbox(
        CODEC,
        sender="",
        clock=SystemClock(),
        rng=random.Random(1),
        record_bytes_max=1_000_000,
        namespace=mine,
    )
    with KafkaLogReader(kafka) as reader:
        async with Publisher(kafka, mine, CODEC) as publisher:
            yield Importer(publisher, outbox, reader, mine), kafka, mine
    admin.delete(mine.topics(USED))


async def test_the_small_history_is_on_the_log_once_however_often_it_is_imported(
    real: tuple[Importer, str, Namespace],
) -> None:
    importer_, kafka, mine = real
    source = Source(str(DATA / "history-small.jsonl.gz"))
    first = await importer_.run(source)
    again = await importer_.run(source)
    assert (first.read, first.published, first.already_present) == (5_758, 5_758, 0)
    assert (again.read, again.published, again.already_present) == (5_758, 0, 5_758)
    originals = {}
    with gzip.open(source.path) as lines:
        for number, line in enumerate(lines, 1):
            originals[json.loads(line)["id"]] = number
    seen: dict[str, int | None] = {}
    with KafkaLogReader(kafka) as reader:
        for part, end in reader.ends([mine.topic("tasks")]):
            last: dict[bytes | None, int] = {}
            for batch in reader.read(part, 0, end):
                for record in batch:
                    envelope = CODEC.decode(record.value)
                    seen[envelope.id] = envelope.import_seq
                    assert read_headers(record.headers).origin == "import:history-small"
                    assert last.get(record.key, 0) < (envelope.import_seq or 0)
                    last[record.key] = envelope.import_seq or 0
    assert seen == originals


async def test_an_import_that_was_broken_off_goes_on_where_it_was(
    real: tuple[Importer, str, Namespace], tmp_path: Path
) -> None:
    importer_, _, _ = real
    lines = [message(n) for n in range(100)]
    await importer_.run(write(tmp_path / "f.jsonl", *lines[:40]))
    result = await importer_.run(write(tmp_path / "f.jsonl", *lines))
    assert (result.published, result.already_present) == (60, 40)
