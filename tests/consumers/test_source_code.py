"""What kept states hang on: the digest of code changes with it, and with all that it imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from consumers.projections import AgentState, Metrics, partition_fold
from consumers.source_code import digest_of_code

Load = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Write modules of a user's into a folder, forget them, import the first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written: set[str] = set()

    def loaded(**texts: str) -> ModuleType:
        for name, text in texts.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            written.add(name.split("__")[0])
        forget()
        importlib.invalidate_caches()
        return importlib.import_module(next(iter(texts)).replace("__", "."))

    def forget() -> None:
        for name in [one for one in sys.modules if one.split(".")[0] in written]:
            del sys.modules[name]

    yield loaded
    forget()


def made_by(module: ModuleType) -> str:
    return digest_of_code([module.apply])


def test_a_digest_changes_with_the_code_and_with_what_that_imports(load: Load) -> None:
    """However it is imported; code that it never imports counts for nothing."""
    fold = "import mine_a, mine_b as b\nfrom mine_c import (\n    K,\n)\ndef apply(): ...\n"
    parts = {"mine_a": "A = 1\n", "mine_b": "import mine_d\n", "mine_c": "K = 1\n"}
    rest = {"mine_d": "D = 1\n", "mine_e": "E = 1\n"}
    before = made_by(load(mine=fold, **parts, **rest))
    assert made_by(load(mine=fold, **parts, **rest)) == before
    for name in ("mine_a", "mine_b", "mine_c", "mine_d"):
        text = {**parts, **rest}[name]
        assert made_by(load(mine=fold, **{**parts, **rest, name: f"{text}#\n"})) != before, name
    assert made_by(load(mine=f"{fold}#\n", **parts, **rest)) != before
    assert made_by(load(mine=fold, **parts, mine_d="D = 1\n", mine_e="E = 2\n")) == before


def test_imports_relative_to_a_package_count(load: Load) -> None:
    """As they are written: with dots."""
    fold = "from . import near\nfrom .other import K\ndef apply(): ...\n"
    parts = {"mypack____init__": "", "mypack__near": "N = 1\n", "mypack__other": "K = 1\n"}
    before = made_by(load(mypack__fold=fold, **parts))
    for name in ("mypack__near", "mypack__other"):
        changed = {**parts, name: parts[name].replace("1", "2")}
        assert made_by(load(mypack__fold=fold, **changed)) != before, name


def test_what_has_no_source_counts_by_its_instructions() -> None:
    """Code that was typed into an interpreter."""
    digests = set()
    for constant in (1, 1, 2):
        scope: dict[str, object] = {"__name__": "typed-in"}
        exec(f"def apply():\n    return {constant}", scope)  # noqa: S102  # what is tested
        digests.add(digest_of_code([scope["apply"]]))
    assert len(digests) == 2


def test_the_built_in_folds_reach_what_they_are_made_of() -> None:
    """Its parts in other modules, and the codec."""
    named = digest_of_code([AgentState.apply])
    assert named == digest_of_code([AgentState.apply, AgentState.merge])
    assert named != digest_of_code([AgentState.apply], [partition_fold.__name__])
    assert named != digest_of_code([Metrics.apply])
