"""Ask an agent, and wait for its answer: once as a whole, once in pieces.

agentlog worker --app examples.ask:app      # the agents that answer
python examples/ask.py                      # who asks, in another shell
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from consumers.app import App
from consumers.context import Context
from streams.session import connect

app = App("weather", topics=("inbox",))

CELSIUS = {"Basel": 21, "Oslo": 9}


@app.on("agentlog.Json")
async def on_request(ctx: Context, payload: Mapping[str, Any]) -> None:
    """The answer commits with the record's outcome; the pieces of a streamed one leave at once."""
    asked = json.loads(payload["json"])
    if "story" in asked:
        async with ctx.stream() as stream:
            for word in f"Once it rained on {asked['story']}".split():
                await stream.send(word)
    elif asked["city"] in CELSIUS:
        await ctx.respond({"celsius": CELSIUS[asked["city"]]})
    else:
        await ctx.fail("UnknownCity", f"no weather is known of {asked['city']}")


async def main() -> None:
    """`RequestFailed` if the agent says no, `RequestTimeout` if nobody answers in time."""
    async with connect().client(sender="planner") as client:
        answer = await client.request("weather-1", {"city": "Basel"}, timeout_s=30)
        sys.stdout.write(f"{answer.envelope.sender} says {answer.data['celsius']} °C\n")
        words: list[str] = []
        pieces = client.stream("weather-1", {"story": "Basel"}, on_restart=words.clear)
        async for word in pieces:
            words.append(word)  # noqa: PERF401 - a restart clears it meanwhile
        sys.stdout.write(" ".join(words) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
