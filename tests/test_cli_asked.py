"""What a replay's options say: declared once, the same for every command; and how far it is."""

from __future__ import annotations

import io
import json
from typing import Annotated, Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from consumers.cli import progress as progress_module
from consumers.cli.asked import AsJson, Asked, asking, named_filters, near, read_asked
from consumers.cli.output import emit
from consumers.cli.progress import following
from consumers.projections import Filters
from streams.errors import ConfigurationError

app = typer.Typer()


@app.command()
@asking
def one(name: Annotated[str, typer.Argument()], asked: Asked, json_: AsJson = False) -> None:
    """One command."""
    emit({"name": name, "asked": asked, "json": json_})


@app.command()
@asking
def other(asked: Asked) -> None:
    """Another."""
    emit({"asked": asked})


def asked_of(*arguments: str) -> Any:
    ran = CliRunner().invoke(app, list(arguments))
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_the_options_are_the_same_for_every_command() -> None:
    """Beside its own arguments and options."""
    given = ["--at", "-1h", "--agent", "a", "--type", "Json", "--fresh", "--processes", "2"]
    given += ["--created-after", "2026-01-01T00:00:00Z", "--key", "k"]
    first, second = asked_of("one", "x", "--json", *given), asked_of("other", *given)
    assert first["asked"] == second["asked"]
    assert (first["name"], first["json"]) == ("x", True)
    at, filters, processes, fresh = first["asked"]
    assert (at, processes, fresh) == ("-1h", 2, True)
    assert (filters["agent"], filters["type"], filters["key"]) == ("a", "Json", "k")
    assert filters["created_from"] == 1_767_225_600_000_000
    assert asked_of("one", "x")["asked"] == asked_of("other")["asked"]
    helped = CliRunner().invoke(app, ["one", "--help"])
    assert "Only this channel." in helped.stdout


def test_by_default_everything_passes_and_a_killed_replay_goes_on() -> None:
    """And it reads up to the end as it is."""
    assert read_asked() == Asked("now", Filters(), None, False)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"created_after": "now"}, "'now' is no time"),
        ({"created_before": "@x"}, "'@x' is no time"),
        ({"created_after": "-1h", "created_before": "-2h"}, "nothing is created.*swap"),
        ({"created_after": "2026-01-01"}, "has no offset"),
    ],
)
def test_what_is_no_time_is_named(given: dict[str, str], why: str) -> None:
    """One sentence, with the way out."""
    with pytest.raises(ConfigurationError, match=why):
        read_asked(**given)  # type: ignore[arg-type]


def test_filters_are_named_as_they_were_written() -> None:
    """Those that name something; types and times do not."""
    assert named_filters(Filters(agent="a", channel="c", type="Json")) == "--agent a --channel c"
    assert named_filters(Filters(type="Json", created_to=1)) == ""
    assert near("taks", ["tasks", "inbox"]) == "did you mean tasks?"
    assert near("zzz", ["tasks", "inbox"]) == ""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What stderr shows, where it is no terminal."""
    out = io.StringIO()
    monkeypatch.setattr(progress_module, "stderr", Console(file=out, width=200))
    return out


def test_without_a_terminal_a_line_tells_from_time_to_time(
    said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions, rate and time left; what was there before counts for no rate."""
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.0)
    with following("replay state") as on_progress:
        on_progress(1_000_000, 1_003_000)
        on_progress(1_001_000, 1_003_000)
        on_progress(1_002_000, 1_003_000)
    lines = said.getvalue().splitlines()
    assert lines[0] == "replay state: 1,000,000 of 1,003,000 positions"
    assert lines[-1].startswith("replay state: 1,002,000 of 1,003,000 positions, ")
    assert "/s, " in lines[-1]
    assert lines[-1].endswith(" s left")


def test_without_a_terminal_a_short_replay_says_nothing(said: io.StringIO) -> None:
    """Nobody reads a bar in a file."""
    with following("replay state") as on_progress:
        on_progress(0, 10)
        on_progress(10, 10)
    assert said.getvalue() == ""


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how much, how fast, how long; and it is gone at the end."""
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress_module, "stderr", console)
    with following("replay state") as on_progress:
        on_progress(0, 10)
        on_progress(5, 10)
    assert "replay state" in out.getvalue()
    assert "5/10" in out.getvalue()
