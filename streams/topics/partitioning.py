"""Which partition a key belongs to: murmur2, as Kafka's own Java client computes it.

Everybody who writes must agree on this, or one key's records end up on two partitions: aiokafka
does so by default, librdkafka as `partitioner=murmur2_random`. This is the same function, made
for the publisher's hot path (faster than aiokafka's).
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_32_BITS: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF


@lru_cache(maxsize=256)
def _words(count: int) -> Struct:
    return Struct(f"<{count}I")


def murmur2(key: bytes) -> int:
    """MurmurHash2 (32 bits, Kafka's seed) of a key, unsigned."""
    length = len(key)
    whole = length >> 2
    h = _SEED ^ length
    for word in _words(whole).unpack_from(key):
        k = word * _M & _32_BITS
        h = (h * _M & _32_BITS) ^ ((k ^ k >> 24) * _M & _32_BITS)
    if length & 3:
        h = (h ^ int.from_bytes(key[whole << 2 :], "little")) * _M & _32_BITS
    h = (h ^ h >> 13) * _M & _32_BITS
    return h ^ h >> 15


def partition_for(key: bytes, partitions: int) -> int:
    """The partition of a key on a topic with this many."""
    return (murmur2(key) & _POSITIVE) % partitions
