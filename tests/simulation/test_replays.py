"""Replays simulated: seeds that find nothing, and keepers that are broken on purpose."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from consumers import replay as replay_module
from consumers.folds import range_fold
from consumers.folds.kept import Keeper, Kept
from consumers.folds.ranges import Range
from consumers.projections.partition_fold import Tally
from streams.record import Partition
from tests.simulation.replays import Simulated, simulate

SEEDS = 150
NEW = 50
SEEDS_MAX = 150

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every batch, from the first on."""
    monkeypatch.setattr(replay_module, "KEEP_AFTER_S", 0.0)
    monkeypatch.setattr(range_fold, "KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(range_fold, "KEEP_SHARE_MAX", float("inf"))


def run(seed: int, folder: Path) -> Simulated:
    home = folder / str(seed)
    home.mkdir()
    try:
        return simulate(seed, home)
    finally:
        shutil.rmtree(home)


def test_nothing_is_found_in_the_seeds_of_every_run(tmp_path: Path) -> None:
    """However often it was killed and whatever became of its files, it comes to the same."""
    happened: Counter[str] = Counter()
    for seed in range(SEEDS):
        result = run(seed, tmp_path)
        assert not result.findings, result
        happened.update(result.happened)
    assert all(
        happened[what] for what in ("killed", "went on", "damaged", "passed over", "grew", "cut")
    ), happened


def test_nothing_is_found_in_seeds_of_this_run_alone(tmp_path: Path) -> None:
    """Seeds that nobody has run before."""
    first = time.time_ns() % 10**9
    for seed in range(first, first + NEW):
        result = run(seed, tmp_path)
        assert not result.findings, result


def keeps_a_record_too_few(patch: pytest.MonkeyPatch) -> None:
    """The position that is kept is one behind the state's."""
    save = Keeper.save

    def early(self: Keeper, source: Partition, kept: Kept) -> float:
        return save(self, source, kept._replace(position=max(1, kept.position - 1)))

    patch.setattr(Keeper, "save", early)


def forgets_what_it_counted(patch: pytest.MonkeyPatch) -> None:
    """A state that is gone on from counts as nothing read."""
    load = Keeper.load

    def uncounted(self: Keeper, span: Range) -> Kept | None:
        found = load(self, span)
        return found and found._replace(tally=Tally())

    patch.setattr(Keeper, "load", uncounted)


@pytest.mark.parametrize("mutate", [keeps_a_record_too_few, forgets_what_it_counted])
def test_what_is_broken_on_purpose_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within as many seeds as every run has."""
    mutate(monkeypatch)
    assert any(run(seed, tmp_path).findings for seed in range(SEEDS_MAX))
