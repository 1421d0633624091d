"""Faults that come on the log itself: transactions that nobody ends."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from tests.faults.ghost import WRITTEN
from tests.faults.load import Load
from tests.faults.stage import HAPPEN_S_MAX, DidNotHappen, During, Stage

GHOSTS: Final = 3
GHOST_RECORDS: Final = 512
BETWEEN_GHOSTS_S: Final = 2.0
GHOST_FIRST: Final = 1 << 30
"""Index of the first ghost: far above any that a load has."""


def kill_in_transactions(ghosts: int) -> During:
    """SIGKILL producers that have written to every partition and not committed."""

    async def during(stage: Stage) -> None:
        for turn in range(ghosts):
            load = Load(GHOST_RECORDS, first=GHOST_FIRST + turn * GHOST_RECORDS)
            stage.never_committed.update(load.task_ids())
            ghost = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.faults.ghost", "--servers", stage.cluster.servers),
                *("--namespace", stage.namespace.name),
                *("--transactional-id", stage.namespace.transactional_id("ghost", str(turn))),
                *("--first", str(load.first), "--records", str(load.records)),
                stdout=asyncio.subprocess.PIPE,
            )
            assert ghost.stdout is not None
            try:
                async with asyncio.timeout(HAPPEN_S_MAX):
                    said = await ghost.stdout.readline()
            finally:
                if ghost.returncode is None:
                    ghost.kill()
                await ghost.wait()
            if said.decode().strip() != WRITTEN:
                raise DidNotHappen("the producer died before it had written anything")
            if turn == 0:
                stage.strikes()
            await asyncio.sleep(BETWEEN_GHOSTS_S)
        stage.notes["killed"] = f"{ghosts} producers, {GHOST_RECORDS} uncommitted records each"

    return during
