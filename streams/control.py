"""Control envelopes: what the system lane says to workers. Pure.

They are not stamped yet; publish them as any other envelope. All go to `control`, which every
process reads as a whole.
"""

from __future__ import annotations

from typing import Final

from streams.envelope import Envelope, Lane

CANCEL: Final = "agentlog.control.Cancel"
DRAIN: Final = "agentlog.control.Drain"
REPORT_STATUS: Final = "agentlog.control.ReportStatus"

OPERATOR: Final = "operator"
"""Sender of what a person says on the command line."""


def cancel(message_id: str, reason: str = "") -> Envelope:
    """Do not handle the envelope with this id, or stop handling it, whoever has it."""
    return Envelope(
        type=CANCEL, lane=Lane.SYSTEM, payload={"message_id": message_id, "reason": reason}
    )


def drain(target: str, reason: str = "") -> Envelope:
    """Finish what runs, commit it and end: one process (its run id), or a whole group (its full
    name) as it is now.
    """
    return Envelope(
        type=DRAIN,
        lane=Lane.SYSTEM,
        recipients=(target,),
        payload={"target": target, "reason": reason},
    )


def report_status(reply_to: str, group: str | None = None) -> Envelope:
    """Say what you are doing to this reply inbox: the workers of a group (full name), or all."""
    return Envelope(
        type=REPORT_STATUS,
        lane=Lane.SYSTEM,
        recipients=(group,) if group is not None else (),
        reply_to=reply_to,
        payload={"group": group},
    )
