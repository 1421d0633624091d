"""Message ids: how they look, how fresh ones are made, how a handler's outputs get theirs.

An id is `msg-<13-digit epoch milliseconds>-<9 of a-z0-9>`. A handler's outputs take derived ids: a
handler that runs again on the same record makes the same ids, which is what lets a replay be
compared with what ran, and a repeat be recognised.
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import Final

_MESSAGE_ID: Final = re.compile(r"msg-[0-9]{13}-[a-z0-9]{9}")
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_SUFFIX_LENGTH: Final = 9
_BEYOND_SUFFIX: Final = 36 ** (50 - _SUFFIX_LENGTH)
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_MS_MAX: Final = 10**13


def is_message_id(text: str) -> bool:
    """True for `msg-` + 13 digits + `-` + 9 of a-z0-9."""
    return _MESSAGE_ID.fullmatch(text) is not None


def message_id(epoch_ms: int, suffix: str) -> str:
    """The id of a message made at `epoch_ms` with a 9-character suffix of a-z0-9."""
    return f"msg-{epoch_ms % _MS_MAX:013d}-{suffix}"


def random_suffix(rng: random.Random) -> str:
    """Nine characters of a-z0-9 from the given source."""
    return _base36(rng.randrange(36**_SUFFIX_LENGTH))


def derived_id(
    appended_at_ms: int, topic: str, partition: int, position: int, handler: str, n: int
) -> str:
    """The id of the n-th output (from 0) of one handler (`<app>:<name>`) on one record.

    Its milliseconds are the source record's append time; its suffix is the first nine base-36
    digits of SHA-256 over (topic, partition, position, handler, n).
    """
    source = f"{topic}\x00{partition}\x00{position}\x00{handler}\x00{n}".encode()
    number = int.from_bytes(hashlib.sha256(source).digest(), "big")
    return message_id(appended_at_ms, _first_base36_digits(number))


def _first_base36_digits(number: int) -> str:
    # 2**256 has 50 base-36 digits; dividing away 41 leaves the nine most significant ones.
    return _base36(number // _BEYOND_SUFFIX)


def _base36(number: int) -> str:
    """Nine base-36 digits of a number below 36**9, taken in threes."""
    high, low = divmod(number, 36**3)
    high, middle = divmod(high, 36**3)
    return _three(high) + _three(middle) + _three(low)


def _three(number: int) -> str:
    high, low = divmod(number, 36)
    return _PAIRS[high] + _ALPHABET[low]
