"""Upcasters: every released version of a type reads as today's, or is refused before it is met.

`tests/data/schemas-with-history` has a type of four versions that was then renamed, and a golden of
each, written when that version was today's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from streams.errors import ConfigurationError, DecodeError
from streams.schemas import Catalogue, Codec, Upcasters, WriterSchema
from streams.schemas.upcasting import Rung, climb, require_way_up

HISTORY: Final = Path(__file__).parents[1] / "data" / "schemas-with-history"
GOLDENS: Final = sorted((HISTORY / "goldens").iterdir())
TODAY: Final = {"branch": "main", "duration_ms": 12_000, "author": "ada"}
FIRST_GOLDEN: Final = HISTORY / "goldens" / "acme.build.BuildBroke.v1.bin"

STEP_1: Final = """
@upcasters.step("acme.build.BuildBroke", from_version=1)
def ref_to_branch(fields):
    return {"branch": fields["ref"].removeprefix("refs/heads/"), "seconds": fields["seconds"]}
"""
STEP_3: Final = """
@upcasters.step("acme.build.BuildBroke", from_version=3)
def seconds_to_ms(fields):
    return {"branch": fields["branch"], "author": "", "duration_ms": fields["seconds"] * 1000}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The schemas and their history, to be changed."""
    return shutil.copytree(HISTORY, tmp_path / "schemas")


def give_steps(folder: Path, *texts: str) -> None:
    head = "from streams.schemas import Upcasters\n\nupcasters = Upcasters()\n"
    (folder / "upcasters.py").write_text(head + "".join(texts))


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_a_golden_of_every_version_reads_as_todays(golden: Path) -> None:
    """By steps where there are steps, by Avro's resolution between them, under either name."""
    codec = Codec(Catalogue.load(HISTORY))
    envelope = codec.decode(golden.read_bytes())
    assert envelope.type == golden.stem.rpartition(".")[0]
    author = "" if golden.stem.endswith(("Broke.v1", "Broke.v2")) else "ada"
    assert dict(envelope.payload) == {**TODAY, "author": author}


def test_there_is_a_golden_of_every_version() -> None:
    """Else a version could go unread unseen."""
    locked = sorted(path.stem for path in (HISTORY / "locked").iterdir())
    assert [golden.stem for golden in GOLDENS] == locked


def test_a_missing_step_is_found_when_schemas_are_loaded(folder: Path) -> None:
    """It names the version, what stands in the way, and where a step would go."""
    give_steps(folder, STEP_1)
    with pytest.raises(ConfigurationError) as error:
        Catalogue.load(folder)
    assert "acme.build.BuildBroke v4" not in str(error.value)
    for part in ("BuildBroke v3 cannot be read as", "duration_ms", "upcasters.py", str(folder)):
        assert part in str(error.value)
    give_steps(folder, STEP_3)
    with pytest.raises(ConfigurationError, match=r"BuildBroke v1 cannot be read as .*v3.*branch"):
        Catalogue.load(folder)
    (folder / "upcasters.py").unlink()
    with pytest.raises(ConfigurationError, match="BuildBroke v3 cannot be read as"):
        Catalogue.load(folder)


def test_a_version_that_no_log_has_needs_no_step(folder: Path) -> None:
    """Who retires it says so; a record of it that turns up all the same cannot be decoded."""
    give_steps(folder, STEP_3, 'upcasters.retire("acme.build.BuildBroke", up_to=1)\n')
    codec = Codec(Catalogue.load(folder))
    later = folder / "goldens" / "acme.build.BuildBroke.v2.bin"
    assert codec.decode(later.read_bytes()).payload["duration_ms"] == 12_000
    envelope = codec.decode(FIRST_GOLDEN.read_bytes())
    with pytest.raises(DecodeError, match="branch"):
        dict(envelope.payload)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (STEP_1.replace("=1", "=7"), r"step from acme.build.BuildBroke v7; .* today's: 1, 2, 3, 4"),
        (STEP_1.replace("Broke", "Cracked"), r"BuildCracked v1; .* today's: none"),
        (STEP_1.replace("Broke", "Failed"), r"BuildFailed v1; .* today's: none"),
        (STEP_1 + STEP_1, "BuildBroke v1 has two upcasters"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
        ("upcasters = None\n", "has no `upcasters = Upcasters"),
    ],
)
def test_what_cannot_be_is_refused_when_schemas_are_loaded(
    folder: Path, steps: str, problem: str
) -> None:
    """A step from nowhere, or from today's version; two from one; a file that does not import."""
    give_steps(folder, STEP_3, steps)
    with pytest.raises(ConfigurationError, match=problem):
        Catalogue.load(folder)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('return {"branch": fields["nothing"]}', "ref_to_branch of .* v1 raised KeyError"),
        ('return {"branch": 7, "seconds": 1}', "made what is no acme.build.BuildBroke v2: branch"),
        ('return {"branch": "main"}', "made what is no acme.build.BuildBroke v2: seconds"),
        ("return 7", "ref_to_branch of .* v1 raised TypeError"),
    ],
)
def test_a_step_that_fails_is_the_records_own_failure(
    folder: Path, body: str, problem: str
) -> None:
    """As of bytes that cannot be decoded: other records are read, this one says why not."""
    broken = STEP_1.replace('return {"branch": fields["ref"]', f'{body}\n    return {{"b": ""')
    give_steps(folder, broken, STEP_3)
    codec = Codec(Catalogue.load(folder))
    envelope = codec.decode(FIRST_GOLDEN.read_bytes())
    with pytest.raises(DecodeError, match=problem):
        dict(envelope.payload)


def test_a_candidate_is_read_over_its_own_steps(folder: Path) -> None:
    """A branch's folder, not locked yet, with a step that today's code does not have."""
    known = Catalogue.load(HISTORY)
    file = folder / "builds" / "BuildFailed.avsc"
    file.write_text(file.read_text().replace('"duration_ms"', '"duration_us"'))
    give_steps(
        folder,
        STEP_1,
        STEP_3,
        """
@upcasters.step("acme.build.BuildFailed", from_version=1)
def ms_to_us(fields):
    return {**{k: v for k, v in fields.items() if k != "duration_ms"},
            "duration_us": fields["duration_ms"] * 1000}
""",
    )
    codec = Codec(Catalogue.reading(folder, known))
    for golden in GOLDENS:
        assert codec.decode(golden.read_bytes()).payload["duration_us"] == 12_000_000


def test_other_steps_are_another_reading(folder: Path) -> None:
    """What was kept of a replay under other steps is not gone on with."""
    before = Catalogue.load(folder).upcasters
    give_steps(folder, STEP_1, STEP_3)
    assert Catalogue.load(folder).upcasters != before


def test_a_released_default_that_fits_nothing_stops_no_load(folder: Path) -> None:
    """It is on the log as it is; whoever reads has a default of its own."""
    path = folder / "locked" / "acme.build.BuildFailed.v1.avsc"
    locked = json.loads(path.read_text())
    bad = {"name": "of", "type": {"type": "array", "items": "int"}, "default": ["x"]}
    before, after = (Rung("R", n, writer_of(n, locked, bad)) for n in (1, 2))
    require_way_up([before, after], Upcasters())
    assert climb([before, after])(b"\x00", 0) == {"of": []}


def writer_of(schema_id: int, locked: dict[str, Any], *fields: Any) -> WriterSchema:
    payload = {"type": "record", "name": "R", "fields": list(fields)}
    whole = [*locked["fields"][:-1], {"name": "payload", "type": payload}]
    return WriterSchema(schema_id, {**locked, "fields": whole})
