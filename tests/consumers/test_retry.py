"""Whether a failed attempt is followed by another, and when (S3.11, S3.19)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.retry import RetryPolicy
from streams.errors import (
    ConfigurationError,
    DecodeError,
    InvalidPayload,
    NonRetriable,
    RequestTimeout,
    UnknownSchema,
    Unroutable,
)

POLICY = RetryPolicy()


class ValidationError(Exception):
    """As libraries call theirs."""


class FieldMissing(ValidationError):
    """One of theirs."""


class AuthenticationError(Exception):
    """As an LLM's client calls it."""


class PermissionDeniedError(Exception):
    """As an LLM's client calls it."""


class QuotaExceeded(Exception):
    """The app's own."""


@pytest.mark.parametrize(("attempt", "wait_ms"), [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000)])
def test_s3_11_waits_double_from_one_second(attempt: int, wait_ms: int) -> None:
    """min(1000·2ⁿ⁻¹, 16000) ms after failed attempt n."""
    assert POLICY.wait_after(attempt, OSError(), 0.5) == wait_ms


def test_s3_11_the_fifth_failure_is_the_last() -> None:
    """It makes the record a dead letter, whatever the error; so does any after it."""
    assert POLICY.wait_after(5, OSError(), 0.0) is None
    assert POLICY.wait_after(6, OSError(), 0.0) is None


@given(st.integers(1, 10_000))
def test_s3_11_no_wait_exceeds_sixteen_seconds(attempt: int) -> None:
    """However patient the app is."""
    patient = RetryPolicy(attempts_max=100_000)
    assert patient.wait_after(attempt, OSError(), 0.0) == min(1_000 * 2 ** (attempt - 1), 16_000)


@pytest.mark.parametrize(
    "error",
    [
        NonRetriable("never"),
        ValidationError(),
        FieldMissing(),
        AuthenticationError(),
        PermissionDeniedError(),
        PermissionError("not yours"),
        InvalidPayload("T", "a", "is no number"),
        Unroutable("nowhere"),
        DecodeError("no bytes of ours"),
        UnknownSchema(7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_s3_11_what_no_attempt_can_mend_is_not_tried_again(error: Exception) -> None:
    """By the error's class, its own or a base class's, at the first failure."""
    assert POLICY.is_final(error)
    assert POLICY.wait_after(1, error, 0.0) is None


@pytest.mark.parametrize(
    "error",
    [
        OSError("ValidationError"),
        ValueError("AuthenticationError"),
        RequestTimeout("msg"),
        asyncio.CancelledError(),
        SystemExit(1),
        QuotaExceeded(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_s3_11_everything_else_is_tried_again(error: BaseException) -> None:
    """The text decides nothing."""
    assert POLICY.wait_after(1, error, 0.0) == 1_000


def test_s3_11_an_app_names_errors_of_its_own_that_are_final() -> None:
    """Besides the ones that always are."""
    policy = RetryPolicy(non_retriable=(QuotaExceeded,))
    assert policy.wait_after(1, QuotaExceeded(), 0.0) is None
    assert policy.wait_after(1, PermissionError(), 0.0) is None
    assert policy.wait_after(1, OSError(), 0.0) == 1_000


@given(
    attempt=st.integers(1, 4),
    lot=st.floats(0, 1, exclude_max=True),
    jitter=st.floats(0, 1),
)
def test_jitter_takes_at_most_its_share_off_a_wait(attempt: int, lot: float, jitter: float) -> None:
    """Never more than the rule's wait; the lot alone decides."""
    whole = POLICY.wait_after(attempt, OSError(), lot)
    found = RetryPolicy(jitter=jitter).wait_after(attempt, OSError(), lot)
    assert whole is not None
    assert found is not None
    assert whole * (1 - jitter) - 1 <= found <= whole
    assert RetryPolicy(jitter=jitter).wait_after(attempt, OSError(), 0.0) == whole


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"attempts_max": 0}, "attempts_max"),
        ({"wait_ms": -1}, "wait_ms"),
        ({"wait_ms": 20_000}, "wait_ms"),
        ({"jitter": 1.5}, "jitter"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, int], said: str) -> None:
    """Said when it is made."""
    with pytest.raises(ConfigurationError, match=said):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


def test_one_attempt_means_no_retry() -> None:
    """The first failure is the last."""
    assert RetryPolicy(attempts_max=1).wait_after(1, OSError(), 0.0) is None
