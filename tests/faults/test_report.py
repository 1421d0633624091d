"""The table and its JSON, and what the exit code says."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from tests.faults import __main__, report
from tests.faults.checkers import CHECKERS, Verdict
from tests.faults.run import Row, broken_row
from tests.faults.table import FAULTS
from tests.faults.timeline import Figures


def row(status: str, **counts: int) -> Row:
    fault = FAULTS["kill_worker"]
    return Row(
        name=fault.name,
        what=fault.what,
        status=status,  # type: ignore[arg-type]
        records=100_000,
        verdicts={name: Verdict(counts.get(name, 0), ("found",)) for name in CHECKERS},
        audit_clean=True,
        handler_starts=200_010,
        rerun=10,
        figures=Figures(6.5, 7.5, 6.25, 4, 0.0, 8000.0, 2000.0, 9000.0),
        fault_s=12.0,
        run_s=60.0,
        notes={"killed": "3 of 5 processes"},
    )


def test_the_object_holds_every_column() -> None:
    """One number per checker, the findings beside them, all of it plain JSON."""
    told = report.as_json([row("failed", lost=2)])
    assert told["clean"] is False
    (fault,) = msgspec.json.decode(msgspec.json.encode(told))["faults"]
    assert {name: fault[name] for name in CHECKERS} == {**dict.fromkeys(CHECKERS, 0), "lost": 2}
    assert fault["findings"]["lost"] == ["found"]
    assert (fault["status"], fault["rerun"], fault["figures"]["recover_s"]) == ("failed", 10, 7.5)


def test_only_what_took_place_and_found_nothing_is_clean() -> None:
    """What this machine does not allow is not called passed, and does not fail the run."""
    assert row("passed").clean
    assert not row("failed", torn=1).clean
    assert not row("did not happen").clean
    assert not broken_row(FAULTS["zombie"], RuntimeError("no cluster")).clean
    assert row("not possible here").clean
    assert report.as_json([row("passed"), row("not possible here")])["clean"]


def test_the_table_shows_every_row() -> None:
    """With what it did, and its error if it has one."""
    out = io.StringIO()
    rows = [row("passed"), broken_row(FAULTS["zombie"], RuntimeError("no cluster"))]
    report.show(Console(file=out, width=220), rows)
    text = out.getvalue()
    assert "kill_worker: killed: 3 of 5 processes" in text
    assert "zombie: error: RuntimeError: no cluster" in text
    assert "passed, 10 re-run, recovered in 7.5 s" in report.line(rows[0])


def test_the_command_names_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` starts nothing; too few records are a usage error, as is a name it does not have."""
    assert __main__.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(FAULTS)
    assert __main__.main(["--records", "10"]) == 2
    with pytest.raises(SystemExit) as ended:
        __main__.main(["--only", "earthquake"])
    assert ended.value.code == 2
