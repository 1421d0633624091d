"""A publisher: three reviews, assigned in one order that holds.

python examples/assign.py
"""

import asyncio
import sys

from streams import Envelope
from streams.session import connect


async def main() -> None:
    """One correlation id is one key: whoever reads these three reads them in this order."""
    async with connect().publisher(sender="lead") as publisher:
        for step in ("read", "test", "approve"):
            placed = await publisher.publish(
                Envelope(
                    type="agentlog.task.AssignTask",
                    payload={"task": {"id": f"review-1/{step}", "type": "review"}},
                    recipients=("reviewer-1",),
                    correlation_id="review-1",
                )
            )
            where = f"{placed.topic}[{placed.partition}]@{placed.position}"
            sys.stdout.write(f"{placed.id} is {where}\n")


if __name__ == "__main__":
    asyncio.run(main())
