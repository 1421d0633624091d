"""The journal: how every record ended, and the arithmetic that proves it.

- outcomes    how one group finished with one record
- runs        sets of positions, run-length encoded
- histogram   delivery times as integers that add up
- entries     a commit's outcomes → journal envelopes
- tiling      the journal against its source: no gap, no overlap
- outputs     what handlers published against what they owed
"""

from consumers.journal.entries import (
    OUTCOMES_RECORDED,
    PartitionCommit,
    journal_envelopes,
    journal_payload,
)
from consumers.journal.outcomes import Delivery, Ending, Outcome, Output, Reason, Settled

__all__ = [
    "OUTCOMES_RECORDED",
    "Delivery",
    "Ending",
    "Outcome",
    "Output",
    "PartitionCommit",
    "Reason",
    "Settled",
    "journal_envelopes",
    "journal_payload",
]
