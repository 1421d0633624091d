"""How a call on the in-memory log fails: with the error that Kafka would answer."""

from __future__ import annotations

from enum import StrEnum

from streams.errors import AgentlogError


class Failure(StrEnum):
    """Kafka's names for what went wrong (`org.apache.kafka.common.protocol.Errors`)."""

    UNKNOWN_TOPIC_OR_PARTITION = "unknown_topic_or_partition"
    MESSAGE_TOO_LARGE = "message_too_large"
    OFFSET_OUT_OF_RANGE = "offset_out_of_range"
    OFFSET_METADATA_TOO_LARGE = "offset_metadata_too_large"
    UNSTABLE_OFFSET_COMMIT = "unstable_offset_commit"
    UNKNOWN_MEMBER_ID = "unknown_member_id"
    STALE_MEMBER_EPOCH = "stale_member_epoch"
    FENCED_MEMBER_EPOCH = "fenced_member_epoch"
    PRODUCER_FENCED = "producer_fenced"
    INVALID_TXN_STATE = "invalid_txn_state"
    TRANSACTION_ABORTABLE = "transaction_abortable"
    NO_ANSWER = "no_answer"
    """Not Kafka's: the request or its answer was lost, so nobody knows whether it happened."""


class CallFailed(AgentlogError):
    """The in-memory log did not do what it was asked; `failure` says why, as Kafka would."""

    def __init__(self, failure: Failure, problem: str) -> None:
        super().__init__(f"{failure}: {problem}")
        self.failure = failure
