"""docs/testing.md is true: its code is the example's, and its tests pass."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "testing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_shown_is_the_example_that_ships() -> None:
    """Its whole file."""
    assert BLOCKS[0] == (ROOT / "examples" / "test_reviewer.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_tests_shown_pass(number: int) -> None:
    """Every `test_` function of every Python block, in its order."""
    module = ModuleType(f"testing_md_{number}")
    exec(compile(BLOCKS[number], f"{DOCUMENT}#{number}", "exec"), module.__dict__)  # noqa: S102
    tests = [one for name, one in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
