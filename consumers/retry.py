"""Retry: whether a failed attempt is followed by another, and when. Time and jitter come in.

The rule (S3.11, S3.19): attempts count from 1. After failed attempt n the record's key waits
`min(wait_ms · 2ⁿ⁻¹, wait_ms_max)`, then it runs again; the failure of attempt `attempts_max`, or an
error that no later attempt can mend, makes it a dead letter. Order within the key holds.

The error's class decides, never its text. `NonRetriable` is for handlers to raise; classes of other
libraries are known by name, theirs or a base class's: validation and authentication errors, and
Python's own `PermissionError`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streams.errors import ConfigurationError, DecodeError, EnvelopeError, NonRetriable

NON_RETRIABLE: Final = (NonRetriable, EnvelopeError, DecodeError, PermissionError)
NON_RETRIABLE_NAMES: Final = frozenset(
    {"ValidationError", "AuthenticationError", "PermissionError", "PermissionDeniedError"}
)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently. Times are milliseconds."""

    attempts_max: int = 5
    """The attempt that fails with this number is the last."""
    wait_ms: int = 1_000
    """After the first failure; doubled after each."""
    wait_ms_max: int = 16_000
    jitter: float = 0.0
    """Share of each wait drawn by lot, 0 to 1: keys that failed together come back apart."""
    non_retriable: tuple[type[BaseException], ...] = ()
    """Error classes that are never tried again, besides those above."""

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise ConfigurationError(f"attempts_max is {self.attempts_max}; give at least 1")
        if not 0 <= self.wait_ms <= self.wait_ms_max:
            raise ConfigurationError("wait_ms must lie between 0 and wait_ms_max")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"jitter is {self.jitter}; give a share from 0 to 1")

    def wait_after(self, attempt: int, error: BaseException, lot: float) -> int | None:
        """Milliseconds until the next attempt; None: there is none.

        `lot`, 0 ≤ lot < 1, decides how much of the jitter is taken off.
        """
        if attempt >= self.attempts_max or self.is_final(error):
            return None
        # Beyond 2³⁰ the maximum has long been reached; the shift stays small.
        wait_ms = min(self.wait_ms << min(attempt - 1, 30), self.wait_ms_max)
        return round(wait_ms * (1 - self.jitter * lot))

    def is_final(self, error: BaseException) -> bool:
        """Whether no later attempt can mend this error."""
        if isinstance(error, (*NON_RETRIABLE, *self.non_retriable)):
            return True
        return any(base.__name__ in NON_RETRIABLE_NAMES for base in type(error).__mro__)
