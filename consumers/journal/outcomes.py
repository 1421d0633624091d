"""Outcomes: how one group finished with one record."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Outcome(StrEnum):
    """Every record of a group's topics ends in exactly one of these."""

    HANDLED = "handled"
    """Its handlers have run to their end."""
    EXPIRED = "expired"
    """Its time to live was over before it was dispatched."""
    DEAD_LETTERED = "dead_lettered"
    """It could not be handled and is kept aside with the reason."""
    SKIPPED = "skipped"
    """Nothing here is for it; the reason says why."""


class Delivery(StrEnum):
    """What a group keeps: outcomes, outputs and positions at once, or one after the other."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"
    """Outputs and outcomes first, then the positions: after a crash they may be there twice."""


class Reason(StrEnum):
    """Why a record was not simply handled, where no error's class says it better."""

    NO_HANDLER = "no_handler"
    """No handler takes its type: a warning, and counted as processed (S3.7)."""
    IMPORT = "import"
    """It was imported: history, which live workers do not act on."""
    REPLAY = "replay"
    """It repeats an envelope for those who watch a replay (`replay_of`)."""
    REDRIVE = "redrive"
    """It is the redrive of another group's dead letter."""
    DUPLICATE = "duplicate"
    """A record with its id, key and redrive is on the partition a little before it."""
    CANCELLED = "cancelled"
    """Somebody cancelled it before it was done."""
    TIME_TO_LIVE = "time_to_live"
    """Its `ttl_ms` were over."""
    CRASHED = "crashed"
    """Twice its process died while it alone ran."""
    UNKNOWN_SCHEMA = "unknown_schema"
    """Nobody knows the schema it was written with."""
    UNDECODABLE = "undecodable"
    """Its bytes are not an envelope."""


class Ending(msgspec.Struct, frozen=True):
    """An outcome and, unless it is a plain `HANDLED`, why."""

    outcome: Outcome
    reason: str = ""
    """A `Reason` or an error's class name."""
    detail: str = ""
    """The error in words; cut to `DETAIL_MAX` bytes in the journal."""


HANDLED: Final = Ending(Outcome.HANDLED)
NO_HANDLER: Final = Ending(Outcome.SKIPPED, Reason.NO_HANDLER)
IMPORT: Final = Ending(Outcome.SKIPPED, Reason.IMPORT)
REPLAY: Final = Ending(Outcome.SKIPPED, Reason.REPLAY)
REDRIVE: Final = Ending(Outcome.SKIPPED, Reason.REDRIVE)
DUPLICATE: Final = Ending(Outcome.SKIPPED, Reason.DUPLICATE)
EXPIRED: Final = Ending(Outcome.EXPIRED, Reason.TIME_TO_LIVE)

DETAIL_MAX: Final = 500
"""Bytes of UTF-8."""
REASON_MAX: Final = 100


class Output(msgspec.Struct, frozen=True, gc=False):
    """A record that goes with an outcome, ready to be written."""

    topic: str
    """Full name."""
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    """None: by the key."""
    tells: Output | None = None
    """Another output of the same transaction, whose position this one tells: an Avro long, which
    is the last of its fields and lacks in its value until the log has given it."""


class Settled(msgspec.Struct, frozen=True, gc=False):
    """One finished record: what a commit needs of it."""

    position: int
    appended_at_ms: int
    size: int
    """Bytes that it holds in the window."""
    ending: Ending
    id: str = ""
    """Of its envelope; empty if that could not be read."""
    outputs: tuple[Output, ...] = ()
    delivery_ms: int | None = None
    """Dispatch minus append time; None for what is not counted (imports, unreadable records)."""

    @property
    def outputs_size(self) -> int:
        """Bytes of the outputs' values."""
        outputs = self.outputs
        return sum([len(output.value or b"") for output in outputs]) if outputs else 0
