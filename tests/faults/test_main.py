"""The run of all faults: what one of them leaves behind costs the next ones nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import __main__ as module
from tests.faults.run import Row
from tests.faults.stage import Fault, NothingWorks


class Ground:
    """Stands for a cluster, and counts."""

    made = 0

    def __enter__(self) -> Ground:
        Ground.made += 1
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    async def warm_up(self) -> None:
        pass


@pytest.mark.parametrize(
    ("in_vain", "statuses", "clusters"),
    [(0, ["passed"] * 2, 1), (1, ["passed"] * 2, 2), (2, ["did not happen", "passed"], 3)],
)
async def test_where_nothing_works_before_the_fault_it_is_tried_on_one_more_cluster(
    monkeypatch: pytest.MonkeyPatch, in_vain: int, statuses: list[str], clusters: int
) -> None:
    """Once, and the row says so; a second time is the row's own."""
    tries: list[str] = []

    async def run_fault(fault: Fault, *_: Any, **__: Any) -> Row:
        tries.append(fault.name)
        if len(tries) <= in_vain:
            raise NothingWorks("the workers stand")
        return Row(name=fault.name, what="", status="passed", records=1)

    monkeypatch.setattr(module, "Cluster", Ground)
    monkeypatch.setattr(module, "run_fault", run_fault)
    monkeypatch.setattr(Ground, "made", 0)
    rows = await module._run(["kill_worker", "zombie"], 1_000, None)
    assert [row.status for row in rows] == statuses
    assert Ground.made == clusters
    assert [("once in vain" in row.notes) for row in rows] == [in_vain > 0, False]
