"""A whole review: what is told of a type, what stands against it, and how it is shown."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Final

import pytest

from consumers.reviewing.document import document
from consumers.reviewing.folding import fold_under_both
from consumers.reviewing.gathering import gather
from consumers.reviewing.markdown import markdown
from consumers.reviewing.page import review_page
from consumers.reviewing.promises import asks_less
from consumers.reviewing.review import Review, review_type
from consumers.reviewing.reviewing import Looks, review
from consumers.reviewing.sides import Sides
from consumers.reviewing.verdict import Need
from consumers.usage import Reader, ReaderKind, Reads
from streams.envelope import Envelope
from streams.errors import ConfigurationError
from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.schemas.compatibility import Mode
from streams.schemas.lock import USERS_FIRST_ID
from tests.consumers.reviewing.stored import NAMESPACE, PLACED, append, new_log, placed, sides_of
from tests.html_pages import Page
from tests.schemas.folder import SUBJECTS, field, record, write_folder

TODAY: Final = date(2026, 11, 22)
WRAPPED: Final = field("gift_wrap", "boolean", default=False)


@pytest.fixture
def log() -> MemoryLog:
    return new_log()


def reviewed(log: MemoryLog, sides: Sides) -> Review:
    codec = Codec(sides.known)
    gathered = gather(sides, reader=MemoryLogReader(log), namespace=NAMESPACE, codec=codec)
    schemas = {one: codec.writer_schema(one) for one in gathered.evidence.observed}
    types = [
        review_type(
            sides,
            change,
            gathered=gathered,
            codec_schemas=schemas,
            readers=(),
            groups={},
            today=TODAY,
        )
        for change in sides.changes()
    ]
    return Review(folder="s", base="base", head="head", types=tuple(types), gathered=gathered)


def test_records_that_are_read_as_before_are_no_missing_ones(
    log: MemoryLog, tmp_path: Path
) -> None:
    """A doc that changed: they were counted, not read, and nothing says that there is none."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{} for _ in range(30)])
    made = reviewed(log, sides_of(base, placed(doc="Another text.")))
    [version] = made.types[0].versions
    assert (version.label, version.passed, version.stored) == ("v1", 30, 30)
    assert "30 records, read as before" in markdown(made)
    assert document(made)["types"][0]["versions"][0]["decoded"] == 30


@pytest.fixture
def removing(log: MemoryLog, tmp_path: Path) -> tuple[Sides, str]:
    """A change that takes a type away of whose two versions there are records; where they begin."""
    base = write_folder(tmp_path / "s", placed(), record("Sent"))
    places = append(log, base, [{} for _ in range(30)])
    write_folder(base, placed(WRAPPED))
    append(log, base, [{"gift_wrap": True} for _ in range(12)])
    sides = sides_of(base)
    (sides.head / "order" / "Placed.avsc").unlink()
    return sides, places[0]


def test_a_type_of_which_records_are_stored_does_not_go(
    log: MemoryLog, removing: tuple[Sides, str]
) -> None:
    """By its versions; there is no verdict, for there is nothing to read them as."""
    sides, first = removing
    made = reviewed(log, sides)
    [one] = made.types
    assert ([it.label for it in one.versions], one.records, one.needs) == (["v1", "v2"], 42, ())
    [block] = one.against
    assert (block.rule, block.path) == ("type_removed", "$")
    assert f"42 records of it are stored, first {first}" in block.message
    said = markdown(made)
    assert "no type to read it as | ✕ 30 records, 30 decoded, first test.events" in said
    assert "type\\_removed" in said
    assert "compatible" not in said
    assert first in Page(review_page(made)).text
    shown = document(made)["types"][0]
    assert [it["stored"] for it in shown["versions"]] == [30, 12]
    assert (shown["versions"][0]["compatible"], shown["versions"][0]["first"]) == (None, first)
    assert shown["against"][0]["rule"] == "type_removed"


def test_that_a_type_goes_is_waived_in_its_own_table(
    log: MemoryLog, removing: tuple[Sides, str]
) -> None:
    """It stays in the folder's file; a waiver that has expired is named, and holds no more."""
    sides, _ = removing
    waiver = f'\n[[subject."{PLACED}".waivers]]\nrule = "type_removed"\nreason = "Sold."\n'
    path = sides.head / "subjects.toml"
    path.write_text(f"{SUBJECTS}{waiver}expires = 2026-11-21\n")
    expired = reviewed(log, sides)
    assert not expired.fine
    assert "waived until 2026-11-21; orders decides" in markdown(expired)
    path.write_text(f"{SUBJECTS}{waiver}expires = 2026-11-22\n")
    made = reviewed(log, sides)
    assert made.fine
    assert "until 2026-11-22, orders: Sold." in markdown(made)


def test_a_type_that_code_reads_does_not_go(tmp_path: Path) -> None:
    """Whatever is stored; without records and readers nothing stands against it."""
    base = write_folder(tmp_path / "s", placed(), record("Sent"))
    sides = sides_of(base)
    (sides.head / "order" / "Placed.avsc").unlink()
    reads = (Reads(PLACED, ("sku",)),)
    handlers = [
        Reader(ReaderKind.HANDLER, "shop", f"on_{n}", "shop.py:9", ("events",), reads)
        for n in range(5)
    ]
    [change] = sides.changes()
    for readers, said in (
        ((), []),
        (handlers[:1], ["it is read by handler shop.on_0"]),
        (
            handlers,
            ["it is read by handler shop.on_0, handler shop.on_1, handler shop.on_2, 2 more"],
        ),
    ):
        made = review_type(
            sides,
            change,
            gathered=None,
            codec_schemas={},
            readers=readers,
            groups={},
            today=TODAY,
        )
        assert [block.message for block in made.blocks] == said


def test_a_former_name_that_nothing_goes_by_any_more_is_a_type_that_goes(
    log: MemoryLog, tmp_path: Path
) -> None:
    """What was stored under it is read as nothing then; the type of today has none of it."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{} for _ in range(30)])
    (base / "order" / "Placed.avsc").unlink()
    write_folder(base, record("Made", field("sku"), aliases=["Placed"]))
    made = reviewed(log, sides_of(base, record("Made", field("sku"))))
    shown = {one.change.name: one for one in made.types}
    assert {name: one.state for name, one in shown.items()} == {
        "acme.order.Made": "changed",
        PLACED: "gone",
    }
    assert [block.rule for block in shown[PLACED].against] == ["type_removed"]
    assert shown[PLACED].records == 30


def test_a_record_that_is_broken_today_stands_against_no_change(
    log: MemoryLog, tmp_path: Path
) -> None:
    """It is shown with its position; only what the change breaks stands against merging."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{}])
    source = Partition(NAMESPACE.topic("events"), 0)
    at = log.append(source, b"k", b"\x00" + USERS_FIRST_ID.to_bytes(4, "big") + b"\x02")
    made = reviewed(log, sides_of(base, placed(WRAPPED)))
    assert not made.types[0].blocks
    [version] = made.types[0].versions
    assert (version.stored, version.observed and version.observed.failed) == (2, 1)
    assert made.types[0].needs[0].need is Need.NONE
    assert f"1 cannot be read, today neither, first test.events\\[0\\]@{at}" in markdown(made)


def test_records_whose_schema_nobody_knows_are_shown(log: MemoryLog, tmp_path: Path) -> None:
    """How many, why, and where the first is, in every format."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{}])
    source = Partition(NAMESPACE.topic("events"), 1)
    at = [log.append(source, b"k", b"\x00\x7f\x00\x00\x00rest") for _ in range(2)]
    made = reviewed(log, sides_of(base, placed(WRAPPED)))
    assert f"| △ 2 | test.events\\[1\\]@{at[0]} | " in markdown(made)
    assert f"test.events[1]@{at[0]}" in Page(review_page(made)).text
    assert document(made)["history"]["unknown"][0]["count"] == 2


def test_what_anybody_wrote_is_shown_as_it_is(log: MemoryLog, tmp_path: Path) -> None:
    """Neither HTML nor Markdown makes something of it, and no terminal is spoken to."""
    nasty = "\r\n|\\| <script>x</script> `a` [l](javascript:1) ![](http://t/x.png) _b_ \x1b[31m"
    base = write_folder(tmp_path / "s", placed(field("by"), field("of")))
    append(log, base, [{"by": nasty, "of": ""}])
    swapped = placed(field("by", aliases=["of"], default="none"), doc=nasty)
    made = reviewed(log, sides_of(base, swapped))
    said, page = markdown(made), Page(review_page(made))
    assert "script" not in [tag for tag, _ in page.tags]
    assert all(one == "\n" or one.isprintable() for one in said)
    for part in ("<script", "](", "`a", "_b"):
        assert part not in said.replace(f"\\{part[0]}", "")
    rows = [line for line in said.splitlines() if line.startswith("| (the type) |")]
    unescaped = rows[0].replace("\\\\", "").replace("\\|", "")
    assert unescaped.count("|") == 3


def test_without_modes_there_is_no_review(log: MemoryLog, tmp_path: Path) -> None:
    """A candidate that has thrown `subjects.toml` away is refused, not waved through."""
    base = write_folder(tmp_path / "s", placed())
    append(log, base, [{}])
    sides = sides_of(base, placed(WRAPPED))
    (sides.head / "subjects.toml").unlink()
    with pytest.raises(ConfigurationError, match="no type has a compatibility mode"):
        reviewed(log, sides)


def test_a_mode_that_was_another_is_told(log: MemoryLog, tmp_path: Path) -> None:
    """Who makes a change pass by asking less says so."""
    base = write_folder(tmp_path / "s", placed(field("by", default="")))
    append(log, base, [{"by": ""}])
    sides = sides_of(base, placed())
    (sides.head / "subjects.toml").write_text(SUBJECTS.replace("FULL_TRANSITIVE", "NONE"))
    made = reviewed(log, sides)
    assert document(made)["types"][0]["mode_before"] == "FULL_TRANSITIVE"
    assert "| mode | FULL\\_TRANSITIVE | △ NONE: asks less |" in markdown(made)


def test_where_only_promises_changed_they_are_told(tmp_path: Path) -> None:
    """Of each type whose mode, owner or waivers are others; no record is read for that."""
    base = write_folder(tmp_path / "s", placed(), record("Sent"))
    assert sides_of(base).changes() == ()
    shutil.rmtree(base.with_name("s-head"))
    sides = sides_of(base)
    waiver = f'[[subject."{PLACED}".waivers]]\nrule = "failed"\nreason = "Sold."\nexpires = '
    (sides.head / "subjects.toml").write_text(
        f'{SUBJECTS}[subject."{PLACED}"]\nmode = "BACKWARD"\nowner = "shop"\n{waiver}2026-11-22\n'
    )
    made = review(sides, names=("s", "base", "head"), log=None, looks=Looks(today=TODAY))
    [one] = made.types
    assert (one.change.name, one.state, one.versions) == (PLACED, "promises", ())
    assert made.fine
    assert markdown(made).startswith("# Schema review: △ fine; less is asked of 1 type\n")
    assert [(it.what, it.is_looser) for it in one.promises] == [
        ("mode", True),
        ("owner", False),
        ("waiver", True),
    ]
    shown = document(made)["types"][0]
    assert shown["state"] == "promises"
    assert shown["promises"][0] == {
        "what": "mode",
        "before": "FULL_TRANSITIVE",
        "after": "BACKWARD",
        "is_looser": True,
    }
    assert shown["promises"][2]["after"]["expires"] == "2026-11-22"
    for said in (markdown(made).replace("\\", ""), Page(review_page(made)).text):
        assert "BACKWARD: asks less" in said
        assert "failed, until 2026-11-22, shop: Sold." in said
        assert "expired" not in said
    later = review(
        sides, names=("s", "base", "head"), log=None, looks=Looks(today=date(2026, 11, 23))
    )
    assert "shop: Sold. (expired: it lets nothing)" in markdown(later)
    assert [block.rule for block in later.types[0].against] == ["expired-waiver"]


@pytest.mark.parametrize(
    ("before", "after", "less"),
    [
        (Mode.FULL_TRANSITIVE, Mode.FULL, True),
        (Mode.FULL, Mode.BACKWARD, True),
        (Mode.BACKWARD, Mode.FORWARD, True),
        (Mode.FULL, Mode.BACKWARD_TRANSITIVE, True),
        (Mode.BACKWARD, Mode.NONE, True),
        (Mode.BACKWARD, Mode.BACKWARD_TRANSITIVE, False),
        (Mode.BACKWARD_TRANSITIVE, Mode.FULL_TRANSITIVE, False),
        (Mode.NONE, Mode.FORWARD, False),
    ],
)
def test_a_mode_asks_less_where_somebody_need_not_read_any_more(
    before: Mode, after: Mode, *, less: bool
) -> None:
    assert asks_less(before, after) is less


def test_a_stricter_mode_is_held_to_at_once(tmp_path: Path) -> None:
    """Against the versions that were released under the other one."""
    loose = SUBJECTS.replace("FULL_TRANSITIVE", "NONE")
    base = write_folder(tmp_path / "s", placed(field("by")), subjects=loose)
    write_folder(base, placed(field("by", "int")), subjects=loose)
    sides = sides_of(base)
    (sides.head / "subjects.toml").write_text(SUBJECTS)
    made = review(sides, names=("s", "base", "head"), log=None, looks=Looks(today=TODAY))
    assert [one.state for one in made.types] == ["promises"]
    assert {block.rule for block in made.types[0].against} == {"type_mismatch", "start_up"}


class _Gifts:
    """Fails without a field that the candidate has taken away."""

    name, version, topics = "gifts", 1, ("events",)

    def initial(self) -> int:
        return 0

    def apply(self, state: int, record: Record, envelope: Envelope) -> int:
        return state + int(envelope.payload["gift_wrap"])

    def merge(self, a: int, b: int) -> int:
        return a + b

    def view(self, state: int) -> dict[str, int]:
        return {"gift_wrap": state}


def test_a_fold_that_the_candidate_breaks_stands_against_it(log: MemoryLog, tmp_path: Path) -> None:
    """Compatible by every mode, and no record changes; the projection fails all the same."""
    base = write_folder(tmp_path / "s", placed(WRAPPED))
    append(log, base, [{"gift_wrap": True}])
    sides = sides_of(base, placed())
    made = reviewed(log, sides)
    assert made.fine
    assert made.gathered is not None
    fold = fold_under_both(
        _Gifts(),
        sides,
        reader=MemoryLogReader(log),
        namespace=NAMESPACE,
        sources=(),
        cut=made.gathered.cut,
    )
    assert fold.breaks
    assert "candidate: projection gifts failed on" in fold.failed
    whole = Review(
        folder="s",
        base="base",
        head="head",
        types=made.types,
        gathered=made.gathered,
        folds=(fold,),
    )
    assert not whole.fine
    assert "not to be merged: 1 thing against it" in markdown(whole)
    assert PLACED in markdown(whole)
