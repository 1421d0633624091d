"""Aggregates simulated: seeds that find nothing, and a runtime that is broken on purpose."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from consumers.aggregates import deciding, runtime
from streams.memory import MemoryLogReader
from tests.simulation.streams import CHECKERS, run_streams

SEEDS = 400
NEW = 100
SEEDS_MAX = 400

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What workers log is not printed."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


def test_nothing_is_found_in_the_seeds_of_every_run() -> None:
    """Owners die between a decision and its commit, come back as zombies, are replaced."""
    happened: Counter[str] = Counter()
    for seed in range(SEEDS):
        result = run_streams(seed)
        assert not result.findings, str(result)
        happened.update(result.happened)
    assert happened["from a checkpoint"]
    assert happened["stopped"]
    assert {"died at commit", "died at append", "died at read"} <= happened.keys(), happened


def test_nothing_is_found_in_seeds_of_this_run_alone() -> None:
    """Seeds that nobody has run before."""
    first = time.time_ns() % 10**9
    for seed in range(first, first + NEW):
        result = run_streams(seed)
        assert not result.findings, str(result)


def keeps_states(patch: pytest.MonkeyPatch) -> None:
    """A partition that comes back is not rebuilt."""
    kept: dict[Any, Any] = {}
    restored = runtime.AggregateApp._restored

    async def keeps(self: Any, ctx: Any) -> Any:
        place = self, ctx.record.source
        if place not in kept:
            kept[place] = await restored(self, ctx)
        return kept[place]

    patch.setattr(runtime.AggregateApp, "_restored", keeps)
    patch.setattr(runtime._Owned, "close", lambda _self: None)


def stops_at_the_stable_end(patch: pytest.MonkeyPatch) -> None:
    """Rebuilding does not wait for transactions that are open."""
    patch.setattr(MemoryLogReader, "appended_end", lambda self, source: self._log.end(source))


def skips_a_version(patch: pytest.MonkeyPatch) -> None:
    """Some event is numbered one too high."""
    decide = deciding.decide

    def skipping(*values: Any, write: Callable[[Any], Any], **named: Any) -> Any:
        def writes(event: Any) -> Any:
            high = event.stream_version % 5 == 0
            return write(event.with_(stream_version=event.stream_version + 1) if high else event)

        return decide(*values, write=writes, **named)

    patch.setattr(runtime, "decide", skipping)


def forgets_its_epoch(patch: pytest.MonkeyPatch) -> None:
    """Every owner writes under the same epoch."""
    decide = deciding.decide
    patch.setattr(runtime, "decide", lambda *v, epoch, **n: decide(*v, epoch=1, **n))


@pytest.mark.parametrize(
    ("mutate", "checkers"),
    [
        (keeps_states, {"gapless_versions", "replay_equals_live"}),
        (stops_at_the_stable_end, {"gapless_versions", "replay_equals_live", "single_writer"}),
        (skips_a_version, {"gapless_versions"}),
        (forgets_its_epoch, {"single_writer"}),
    ],
)
def test_a_broken_runtime_is_noticed(
    mutate: Callable[[pytest.MonkeyPatch], None],
    checkers: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within some seeds, by the checker that is for it."""
    assert checkers <= set(CHECKERS)
    mutate(monkeypatch)
    fired: set[str] = set()
    for seed in range(SEEDS_MAX):
        fired |= {name for name, _ in run_streams(seed).findings}
        if fired & checkers:
            return
    pytest.fail(f"nothing found in {SEEDS_MAX} seeds, but for {fired}")
