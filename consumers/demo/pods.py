"""Agent pods: processes that host agents which assign tasks, ask, report and chat.

    python -m consumers.demo.pods --pod 1 --agents 12 --jobs 200 --seed 7

A job is one correlation id with a few tasks in a row. Each pod draws from its own seed, so a run
can be repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
import typer

from streams.envelope import Envelope, Kind
from streams.session import connect, read_settings
from streams.settings import Settings

JOBS_A_WAVE: Final = 10
TASKS_A_JOB_MAX: Final = 4
CHANNELS: Final = ("general", "planning", "incidents")


def job(rng: random.Random, pod: int, number: int, agents: list[str]) -> Iterator[Envelope]:
    """The envelopes of one job, in the order they are sent."""
    boss = rng.choice(agents)
    channel = rng.choice(CHANNELS)
    correlation = f"job-{pod}-{number}"
    yield _chat(boss, channel, f"starting {correlation}")
    for step in range(rng.randint(1, TASKS_A_JOB_MAX)):
        yield Envelope(
            type="agentlog.task.AssignTask",
            payload={"task": {"id": f"{correlation}/{step}", "type": "demo", "priority": 3}},
            sender=boss,
            recipients=(rng.choice(agents),),
            correlation_id=correlation,
            channel_id=channel,
        )
    yield _question(boss, rng.choice(agents), pod, number)
    yield _status(boss, correlation)


def expected_runs(seed: int, pod: int, agents: int, jobs: int) -> int:
    """Handler runs that a pod's jobs cause: one per task, per result and per question."""
    runs = {"agentlog.task.AssignTask": 2, "agentlog.Json": 1}
    rng, names = random.Random(f"{seed}/{pod}"), agent_names(pod, agents)
    sent = (envelope for number in range(jobs) for envelope in job(rng, pod, number, names))
    return sum(runs.get(envelope.type, 0) for envelope in sent)


def agent_names(pod: int, agents: int) -> list[str]:
    """Ids of the agents of one pod."""
    return [f"agent-{pod}-{n}" for n in range(agents)]


def _chat(author: str, channel: str, content: str) -> Envelope:
    return Envelope(
        type="agentlog.chat.MessagePosted",
        payload={"message_id": f"{author}/{content}", "author_id": author, "content": content},
        sender=author,
        channel_id=channel,
    )


def _question(sender: str, recipient: str, pod: int, number: int) -> Envelope:
    return Envelope(
        type="agentlog.Json",
        kind=Kind.REQUEST,
        payload={"json": msgspec.json.encode({"ready": True, "job": number}).decode()},
        sender=sender,
        recipients=(recipient,),
        correlation_id=f"ask-{pod}-{number}",
        reply_to=f"pod-{pod}",
    )


def _status(agent: str, current: str) -> Envelope:
    payload: dict[str, Any] = {"agent_status": "busy", "current_tasks": [current]}
    return Envelope(
        type="agentlog.agent.StatusReported", payload=payload, sender=agent, stream_id=agent
    )


async def publish_jobs(
    settings: Settings, pod: int, agents: int, jobs: int, seed: int, pause_s: float
) -> None:
    """Publish all jobs in waves; each wave is acknowledged before the next."""
    rng, names = random.Random(f"{seed}/{pod}"), agent_names(pod, agents)
    async with connect(settings).publisher(sender=f"pod-{pod}") as publisher:
        for first in range(0, jobs, JOBS_A_WAVE):
            wave = [
                envelope
                for number in range(first, min(first + JOBS_A_WAVE, jobs))
                for envelope in job(rng, pod, number, names)
            ]
            await publisher.publish_many(wave)
            await asyncio.sleep(pause_s)


def main(
    pod: Annotated[int, typer.Option()],
    agents: Annotated[int, typer.Option()] = 12,
    jobs: Annotated[int, typer.Option()] = 200,
    seed: Annotated[int, typer.Option()] = 1,
    pause_s: Annotated[float, typer.Option()] = 0.2,
) -> None:
    """Run one pod."""
    asyncio.run(publish_jobs(read_settings(), pod, agents, jobs, seed, pause_s))


if __name__ == "__main__":
    typer.run(main)
