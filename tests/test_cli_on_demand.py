"""Commands are imported when they are asked for; nobody who uses them can tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.core import TyperGroup
from typer.main import get_group
from typer.testing import CliRunner

from consumers.cli.main import app as cli

HEAVY = ("sqlalchemy", "pyarrow", "datafusion")
LOADED = f"""
import sys
from consumers.cli.main import app
try:
    app(sys.argv[1:])
finally:
    print("loaded", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def paths(group: TyperGroup, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command there is, as it is typed."""
    for name, command in group.commands.items():
        yield (*before, name)
        if isinstance(command, TyperGroup):
            yield from paths(command, (*before, name))


def test_every_command_is_where_its_name_says() -> None:
    """Each is there under its name and says what it does."""
    found = list(paths(get_group(cli)))
    assert {("audit",), ("broker", "start"), ("schemas", "list"), ("schemas", "review")} <= {*found}
    for path in found:
        told = CliRunner().invoke(cli, [*path, "--help"])
        assert told.exit_code == 0, (path, told.output)
        assert f"Usage: agentlog {' '.join(path)}" in told.output


@pytest.mark.parametrize("command", ["audit", "publish", "tail", "schemas list", "topics diff"])
def test_a_command_does_without_what_others_need(command: str) -> None:
    """Databases and columns are half of all imports, and these commands have neither."""
    told = subprocess.run(
        [sys.executable, "-c", LOADED, *command.split(), "--help"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Usage" in told.stdout
    assert told.stderr.endswith("loaded []\n")


@pytest.mark.parametrize("typed", ["pubish", "schemas revue"])
def test_a_command_that_is_mistyped_is_usage_with_the_right_one_named(typed: str) -> None:
    """Its name is known though it was not imported."""
    told = CliRunner().invoke(cli, typed.split())
    assert told.exit_code == 2
    assert "Did you mean '" + {"pubish": "publish", "schemas revue": "review"}[typed] in told.output
