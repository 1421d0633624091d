"""What is to be done with a record, before any handler runs: a ladder, whose first rung decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.journal.outcomes import (
    DETAIL_MAX,
    DUPLICATE,
    EXPIRED,
    IMPORT,
    NO_HANDLER,
    REDRIVE,
    REPLAY,
    Ending,
    Outcome,
    Reason,
)
from consumers.marks import Mark
from consumers.outbox import Outbox
from consumers.worker.assignment import STARTS_MAX, Assignment, Delivery
from consumers.worker.cancelled import CancelledIds
from consumers.worker.opening import TYPES_MAX, Closed, Opened, Opening
from streams import headers
from streams.envelope import ORIGIN, Envelope
from streams.errors import BrokerError
from streams.headers import record_headers
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace
from tests.consumers.worker.harness import ASSIGN, CODEC, assign_task

NOW_US: Final = 1_800_000_000_000_000
GROUP: Final = "ns.fleet"


class FixedClock:
    """Always the same moment."""

    def now_us(self) -> int:
        return NOW_US


class Desk:
    """An app whose records are opened."""

    def __init__(self, *, skip_imports: bool = True, codec: Codec = CODEC) -> None:
        self.app = App("fleet", topics=("tasks",), skip_imports=skip_imports)
        for name in ("one", "two"):

            @self.app.on(ASSIGN, name=name)
            async def handler(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

        self.cancelled = CancelledIds()
        outbox = Outbox(codec, Namespace("ns"), FixedClock(), app_name="fleet")
        self.opening = Opening(self.app, outbox, self.cancelled, group=GROUP)

    def delivery(
        self,
        envelope: Envelope | bytes | None,
        *added: headers.Header,
        duplicate: bool = False,
        starts: int = 0,
    ) -> Delivery:
        """As the core makes it."""
        value, found = envelope if not isinstance(envelope, Envelope) else b"", list(added)
        if isinstance(envelope, Envelope):
            value = CODEC.encode(envelope)
            found = [*record_headers(envelope), *added]
        record = Record("ns.tasks", 0, 7, NOW_US // 1000 - 250, b"k", value, tuple(found))
        mark = Mark(0, clean=False, suspect=7, starts=starts)
        assignment = Assignment(
            1, Partition("ns.tasks", 0), mark, "m", careful_max=1, wary_max=1, dedup_window=0
        )
        odd = duplicate or bool(added) or starts > 0
        made = Delivery(record, assignment, 7, 100, duplicate=duplicate, odd=odd)
        made.alone = starts > 0
        return made

    def ending(self, *values: Any, **named: Any) -> Ending:
        closed = self.opening.open(self.delivery(*values, **named))
        assert isinstance(closed, Closed)
        return closed.ending

    def opened(self, *values: Any, **named: Any) -> Opened:
        opened = self.opening.open(self.delivery(*values, **named))
        assert isinstance(opened, Opened)
        return opened


def task(**fields: Any) -> Envelope:
    return assign_task(1, "k", created_at=NOW_US - 1_000_000, **fields)


def test_a_record_for_us_is_opened() -> None:
    """Envelope, payload, all its handlers, and how long it took to get here."""
    opened = Desk().opened(task())
    assert opened.envelope.id == task().id
    assert opened.payload["task"]["id"] == "t1"
    assert [handler.name for handler in opened.handlers] == ["one", "two"]
    assert (opened.names, opened.delivery_ms) == (("one", "two"), 250)


REPLAYED: Final = (headers.REPLAY_OF, b"msg")
ANOTHERS: Final = (headers.REDRIVE_FOR, b"ns.other")
OURS: Final = (headers.REDRIVE_FOR, GROUP.encode())
FIRST: Final = (headers.REDRIVE, b"1")


def test_h11_a_record_whose_starts_had_no_end_has_crashed() -> None:
    """It is a dead letter before anybody looks at its bytes, and says why."""
    ending = Desk().ending(task(), starts=STARTS_MAX + 1)
    assert (ending.outcome, ending.reason) == (Outcome.DEAD_LETTERED, Reason.CRASHED)
    assert "died 2 times" in ending.detail
    assert Desk().opened(task(), starts=STARTS_MAX).handlers


def test_the_first_rung_that_fits_decides() -> None:
    """With all that may end a record, taken away one after the other."""
    desk = Desk()
    envelope = task(ttl_ms=1, headers={ORIGIN: "import:old"})
    desk.cancelled.add(envelope.id, "not needed")
    cancelled = Ending(Outcome.SKIPPED, Reason.CANCELLED, "not needed")
    every = (REPLAYED, ANOTHERS)
    crashed = desk.ending(b"no envelope", *every, duplicate=True, starts=STARTS_MAX + 1)
    assert crashed.reason == Reason.CRASHED
    assert desk.ending(b"no envelope", *every, duplicate=True) == REPLAY
    assert desk.ending(b"no envelope", ANOTHERS, duplicate=True) == REDRIVE
    assert desk.ending(b"no envelope", OURS, duplicate=True) == DUPLICATE
    assert desk.ending(b"no envelope").reason == Reason.UNDECODABLE
    assert desk.ending(envelope) == IMPORT
    live = envelope.with_(headers={})
    assert desk.ending(live) == cancelled
    other = live.with_(id=assign_task(2, "k").id)
    assert desk.ending(other) == EXPIRED
    unknown = other.with_(ttl_ms=0, type="agentlog.Json", payload={"json": "{}"})
    assert desk.ending(unknown) == NO_HANDLER


def test_imports_are_work_where_the_app_says_so() -> None:
    """skip_imports=False."""
    assert Desk(skip_imports=False).opened(task(headers={ORIGIN: "import:old"})).handlers


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.UNDECODABLE),
        (b"", Reason.UNDECODABLE),
        (b"not an envelope", Reason.UNDECODABLE),
        (CODEC.encode(assign_task(1, "k"))[:-4], Reason.UNDECODABLE),
        (b"\0\0\0\0\7body", Reason.UNKNOWN_SCHEMA),
    ],
)
def test_s5_06_what_cannot_be_read_is_a_dead_letter(value: bytes | None, reason: str) -> None:
    """Its payload too, though no handler has asked for it yet; the id is what the headers say."""
    desk = Desk()
    closed = desk.opening.open(desk.delivery(value, (headers.CE_ID, b"msg-\xff")))
    assert isinstance(closed, Closed)
    assert (closed.ending.outcome, closed.ending.reason) == (Outcome.DEAD_LETTERED, reason)
    assert closed.ending.detail[:DETAIL_MAX]
    assert (closed.envelope_id, closed.delivery_ms) == ("msg-\ufffd", None)


def test_a_schema_that_cannot_be_asked_for_is_raised() -> None:
    """It is no dead letter: a later look may find it."""

    class Away:
        """A schema source that cannot answer."""

        def writer_schema(self, _schema_id: int) -> str | None:
            raise BrokerError("away")

    desk = Desk(codec=Codec(CODEC.catalogue, [Away()]))
    with pytest.raises(BrokerError, match="away"):
        desk.ending(b"\0\0\0\0\7body")


@pytest.mark.parametrize(
    ("ttl_ms", "age_ms", "expired"),
    [(0, 10**9, False), (1_000, 1_000, False), (1_000, 1_001, True), (1_000, -5_000, False)],
)
def test_s3_08_expired_iff_its_time_to_live_is_over(
    ttl_ms: int, age_ms: int, expired: bool
) -> None:
    """ttl > 0 and now − created > ttl; a clock that is ahead of ours expires nothing."""
    desk = Desk()
    envelope = assign_task(1, "k", ttl_ms=ttl_ms, created_at=NOW_US - age_ms * 1000)
    found = desk.opening.open(desk.delivery(envelope))
    assert isinstance(found, Closed) == expired
    assert not isinstance(found, Closed) or found.ending == EXPIRED


def test_s3_08_a_redrive_does_not_expire() -> None:
    """An operator asked for it, however old it is."""
    opened = Desk().opened(task(ttl_ms=1), FIRST, OURS)
    assert opened.envelope.retry_count == 1


def test_s5_06_a_redrive_runs_only_the_handlers_that_had_failed() -> None:
    """The others have done their part; names that are gone mean all of them."""
    desk = Desk()

    def names(value: bytes) -> list[str]:
        opened = desk.opened(task(), FIRST, OURS, (headers.REDRIVE_HANDLERS, value))
        assert opened.names == ("one", "two")
        return [handler.name for handler in opened.handlers]

    assert names(b'["two"]') == ["two"]
    assert names(b'["two","gone"]') == ["two"]
    for value in (b'["gone"]', b"[]", b"", b"no json", b'{"two": 1}', b"\xff"):
        assert names(value) == ["one", "two"], value


def test_s3_19_a_later_attempt_runs_only_the_handlers_that_failed() -> None:
    """The outputs of the others are kept."""
    desk = Desk()
    delivery = desk.delivery(task())
    delivery.done = {"one": []}
    opened = desk.opening.open(delivery)
    assert isinstance(opened, Opened)
    assert [handler.name for handler in opened.handlers] == ["two"]
    assert opened.names == ("one", "two")


def test_a_header_that_is_no_number_is_no_redrive() -> None:
    """Anybody may write headers: it is handled as the original."""
    assert Desk().opened(task(), (headers.REDRIVE, b"often")).envelope.retry_count == 0


def test_what_a_cancel_says_is_in_the_outcome_before_the_record_has_come() -> None:
    """A cancel that overtook its record still wins (section 7, system lane)."""
    desk = Desk()
    desk.cancelled.add(task().id)
    assert desk.ending(task()) == Ending(Outcome.SKIPPED, Reason.CANCELLED, "")


def test_invented_types_are_remembered_up_to_a_bound() -> None:
    """Anybody may put any type on the log; who comes later is handled all the same."""
    desk = Desk()
    for n in range(TYPES_MAX + 5):
        assert desk.opening._handlers(f"invented.{n}") == ((), ())
    assert len(desk.opening._names) == TYPES_MAX
    assert desk.opening._handlers(ASSIGN)[1] == ("one", "two")
