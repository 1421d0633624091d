"""Ids look as the seed documents ask, and a handler's outputs get the same ones every time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from streams.identity import derived_id, is_message_id, message_id, random_suffix


@given(ms=st.integers(0, 10**13 - 1), seed=st.integers())
def test_s3_01_a_fresh_id_has_13_digits_and_9_characters(ms: int, seed: int) -> None:
    """`^msg-[0-9]{13}-[a-z0-9]{9}$`, always: the suffix never comes out short (S3.19)."""
    made = message_id(ms, random_suffix(random.Random(seed)))
    assert is_message_id(made)
    assert int(made[4:17]) == ms


def test_ids_of_another_shape_are_told_apart() -> None:
    for text in (
        "",
        "msg-1-a",
        "msg-1376409446000-2tn3u9v7",
        "msg-1376409446000-2TN3U9V7I",
        "msg-1376409446000-2tn3u9v7i\n",
        "xmsg-1376409446000-2tn3u9v7i",
    ):
        assert not is_message_id(text)


@given(
    ms=st.integers(0, 10**13 - 1),
    topic=st.text(min_size=1),
    partition=st.integers(0, 1000),
    position=st.integers(0, 2**63 - 1),
    handler=st.text(min_size=1),
    n=st.integers(0, 1000),
)
def test_derived_ids_are_ids(
    ms: int, topic: str, partition: int, position: int, handler: str, n: int
) -> None:
    """Whatever it is derived from, it is a message id, and the same one twice."""
    made = derived_id(ms, topic, partition, position, handler, n)
    assert is_message_id(made)
    assert made == derived_id(ms, topic, partition, position, handler, n)


def test_a_derived_id_is_pinned() -> None:
    """The derivation is part of the log's meaning: replay compares ids across releases."""
    assert derived_id(1_376_409_446_000, "t", 0, 1, "h", 0) == "msg-1376409446000-0sz5gy8eg"


def test_every_part_of_the_source_counts() -> None:
    base = (1, "t", 0, 1, "h", 0)
    changed = [
        (1, "u", 0, 1, "h", 0),
        (1, "t", 1, 1, "h", 0),
        (1, "t", 0, 2, "h", 0),
        (1, "t", 0, 1, "g", 0),
        (1, "t", 0, 1, "h", 1),
    ]
    assert len({derived_id(*args) for args in (base, *changed)}) == 6
