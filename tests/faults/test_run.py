"""What a run does when it is broken off: it ends, and says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streams.kafka.admin import TopicAdmin
from streams.record import Partition
from streams.topics import Namespace
from tests.faults.load import Load
from tests.faults.pipeline import PIPELINE
from tests.faults.record_kinds import KILLER, SLOW
from tests.faults.run import LEFT_MAX, _loading, blamed
from tests.faults.stage import Fault, Stage

RECORDS = 2_000


class _OneBroker:
    """What the load needs of a cluster."""

    def __init__(self, servers: str) -> None:
        self.servers = servers


async def _nothing(_stage: Stage) -> None:
    """Breaks nothing."""


async def test_a_run_that_breaks_off_does_not_wait_for_its_load(
    kafka: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load waits for workers that are too slow. When there are none any more, nobody ever
    catches up with it.
    """
    space = Namespace(namespace)
    await asyncio.to_thread(TopicAdmin(kafka).provision, space)
    stage = Stage(_OneBroker(kafka), space, Load(RECORDS), PIPELINE, tmp_path, print)  # type: ignore[arg-type]
    monkeypatch.setattr(stage, "all_joined", lambda: True)
    monkeypatch.setattr(stage.progress, "ask", lambda: True)
    stage.progress.ends = {Partition(space.topic(PIPELINE.source), 0): LEFT_MAX + 1}
    fault = Fault(name="none", what="nothing is broken", during=_nothing, pace_s=1.0)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(ZeroDivisionError):
                async with _loading(fault, stage):
                    1 / 0  # noqa: B018
    finally:
        await asyncio.to_thread(stage.progress.close)
    assert stage.loaded is not None
    assert stage.loaded.done()


def test_a_dead_letter_that_nothing_was_wrong_with_fails_a_row() -> None:
    """Two records kill; a third that is taken for a killer is lost to whoever waits for it."""
    load = Load(100, special={3: KILLER, 5: SLOW, 7: KILLER, 200: KILLER})
    doomed = [load.task_id(3), load.task_id(7)]
    assert blamed(doomed, load) == []
    for innocent in (load.task_id(4), load.task_id(5), load.task_id(200)):
        [said] = blamed([*doomed, innocent], load)
        assert said.startswith(f"{innocent} is a dead letter")
