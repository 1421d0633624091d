"""Every checker fires: the worker is broken on purpose, and the right one notices soon."""

from __future__ import annotations

import pytest

from tests.simulation.checkers import CHECKERS, NOTICED
from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import run_seed

SEEDS_MAX = 600

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_worker_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a few hundred seeds, by the checker that is for it."""
    mutate, checker, start = MUTATIONS[name]
    assert not run_seed(start).findings
    mutate(monkeypatch)
    others: set[str] = set()
    for seed in range(start, start + SEEDS_MAX):
        result = run_seed(seed)
        if checker in result.fired:
            assert f"python -m tests.simulation --seed {seed}" in str(result)
            return
        others |= set(result.fired)
    pytest.fail(f"{checker} found nothing in {SEEDS_MAX} seeds, {others or 'nobody'} did")


def test_every_checker_has_its_mutation() -> None:
    """None is trusted that was never seen to fire."""
    assert {checker for _, checker, _ in MUTATIONS.values()} == {*CHECKERS, *NOTICED}
