"""Faults of workers: killed, paused past their session, joining and leaving, deaf."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from tests.faults.fleet import Process
from tests.faults.pipeline import DEAF
from tests.faults.stage import DidNotHappen, Stage
from tests.faults.starts import FOLDER

KILLS: Final = 3
BETWEEN_KILLS_S: Final = 4.0
"""From the place being filled to the next death: the dead one's session has not yet ended then."""
PAST_SESSION_S: Final = 1.0
PAST_TRANSACTION_S: Final = 22.0
"""transaction.timeout.ms and the broker's next look for what timed out: 10 s each."""
STORM_S: Final = 30.0
JOIN_EVERY_S: Final = 1.0
MEMBER_LIFE_S: Final = 3.0
DEAF_RECORDS: Final = 6


async def kill_worker(stage: Stage) -> None:
    """SIGKILL the process that has been there longest; its successor's peer is next."""
    for _ in range(KILLS):
        victim = stage.fleet.processes[0]
        victim.kill()
        await asyncio.wait_for(victim.replaced.wait(), 60)
        await asyncio.sleep(BETWEEN_KILLS_S)
    stage.notes["killed"] = f"{KILLS} of {stage.fleet.started} processes"


async def make_zombie(stage: Stage) -> None:
    """SIGSTOP until the group has given its partitions away, then SIGCONT; a second time for so
    long that the broker has ended its transaction too.
    """
    for round_s in (PAST_SESSION_S, PAST_TRANSACTION_S):
        victim = stage.fleet.processes[0]
        before = await asyncio.to_thread(stage.members)
        victim.pause()
        gone_s = await stage.until(
            lambda before=before: stage.members() < before,  # type: ignore[misc]
            "the paused worker is no member any more",
        )
        await asyncio.sleep(round_s)
        victim.resume()
        stage.notes[f"paused {gone_s + round_s:.0f} s"] = f"not a member after {gone_s:.1f} s"
        await stage.until(
            lambda victim=victim, before=before: (  # type: ignore[misc]
                stage.members() >= before or victim.exit_code is not None
            ),
            "the zombie is back, or has ended",
        )


async def storm(stage: Stage) -> None:
    """Every second a worker joins and another leaves."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.churn", "--for", str(STORM_S)),
        *("--every", str(JOIN_EVERY_S), "--life", str(MEMBER_LIFE_S)),
        stdout=asyncio.subprocess.PIPE,
        stderr=(stage.folder / "churn.log").open("ab"),
        env={
            **os.environ,
            "AGENTLOG_BOOTSTRAP_SERVERS": stage.cluster.servers,
            "AGENTLOG_NAMESPACE": stage.namespace.name,
            FOLDER: str(stage.folder),
        },
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise DidNotHappen(f"the storm ended with exit code {process.returncode}: see churn.log")
    stage.notes["storm"] = out.decode().strip()


def deaf_records(records: int) -> dict[int, str]:
    """Tasks whose handler ignores its cancellation, from the first third on."""
    return {records // 3 + n * 7: DEAF for n in range(DEAF_RECORDS)}


async def rebalance_the_deaf(stage: Stage) -> None:
    """Take partitions away, and end a worker, while handlers run that will not stop."""
    joined: Process = await stage.fleet.start(run_id=stage.run_id)
    await asyncio.sleep(5)
    leaver = stage.fleet.processes[0]
    began = asyncio.get_running_loop().time()
    leaver.end()
    code = await asyncio.wait_for(leaver.wait(), 90)
    took_s = asyncio.get_running_loop().time() - began
    stage.notes["deaf"] = f"the worker told to end did within {took_s:.1f} s, exit code {code}"
    if joined.exit_code is not None:
        raise DidNotHappen("the worker that was to take partitions over has ended")
