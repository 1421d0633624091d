"""The change history as somebody would rather count it: what failed changed nothing.

agentlog what-if examples.change_history:projection --other examples.only_completed:projection
"""

from examples.change_history import ChangeHistory, State
from streams.envelope import Envelope
from streams.record import Record


class OnlyCompleted(ChangeHistory):
    """Counts the results of completed tasks alone."""

    version = 2

    def on_task_result(self, state: State, record: Record, envelope: Envelope) -> None:
        """As before, unless it failed."""
        if envelope.payload["status"] == "completed":
            super().on_task_result(state, record, envelope)


projection = OnlyCompleted()
