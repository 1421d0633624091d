"""The change history as somebody would rather count it: code that was copied in is no work.

agentlog what-if examples.change_history:projection --other examples.without_bulk:projection
"""

import json

from examples.change_history import ChangeHistory, State
from streams.envelope import Envelope
from streams.record import Record

INSERTIONS_MAX = 500


class WithoutBulk(ChangeHistory):
    """Leaves out the results of tasks that added more lines than anybody writes."""

    version = 2

    def on_task_result(self, state: State, record: Record, envelope: Envelope) -> None:
        """As before, unless it is that large."""
        changes = json.loads(envelope.payload["result"] or "{}")
        if not isinstance(changes, dict) or changes.get("insertions", 0) <= INSERTIONS_MAX:
            super().on_task_result(state, record, envelope)


projection = WithoutBulk()
