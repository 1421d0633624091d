"""What the log says of a change of schemas, record by record."""

from __future__ import annotations

from math import nan
from pathlib import Path
from typing import Any

import pytest

from consumers.folds import Range
from consumers.reviewing.evidence import OTHERS, SITES_MAX, UNKNOWN_MAX, Observed
from consumers.reviewing.gathering import Gathered, gather, spread
from consumers.reviewing.readings import ELSEWHERE
from consumers.reviewing.sides import Sides
from consumers.reviewing.sites import Happening
from streams.errors import ConfigurationError
from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.schemas.lock import USERS_FIRST_ID
from tests.consumers.reviewing.stored import NAMESPACE, append, envelope, new_log, placed, sides_of
from tests.schemas.folder import field, write_folder

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


@pytest.fixture
def log() -> MemoryLog:
    return new_log()


def gathered(log: MemoryLog, sides: Sides, **more: Any) -> Gathered:
    codec = Codec(sides.known)
    return gather(sides, reader=MemoryLogReader(log), namespace=NAMESPACE, codec=codec, **more)


def observed(log: MemoryLog, sides: Sides) -> dict[int, Observed]:
    return {
        n - USERS_FIRST_ID + 1: one for n, one in gathered(log, sides).evidence.observed.items()
    }


def counts(one: Observed) -> dict[tuple[str, str], int]:
    return {(what.value, path): seen.count for (what, path), seen in one.sites.items()}


def test_a_field_with_a_default_is_read_for_every_record(log: MemoryLog, tmp_path: Path) -> None:
    """Of each stored version; nothing else happens, and the first record is named."""
    base = write_folder(tmp_path / "s", placed())
    places = append(log, base, [{} for _ in range(30)])
    write_folder(base, placed(field("count", "int", default=1)))
    append(log, base, [{"count": n} for n in range(20)])
    sides = sides_of(base, placed(field("count", "int", default=1), field("note", default="none")))
    found = observed(log, sides)
    assert {n: (one.records, one.failed) for n, one in found.items()} == {1: (30, 0), 2: (20, 0)}
    assert counts(found[1]) == {("defaulted", "$.count"): 30, ("defaulted", "$.note"): 30}
    assert counts(found[2]) == {("defaulted", "$.note"): 20}
    first = found[1].sites[Happening.DEFAULTED, "$.note"].first
    assert (str(first), first.candidate) == (places[0], "none")


def test_a_type_that_is_as_it_was_is_counted_and_passed(log: MemoryLog, tmp_path: Path) -> None:
    """As it is if only its words are others."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{} for _ in range(30)])
    found = gathered(log, sides_of(base, placed(doc="Another text."))).evidence
    assert (list(found.passed.values()), found.observed, found.records) == ([30], {}, 30)


def test_values_that_change_are_told_with_both(log: MemoryLog, tmp_path: Path) -> None:
    """Every registry takes a change of unit; each record but one at the epoch is another moment."""
    base = write_folder(tmp_path / "s", placed(field("at", MILLIS)))
    places = append(log, base, [{"at": 0}, {"at": 1_700_000_000_000}, {"at": 1}])
    [one] = observed(log, sides_of(base, placed(field("at", MICROS)))).values()
    assert counts(one) == {("value_changed", "$.at"): 2}
    first = one.sites[Happening.VALUE_CHANGED, "$.at"].first
    assert str(first) == places[1]
    assert (first.today, first.candidate) == ("2023-11-14T22:13:20Z", "1970-01-20T16:13:20Z")


def test_agentlogs_own_codec_goes_by_the_writers_logical_type(tmp_path: Path) -> None:
    """What a review says of it is so."""
    base = write_folder(tmp_path / "s", placed(field("at", MILLIS)))
    raw = Codec(Catalogue.load(base)).encode(envelope(1, {"at": 1_700_000_000_000}))
    sides = sides_of(base, placed(field("at", MICROS)))
    found = [Codec(side).decode(raw).payload["at"] for side in (sides.today, sides.candidate)]
    assert found[0] == found[1]


def test_what_cannot_be_read_is_told_and_whether_it_is_so_today(
    log: MemoryLog, tmp_path: Path
) -> None:
    """A branch that is gone: only records that use it fail."""
    base = write_folder(tmp_path / "s", placed(field("by", ["null", "string", "long"])))
    places = append(log, base, [{"by": None}, {"by": "me"}, {"by": 5}, {"by": 6}])
    [one] = observed(log, sides_of(base, placed(field("by", ["null", "string"])))).values()
    assert (one.records, one.decoded, one.failed, one.failed_today) == (4, 2, 2, 0)
    assert counts(one) == {("failed", "$.by|long"): 2}
    first = one.sites[Happening.FAILED, "$.by|long"].first
    assert str(first) == places[2]
    assert "long is in no branch" in first.why


def test_a_narrowing_that_no_record_uses_decodes_everything(log: MemoryLog, tmp_path: Path) -> None:
    """What a registry rejects, and the log does not mind."""
    base = write_folder(tmp_path / "s", placed(field("by", ["null", "string", "long"])))
    append(log, base, [{"by": None}, {"by": "me"}])
    [one] = observed(log, sides_of(base, placed(field("by", ["null", "string"])))).values()
    assert (one.records, one.failed, one.sites) == (2, 0, {})


def test_what_an_upcaster_makes_of_records_is_told(log: MemoryLog, tmp_path: Path) -> None:
    """It is decoded as workers do, and told apart from what changes by itself."""
    base = write_folder(tmp_path / "s", placed(field("wait", "long")))
    places = append(log, base, [{"wait": 0}, {"wait": 3}, {"wait": 13}])
    sides = sides_of(
        base,
        placed(field("wait", "long"), field("unit", default="ms")),
        text="from streams.schemas import Upcasters\n"
        "upcasters = Upcasters()\n"
        "@upcasters.step('acme.order.Placed', from_version=1)\n"
        "def in_ms(fields):\n"
        "    if fields['wait'] > 10:\n"
        "        raise ValueError('too long')\n"
        "    return {**fields, 'wait': fields['wait'] * 1000, 'unit': 'ms'}\n",
    )
    [one] = observed(log, sides).values()
    assert (one.records, one.failed) == (3, 1)
    assert counts(one) == {("upcast", "$.wait"): 1, ("failed", "$"): 1}
    assert "too long" in one.sites[Happening.FAILED, "$"].first.why
    first = one.sites[Happening.UPCAST, "$.wait"].first
    assert (str(first), first.today, first.candidate) == (places[1], "3", "3000")


def test_bytes_that_nobody_wrote_fail_today_as_well(log: MemoryLog, tmp_path: Path) -> None:
    """And a record whose schema nobody knows is counted apart."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{}])
    source = Partition(NAMESPACE.topic("events"), 0)
    framed = b"\x00" + USERS_FIRST_ID.to_bytes(4, "big")
    log.append(source, b"k", framed + b"\x02")
    log.append(source, b"k", b"\x00\x7f\x00\x00\x00rest")
    log.append(source, b"k", b"")
    found = gathered(log, sides_of(base, placed(field("count", "int", default=1)))).evidence
    [one] = found.observed.values()
    assert (one.records, one.failed, one.failed_today) == (2, 1, 1)
    assert sum(seen.count for seen in found.unknown.values()) == 2


def test_an_empty_history_is_one_clear_error(log: MemoryLog, tmp_path: Path) -> None:
    base = write_folder(tmp_path / "s", placed())
    with pytest.raises(ConfigurationError, match="nothing is stored in namespace test"):
        gathered(log, sides_of(base, placed(field("count", "int", default=1))))


def test_a_sample_is_spread_over_partitions_and_positions(log: MemoryLog, tmp_path: Path) -> None:
    """About as many as were asked for, and it says how many there are."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{} for _ in range(1_000)])
    sides = sides_of(base, placed(field("count", "int", default=1)))
    found = gathered(log, sides, sample=100)
    assert found.is_sample
    assert found.positions == 1_000
    assert 90 <= found.evidence.records == found.looked_at <= 110
    assert not gathered(log, sides, sample=5_000).is_sample


def test_a_flood_of_bad_records_is_counted_whole(log: MemoryLog, tmp_path: Path) -> None:
    """However many reasons there are: those that are told apart are bounded."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{}])
    source = Partition(NAMESPACE.topic("events"), 0)
    for n in range(UNKNOWN_MAX + 50):
        log.append(source, b"k", b"\x00\x7f" + n.to_bytes(3, "big") + b"rest")
    found = gathered(log, sides_of(base, placed(field("count", "int", default=1)))).evidence
    assert found.records == UNKNOWN_MAX + 51
    assert found.unknown[OTHERS].count == 50


def test_nan_is_what_it_was(log: MemoryLog, tmp_path: Path) -> None:
    """It equals nothing, and yet no upcaster has changed it."""
    base = write_folder(tmp_path / "s", placed(field("ratio", "double")))
    append(log, base, [{"ratio": nan}, {"ratio": -0.0}, {"ratio": 1.0}])
    sides = sides_of(
        base,
        placed(field("ratio", "double"), field("note", default="")),
        text="from streams.schemas import Upcasters\n"
        "upcasters = Upcasters()\n"
        "@upcasters.step('acme.order.Placed', from_version=1)\n"
        "def same(fields):\n"
        "    return {**fields, 'note': ''}\n",
    )
    [one] = observed(log, sides).values()
    assert (one.records, counts(one)) == (3, {})


def test_places_that_an_upcaster_makes_up_are_bounded(log: MemoryLog, tmp_path: Path) -> None:
    """A map with another key in each record: all are counted, not all are told apart."""
    words = {"type": "map", "values": "int"}
    base = write_folder(tmp_path / "s", placed(field("words", words)))
    append(log, base, [{"words": {f"w{n}": n}} for n in range(SITES_MAX + 50)])
    sides = sides_of(
        base,
        placed(field("words", words), field("note", default="")),
        text="from streams.schemas import Upcasters\n"
        "upcasters = Upcasters()\n"
        "@upcasters.step('acme.order.Placed', from_version=1)\n"
        "def up(fields):\n"
        "    return {'sku': fields['sku'], 'note': '',\n"
        "            'words': {k: n + 1 for k, n in fields['words'].items()}}\n",
    )
    [one] = gathered(log, sides, workers=1).evidence.observed.values()
    assert len(one.sites) <= SITES_MAX
    assert sum(seen.count for seen in one.sites.values()) == one.records == SITES_MAX + 50
    assert one.sites[Happening.UPCAST, ELSEWHERE].count > 50


def test_stretches_reach_to_the_end() -> None:
    """What was written last is by the newest writers."""
    for records in (1, 40, 1_000):
        found = spread([Range(Partition("a", 0), 100, 10_100)], records)
        assert found[-1].end == 10_100
        assert sum(span.positions for span in found) == records


def test_stretches_do_not_overlap() -> None:
    whole = [Range(Partition("a", n), 7, 7 + size) for n, size in enumerate((1, 10, 5_000))]
    for records in (1, 3, 50, 2_000, 5_010):
        found = spread(whole, records)
        seen = [(span.source, p) for span in found for p in range(span.start, span.end)]
        assert len(seen) == len(set(seen))
        assert abs(len(seen) - records) <= len(whole)
        assert all(span.positions for span in found)
