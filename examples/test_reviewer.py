"""A user's tests of `examples.reviewer`: the app's real worker, on a log in memory.

pytest examples/test_reviewer.py
"""

from consumers.journal import Outcome
from consumers.testing import MemoryStage, virtual_time
from examples.reviewer import app
from streams import Envelope


def review(task_id: str) -> Envelope:
    """A review that the lead asks for."""
    return Envelope(
        type="agentlog.task.AssignTask",
        payload={"task": {"id": task_id, "type": "review"}},
        sender="lead",
        recipients=("reviewer-1",),
        correlation_id="review-1",
    )


@virtual_time
async def test_a_review_is_finished_and_whoever_asked_is_told() -> None:
    """Handled once, with one result, from the reviewer to the lead."""
    async with MemoryStage(app) as stage:
        asked = await stage.publish(review("t-1"))
        await stage.idle()

        ending = stage.outcome(asked.id)
        assert ending is not None
        assert ending.outcome is Outcome.HANDLED
        (result,) = stage.outputs("agentlog.task.TaskFinished")
        assert (result.sender, result.recipients) == ("reviewer-1", ("lead",))
        assert result.causation_id == asked.id
        assert stage.payloads("agentlog.task.TaskFinished")[0]["task_id"] == "t-1"


@virtual_time
async def test_a_crash_in_between_changes_nothing() -> None:
    """What was committed stays, what was not runs again: every review has one result."""
    async with MemoryStage(app) as stage:
        await stage.publish_many(review(f"t-{n}") for n in range(10))
        await stage.advance(0.005)
        await stage.crash()
        stage.start_worker()
        await stage.idle()

        finished = [one["task_id"] for one in stage.payloads("agentlog.task.TaskFinished")]
        assert finished == [f"t-{n}" for n in range(10)]
