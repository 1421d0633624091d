"""Faults of workers: killed, paused past their session, joining and leaving, deaf."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from tests.faults.churn import Storm
from tests.faults.fleet import Process
from tests.faults.record_kinds import DEAF, DEAF_S
from tests.faults.stage import DidNotHappen, During, Stage
from tests.faults.starts import FOLDER, special_starts

KILLS: Final = 3
BETWEEN_KILLS_S: Final = 4.0
"""From the place being filled to the next death: the dead one's session has not yet ended then."""
PAST_SESSION_S: Final = 1.0
PAST_TRANSACTION_S: Final = 22.0
"""transaction.timeout.ms and the broker's next look for what timed out: 10 s each."""
STORM_S: Final = 30.0
JOIN_EVERY_S: Final = 1.0
MEMBER_LIFE_S: Final = 3.0
DEAF_RECORDS: Final = 32


def kill_workers(times: int) -> During:
    """SIGKILL the process that has been there longest; its successor's peer is next."""

    async def during(stage: Stage) -> None:
        for _ in range(times):
            victim = stage.fleet.processes[0]
            victim.kill()
            await asyncio.wait_for(victim.replaced.wait(), 60)
            await asyncio.sleep(BETWEEN_KILLS_S)
        stage.notes["killed"] = f"{times} of {stage.fleet.started} processes"

    return during


def make_zombies(past_session_s: Sequence[float]) -> During:
    """SIGSTOP until the group has given its partitions away and so many seconds more, SIGCONT."""

    async def during(stage: Stage) -> None:
        for turn, more_s in enumerate(past_session_s, 1):
            victim = stage.fleet.processes[0]
            before = await asyncio.to_thread(stage.members)
            victim.pause()
            gone_s = await stage.until(partial(_fewer, stage, before), "it is no member any more")
            await asyncio.sleep(more_s)
            victim.resume()
            await stage.until(partial(_back, stage, victim, before), "it is back, or has ended")
            stage.notes[f"zombie {turn}"] = (
                f"paused for {gone_s + more_s:.0f} s, no member after {gone_s:.1f} s; then "
                + ("a member again" if victim.exit_code is None else f"ended ({victim.exit_code})")
            )

    return during


def _fewer(stage: Stage, members: int) -> bool:
    return stage.members() < members


def _back(stage: Stage, victim: Process, members: int) -> bool:
    return victim.exit_code is not None or stage.members() >= members


def storms(seconds: float) -> During:
    """For so long, every second a worker joins and another leaves."""

    async def during(stage: Stage) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.churn", "--for", str(seconds)),
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
            code = process.returncode
            raise DidNotHappen(f"the storm ended with exit code {code}: see churn.log")
        found = msgspec.json.decode(out, type=Storm)
        stage.failures += found.failures
        stage.notes["storm"] = (
            f"{found.joined} workers joined and left, one every {JOIN_EVERY_S:g} s, "
            f"{len(found.failures)} of them with an error"
        )

    return during


def deaf_records(records: int) -> dict[int, str]:
    """Tasks whose handler ignores its cancellation, each of another key, at the first third."""
    return {records // 3 + n: DEAF for n in range(DEAF_RECORDS)}


async def rebalance_the_deaf(stage: Stage) -> None:
    """Take partitions away, and end a worker, while handlers run that will not stop."""
    leaver = stage.fleet.processes[0]
    await stage.until(
        lambda: special_starts(stage.folder, leaver.pid) > 0, "a handler that ignores cancellation"
    )
    await stage.fleet.start(run_id=stage.run_id)
    stage.strikes()
    began = time.monotonic()
    leaver.end()
    code = await asyncio.wait_for(leaver.wait(), 90)
    took_s = time.monotonic() - began
    await stage.until(
        lambda: special_starts(stage.folder) > DEAF_RECORDS, "one of them runs at another worker"
    )
    stage.notes["deaf"] = (
        f"{DEAF_RECORDS} handlers that go on for {DEAF_S:g} s; the worker that was told to end did "
        f"within {took_s:.1f} s, exit code {code}; "
        f"{special_starts(stage.folder) - DEAF_RECORDS} ran again"
    )
