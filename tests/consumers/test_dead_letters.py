"""Dead letters on a real log: found, filtered, redriven and dropped, each once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from consumers.dead_letters import (
    SOURCES,
    DeadLetters,
    Done,
    Entry,
    Place,
    Plan,
    Redrive,
    TakenOver,
    Wanted,
    parse_place,
    parse_topic,
    plan,
)
from consumers.dead_letters import planning as planning_module
from consumers.dead_letters.groups import known_groups
from streams.dead_letters import DROPPED, REDRIVEN, dead_letter_headers
from streams.envelope import Envelope, Kind
from streams.errors import ConfigurationError, LogError
from streams.headers import header, record_headers
from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.outgoing import Outbox
from streams.ports import SystemClock
from streams.record import Partition, Record
from streams.schemas import Catalogue, Codec
from streams.topics import EVENTS, SCHEMAS, TASKS, TOPICS, Namespace, dlq
from streams.topics.catalogue import RECORD_BYTES_MAX
from streams.topics.partitioning import partition_for

CODEC: Final = Codec(Catalogue.load())
JSON: Final = "agentlog.Json"
NEEDED: Final = {name: TOPICS[name] for name in (TASKS, EVENTS, SCHEMAS, *map(dlq, SOURCES))}
"""What these tests touch: making all topics costs more than most of them."""


def task(n: int, key: str = "k", **fields: Any) -> Envelope:
    return Envelope(
        type=JSON,
        id=f"msg-{n:013d}-aaaaaaaaa",
        kind=Kind.TASK_ASSIGNMENT,
        sender="boss",
        recipients=("agent-1",),
        correlation_id=key,
        created_at=1_700_000_000_000_000,
        payload={"json": f'{{"n":{n}}}'},
    ).with_(**fields)


class Desk:
    """A namespace with its topics, somebody who writes dead letters, and somebody who resolves."""

    def __init__(self, servers: str, namespace: str) -> None:
        self.servers = servers
        self.namespace = Namespace(namespace)
        TopicAdmin(servers).provision(self.namespace, NEEDED)
        self.reader = KafkaLogReader(servers)

    def record(self, envelope: Envelope, partition: int = 3, position: int = 14) -> Record:
        """A record as it was on `tasks`."""
        return Record(
            topic=self.namespace.topic(TASKS),
            partition=partition,
            position=position,
            appended_at_ms=1_700_000_000_000,
            key=(envelope.correlation_id or "").encode(),
            value=CODEC.encode(envelope),
            headers=tuple(record_headers(envelope)),
        )

    def bury(self, *records: Record, group: str = "fleet", **changes: Any) -> None:
        """Write the dead letters of these records."""
        told: dict[str, Any] = {
            "handlers": ["on_task"],
            "attempts": 5,
            "error_name": "TimeoutError",
            "error_message": "no answer",
            "stack": "Traceback",
            "failed_at_ms": 1_700_000_001_000,
            "context": {"app": group, "agent": "agent-7"},
        }
        self.write(
            *(
                (
                    dlq(record.topic),
                    record.key,
                    record.value,
                    dead_letter_headers(
                        record, **{"group": self.namespace.group(group), **told, **changes}
                    ),
                )
                for record in records
            )
        )

    def write(self, *records: tuple[str, bytes | None, bytes | None, Sequence[Any]]) -> None:
        producer = Producer(
            {"bootstrap.servers": self.servers, "message.max.bytes": 2 * RECORD_BYTES_MAX}
        )
        for topic, key, value, headers in records:
            producer.produce(topic, value, key, headers=list(headers))
        assert producer.flush(30) == 0

    def letters(self) -> DeadLetters:
        return DeadLetters(self.reader, CODEC, self.namespace)

    def find(
        self, wanted: Wanted | None = None, since: str | None = None, until: str | None = None
    ) -> list[Entry]:
        letters = self.letters()
        spans = letters.spans(SOURCES, since, until, time.time_ns() // 1_000_000)
        return list(letters.find(spans, wanted or Wanted()))

    def plan(self, *, again: bool = False, limit: int | None = None) -> tuple[DeadLetters, Plan]:
        letters = self.letters()
        spans = letters.spans(SOURCES, None, None, time.time_ns() // 1_000_000)
        return letters, plan(letters.find(spans, Wanted()), again=again, limit=limit)

    def redrive(
        self, letters: DeadLetters, action: str = REDRIVEN, note: str = "", run: str = "run-1"
    ) -> Redrive:
        outbox = Outbox(
            CODEC,
            sender="operator:me",
            clock=SystemClock(),
            rng=random.Random(7),
            record_bytes_max=1_000_000,
            namespace=self.namespace,
        )
        return Redrive(
            self.servers,
            self.namespace,
            CODEC.catalogue,
            self.reader,
            letters,
            outbox,
            action=action,
            note=note,
            run_id=run,
        )

    def carry_out(self, action: str = REDRIVEN, note: str = "", *, again: bool = False) -> Done:
        letters, todo = self.plan(again=again)
        return self.redrive(letters, action, note).run(todo)

    def records(self, logical: str) -> list[Record]:
        topic = self.namespace.topic(logical)
        starts = self.reader.starts([topic])
        return [
            record
            for source, end in self.reader.ends([topic])
            for batch in self.reader.read(source, starts[source], end)
            for record in batch
        ]

    def events(self) -> list[Mapping[str, Any]]:
        return [CODEC.decode(record.value).payload for record in self.records(EVENTS)]


@pytest.fixture
def desk(kafka: str, namespace: str) -> Iterator[Desk]:
    found = Desk(kafka, namespace)
    yield found
    found.reader.close()


def test_a_redrive_is_the_original_bytes_for_the_group_and_the_handlers_that_failed(
    desk: Desk,
) -> None:
    """S5.6: what could not be handled can be submitted again; nothing of it is re-encoded."""
    original = desk.record(task(1))
    desk.bury(original)
    assert desk.carry_out(note="the model is back") == Done(resolved=1)
    (back,) = desk.records(TASKS)
    assert (back.key, back.value) == (original.key, original.value)
    assert back.partition == partition_for(b"k", 8)
    assert back.headers == (
        *original.headers,
        ("redrive", b"1"),
        ("redrive_for", desk.namespace.group("fleet").encode()),
        ("redrive_handlers", b'["on_task"]'),
    )
    (event,) = desk.records(EVENTS)
    envelope = CODEC.decode(event.value)
    assert (envelope.sender, envelope.writer, envelope.kind) == ("operator:me", "run-1", "event")
    assert dict(envelope.payload) == {
        "topic": desk.namespace.topic(dlq(TASKS)),
        "partition": 0,
        "position": 0,
        "id": task(1).id,
        "action": "redriven",
        "redrive": 1,
        "note": "the model is back",
    }
    (schema,) = desk.records(SCHEMAS)
    event_type = CODEC.catalogue.type(envelope.type)
    assert schema.key == b"%d" % event_type.schema_id, "the log describes itself"


def test_what_cannot_be_decoded_and_what_has_no_key_go_back_as_they_were(desk: Desk) -> None:
    """No key: the partition that it was on. No value: a tombstone stays one."""
    odd = Record(desk.namespace.topic(TASKS), 5, 2, 1, None, b"\x00junk", (("mine", b"\xff"),))
    empty = Record(desk.namespace.topic(TASKS), 6, 2, 1, None, None)
    desk.bury(odd, empty, group="", handlers=[], error_name="DecodeError")
    assert desk.carry_out() == Done(resolved=2)
    back = desk.records(TASKS)
    assert [(one.partition, one.key, one.value, one.headers[0]) for one in back] == [
        (5, None, b"\x00junk", ("mine", b"\xff")),
        (6, None, None, ("redrive", b"1")),
    ]
    assert [event["id"] for event in desk.events()] == ["", ""]


def test_a_dropped_letter_stays_on_the_log_and_is_not_open(desk: Desk) -> None:
    desk.bury(desk.record(task(1)), desk.record(task(2)))
    letters, todo = desk.plan(limit=1)
    assert desk.redrive(letters, DROPPED, "twice paid").run(todo) == Done(resolved=1)
    assert desk.records(TASKS) == []
    first, second = desk.find()
    assert (first.state, second.state) == ("dropped", "open")
    assert first.resolution is not None
    assert (first.resolution.note, first.resolution.by) == ("twice paid", "operator:me")
    assert len(desk.records(dlq(TASKS))) == 2


def test_what_is_resolved_is_left_alone_unless_asked_for_again(desk: Desk) -> None:
    """Again gets a number of its own: workers drop what has an earlier redrive's."""
    desk.bury(desk.record(task(1)))
    desk.carry_out()
    _, todo = desk.plan()
    assert (len(todo.entries), todo.already) == (0, 1)
    assert desk.carry_out(again=True) == Done(resolved=1)
    numbers = [header(record.headers, "redrive") for record in desk.records(TASKS)]
    assert numbers == [b"1", b"2"]
    # A redrive of the same envelope that failed again, and was redriven as its number 3.
    (second, *_) = reversed(desk.records(TASKS))
    desk.bury(second)
    desk.carry_out()
    desk.carry_out(again=True)
    numbers = [header(record.headers, "redrive") for record in desk.records(TASKS)]
    assert len(set(numbers)) == len(numbers) == 5


def test_a_plan_that_somebody_else_overtook_leaves_theirs_alone(desk: Desk) -> None:
    """Two people redrive the same letters: each goes back once."""
    desk.bury(*(desk.record(task(n)) for n in range(4)))
    mine, all_four = desk.plan()
    theirs, first_two = desk.plan(limit=2)
    assert desk.redrive(theirs, run="run-2").run(first_two) == Done(resolved=2)
    assert desk.redrive(mine).run(all_four) == Done(resolved=2, meanwhile=2)
    assert len(desk.records(TASKS)) == 4


def test_one_that_began_earlier_is_fenced_by_one_that_begins_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the resolutions and its commit: its transaction must not count."""
    desk.bury(desk.record(task(1)))
    mine, todo = desk.plan()
    slow = desk.redrive(mine)
    still_open = slow._still_open

    def overtaken(batch: Any) -> Any:
        found = still_open(batch)
        theirs, same = desk.plan()
        assert desk.redrive(theirs, run="run-2").run(same) == Done(resolved=1)
        return found

    monkeypatch.setattr(slow, "_still_open", overtaken)
    with pytest.raises(TakenOver, match="another redrive or drop began"):
        slow.run(todo)
    assert len(desk.records(TASKS)) == 1
    assert len(desk.events()) == 1


def test_a_commit_without_an_answer_is_not_done_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next round finds our own resolutions on the log."""
    desk.bury(desk.record(task(1)), desk.record(task(2)))
    letters, todo = desk.plan()
    deed = desk.redrive(letters)
    transact = deed._transact
    answers = iter([True, False])

    def unanswered(producer: Any, batch: Any) -> dict[Place, str]:
        refused = transact(producer, batch)
        if next(answers):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return refused

    monkeypatch.setattr(deed, "_transact", unanswered)
    assert deed.run(todo) == Done(resolved=2)
    assert len(desk.records(TASKS)) == 2


def test_what_kafka_refuses_is_named_and_the_others_go(desk: Desk) -> None:
    """A record at the limit has no room for a redrive's headers; it stays open."""
    noise = random.Random(7).randbytes(RECORD_BYTES_MAX - 60)
    topic = desk.namespace.topic(TASKS)
    large = Record(topic, 1, 1, 1, b"k", noise)
    desk.bury(desk.record(task(1)), large, desk.record(task(2)))
    done = desk.carry_out()
    assert done.resolved == 2
    assert [place.position for place in done.refused] == [1]
    assert "too large" in next(iter(done.refused.values()))
    assert [entry.state for entry in desk.find()] == ["redriven", "open", "redriven"]
    assert desk.carry_out(DROPPED, "too large") == Done(resolved=1)


def test_many_go_in_several_transactions_in_their_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning_module, "BATCH_RECORDS_MAX", 10)
    monkeypatch.setattr(planning_module, "GAP_MAX", 3)
    desk.bury(*(desk.record(task(n)) for n in range(25)))
    letters, todo = desk.plan()
    kept = tuple(one for one in todo.entries if not 5 <= one.place.position < 12)
    through: list[int] = []
    done = desk.redrive(letters).run(
        Plan(entries=kept, already=0, more=False), on_progress=through.append
    )
    assert (done, through) == (Done(resolved=18), [10, 18])
    ids = [CODEC.decode(record.value).id for record in desk.records(TASKS)]
    assert ids == [task(n).id for n in range(25) if not 5 <= n < 12]


FILTERS: Final[tuple[tuple[Wanted, list[int]], ...]] = (
    (Wanted(), [0, 1, 2]),
    (Wanted(type="Json"), [0, 1]),
    (Wanted(type="agentlog.Json"), [0, 1]),
    (Wanted(type="task_assignment"), [0, 1]),
    (Wanted(error="DecodeError"), [2]),
    (Wanted(agent="boss"), [0, 1]),
    (Wanted(agent="agent-1"), [0]),
    (Wanted(agent="agent-7"), [0, 2]),
    (Wanted(correlation="other"), [1]),
    (Wanted(correlation="other", error="DecodeError"), []),
)


def test_filters_ask_the_envelope_its_error_and_its_context(desk: Desk) -> None:
    desk.bury(desk.record(task(1)))
    desk.bury(desk.record(task(2, "other", recipients=("agent-2",))), context={})
    junk = Record(desk.namespace.topic(TASKS), 1, 1, 1, b"k", b"junk", (("ce_id", None),))  # type: ignore[arg-type]  # Kafka has such headers
    desk.bury(junk, error_name="DecodeError")
    for wanted, positions in FILTERS:
        assert [entry.place.position for entry in desk.find(wanted)] == positions, wanted


def test_dead_letters_of_several_topics_and_groups_come_by_time(desk: Desk) -> None:
    desk.bury(desk.record(task(1)))
    events = Record(desk.namespace.topic(EVENTS), 1, 1, 1, b"k", b"junk")
    desk.bury(events, group="other")
    desk.bury(desk.record(task(2)), group="other")
    shown = [entry.place.shown(desk.namespace) for entry in desk.find()]
    assert shown == ["tasks.dlq[0]@0", "events.dlq[0]@0", "tasks.dlq[0]@1"]
    other = desk.find(Wanted(group=desk.namespace.group("other")))
    assert [entry.place.shown(desk.namespace) for entry in other] == shown[1:]
    _, todo = desk.plan()
    assert [(key[1:], n) for key, n in todo.counts()] == [
        ((desk.namespace.group("other"), "TimeoutError"), 1),
        ((desk.namespace.group("fleet"), "TimeoutError"), 1),
        ((desk.namespace.group("other"), "TimeoutError"), 1),
    ]


def test_moments_bound_by_append_time_and_both_are_included(desk: Desk) -> None:
    for n in range(3):
        desk.bury(desk.record(task(n)))
        appended = desk.find()[-1].appended_at_ms
        while time.time_ns() // 1_000_000 <= appended:  # the next one is another millisecond
            time.sleep(0.001)
    at = [
        f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(one.appended_at_ms // 1000))}"
        f".{one.appended_at_ms % 1000:03d}Z"
        for one in desk.find()
    ]
    assert [e.place.position for e in desk.find(since=at[1])] == [1, 2]
    assert [e.place.position for e in desk.find(until=at[1])] == [0, 1]
    assert [e.place.position for e in desk.find(since=at[1], until=at[1])] == [1]
    assert desk.find(since="now") == []
    cut = desk.reader.ends([desk.namespace.topic(dlq(name)) for name in SOURCES]).encode()
    desk.bury(desk.record(task(3)))
    assert [e.place.position for e in desk.find(since=cut)] == [3]
    assert [e.place.position for e in desk.find(until=cut)] == [0, 1, 2]


def test_what_is_no_dead_letter_is_counted_and_passed_over(desk: Desk) -> None:
    """Anybody may write to the topic; a forged original topic sends nothing anywhere."""
    topic = desk.namespace.topic(dlq(TASKS))
    forged = dead_letter_headers(
        Record("elsewhere.secrets", 0, 0, 0, None, None),
        group="g",
        handlers=[],
        attempts=1,
        error_name="E",
        error_message="",
        stack="",
        failed_at_ms=0,
        context={},
    )
    desk.write((topic, b"k", b"junk", []), (topic, b"k", b"junk", forged))
    desk.write((desk.namespace.topic(EVENTS), b"dlq/not/an/envelope", b"junk", []))
    desk.bury(desk.record(task(1)))
    letters, todo = desk.plan()
    assert (letters.strangers, letters.seen, len(todo.entries)) == (2, 1, 1)
    with pytest.raises(Exception, match="is no dead letter"):
        letters.at([Place(Partition(topic, 0), 0)])


def test_a_place_is_read_as_people_write_it_and_must_be_there(desk: Desk) -> None:
    desk.bury(desk.record(task(1)))
    place = parse_place("tasks.dlq[0]@0", desk.namespace)
    assert parse_place(f"{desk.namespace.name}.tasks.dlq[0]@0", desk.namespace) == place
    letters = desk.letters()
    (entry,) = letters.at([place, place])
    assert (entry.place, entry.facts.id) == (place, task(1).id)
    desk.redrive(*(letters,)).run(Plan(entries=(entry,), already=0, more=False))
    for text, problem in (
        ("tasks.dlq[0]@1", "no such position; the partition holds positions 0 to 0"),
        ("tasks.dlq[4]@1", "has only partitions 0 to 0"),
        ("events.dlq[0]@0", "the partition holds nothing"),
    ):
        with pytest.raises(LogError, match=problem):
            letters.record_at(parse_place(text, desk.namespace))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("12", "not a position"),
        ("tasks.dlq[0]", "not a position"),
        ("tasks.dlq[0]@-1", "not a position"),
        ("tasks[0]@12", "tasks holds no dead letters; its own are on tasks.dlq"),
        ("gossip.dlq[0]@12", "no topic 'gossip.dlq' has dead letters; there are tasks.dlq"),
        ("replies.dlq[0]@12", "no topic 'replies.dlq' has dead letters"),
    ],
)
def test_a_place_that_is_none_is_refused_in_one_sentence(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        parse_place(text, Namespace("ns"))


def test_a_topic_may_be_named_as_the_source_or_as_its_dead_letters() -> None:
    names = ("tasks", "tasks.dlq", "ns.tasks", "ns.tasks.dlq")
    assert {parse_topic(name, Namespace("ns")) for name in names} == {"tasks"}


def test_groups_that_the_broker_knows(desk: Desk) -> None:
    assert known_groups(desk.servers, desk.namespace) == set()
