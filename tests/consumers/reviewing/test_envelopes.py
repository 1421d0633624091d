"""A change of the envelope: every stored envelope, read under both."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from consumers.reviewing.gathering import Gathered, gather
from consumers.reviewing.markdown import markdown
from consumers.reviewing.review import Review, TypeReview, review_type
from consumers.reviewing.sides import ENVELOPE, Sides
from streams.envelope import Envelope, Kind
from streams.identity import message_id
from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.schemas.folders import builtin_folder
from streams.topics import EVENTS
from tests.consumers.reviewing.stored import NAMESPACE, new_log

TODAY: Final = date(2026, 11, 22)
MANY: Final = 12


@pytest.fixture
def log() -> MemoryLog:
    """Three in four are events, the others broadcasts; priorities go from 1 to 5."""
    found, codec = new_log(), Codec(Catalogue.load())
    source = Partition(NAMESPACE.topic(EVENTS), 0)
    for n in range(MANY):
        one = Envelope(
            type="agentlog.Json",
            id=message_id(1_700_000_000_000 + n, f"{n:09d}"),
            sender="ada",
            kind=Kind.EVENT if n % 4 else Kind.BROADCAST,
            priority=n % 5 + 1,
            created_at=1_700_000_000_000_000 + n,
            payload={"json": "{}"},
        )
        found.append(source, b"k", codec.encode(one))
    return found


def sides_of(tmp_path: Path, **changed: Any) -> Sides:
    """Our own folder, with other types for these fields of its envelope; `None` drops one."""
    for name in ("base", "head"):
        shutil.copytree(builtin_folder(), tmp_path / name)
    path = tmp_path / "head" / "envelope.avsc"
    envelope = json.loads(path.read_text())
    kept = [one for one in envelope["fields"] if changed.get(one["name"], one) is not None]
    for one in kept:
        one["type"] = changed.pop(one["name"], one["type"])
    added = [{"name": name, "doc": "New.", **one} for name, one in changed.items() if one]
    path.write_text(json.dumps({**envelope, "fields": [*kept, *added]}))
    return Sides(tmp_path / "base", tmp_path / "head")


def reviewed(log: MemoryLog | None, sides: Sides) -> tuple[TypeReview, Gathered | None]:
    gathered, schemas = None, {}
    if log is not None:
        codec = Codec(sides.known)
        gathered = gather(sides, reader=MemoryLogReader(log), namespace=NAMESPACE, codec=codec)
        schemas = {one: codec.writer_schema(one) for one in gathered.evidence.envelopes}
    [change] = [one for one in sides.changes() if one.name == ENVELOPE]
    return (
        review_type(
            sides,
            change,
            gathered=gathered,
            codec_schemas=schemas,
            readers=(),
            groups={},
            today=TODAY,
        ),
        gathered,
    )


def happened(one: TypeReview) -> dict[tuple[str, str], int]:
    return {
        (what.value, path): seen.count
        for version in one.versions
        for what, path, seen in version.seen()
    }


def test_a_new_field_is_the_default_in_every_stored_envelope(
    log: MemoryLog, tmp_path: Path
) -> None:
    """Records of every type are read, also of those whose payload did not change."""
    one, gathered = reviewed(log, sides_of(tmp_path, tenant={"type": "string", "default": ""}))
    assert gathered is not None
    assert gathered.evidence.records == sum(gathered.evidence.passed.values()) == MANY
    assert happened(one) == {("defaulted", "$.tenant"): MANY}
    assert (one.records, one.needs, one.against) == (MANY, (), ())
    made = Review(folder="s", base="a", head="b", types=(one,), gathered=gathered)
    assert f"✓ {MANY} records, {MANY} decoded" in markdown(made)


def test_a_symbol_that_is_gone_changes_what_is_stored(log: MemoryLog, tmp_path: Path) -> None:
    """Compatible by the schemas, for the enum has a default; three records say another kind."""
    [kind] = [
        one["type"]
        for one in json.loads((builtin_folder() / "envelope.avsc").read_text())["fields"]
        if one["name"] == "kind"
    ]
    symbols = [one for one in kind["symbols"] if one != "broadcast"]
    one, _ = reviewed(log, sides_of(tmp_path, kind={**kind, "symbols": symbols}))
    assert happened(one) == {("enum_substituted", "$.kind"): 3, ("value_changed", "$.kind"): 3}
    assert "value_changed" in [block.rule for block in one.against]
    first = next(seen.first for _, _, seen in one.versions[0].seen())
    assert (first.position, first.today, first.candidate) == (0, "broadcast", "unknown")


def test_a_type_that_reads_no_stored_value_fails(log: MemoryLog, tmp_path: Path) -> None:
    one, _ = reviewed(log, sides_of(tmp_path, sender="long"))
    assert happened(one) == {("failed", "$.sender"): MANY}
    assert {"failed", "type_mismatch"} <= {block.rule for block in one.against}


def test_without_a_log_every_released_envelope_has_its_verdict(tmp_path: Path) -> None:
    """And other words in docs are no change to look at."""
    one, _ = reviewed(None, sides_of(tmp_path / "a", tenant={"type": "string", "default": ""}))
    assert one.versions
    assert all(version.report.compatible and not version.stored for version in one.versions)
    sides = sides_of(tmp_path / "b")
    path = sides.head / "envelope.avsc"
    path.write_text(json.dumps({**json.loads(path.read_text()), "doc": "Another text."}))
    assert sides.envelopes is None
    assert reviewed(None, sides)[0].versions == ()
