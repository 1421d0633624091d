"""Digests: one canonical hash per state, whoever computed it and in whatever order.

`digest` is SHA-256 over deterministic CBOR (RFC 8949, section 4.2.1): shortest heads, shortest
floats that keep the value, map keys sorted bytewise by their own encoding. The encoder is ours
because the bytes are a contract: cbor2's canonical mode sorts keys by length first (the older RFC
7049 rule), takes any object with a default hook, and may change with its version.

| value | encoding | note |
| --- | --- | --- |
| None, bool, int | simple values, majors 0 and 1, bignum tags 2 and 3 | 1 is not 1.0, nor True |
| float | shortest of half, single, double | −0.0 = 0.0; NaN and infinities are errors |
| str, bytes | majors 3 and 2 | text must be encodable as UTF-8 |
| Decimal | tag 4, trailing zeros stripped | equal decimals are equal: 1.0 = 1.00 |
| datetime | tag 1001 (RFC 9581): {1: seconds, −6: microseconds} | aware only; the instant counts |
| list, tuple | major 4 | a list equals a tuple |
| dict | major 5 | insertion order never matters |
| set, frozenset | tag 258, members sorted by their encoding | |

Subclasses of these (a StrEnum, a NamedTuple) count as what they are. Anything else raises
`NotDigestible` with the path, as in `agents['a-1'].seen[2]`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from streams.errors import AgentlogError

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_TAG_BIGNUM: Final = 2
_TAG_NEGATIVE_BIGNUM: Final = 3
_TAG_DECIMAL: Final = 4
_TAG_SET: Final = 258
_TAG_TIME: Final = 1001
_TIME_SECONDS: Final = 1
_TIME_MICROSECONDS: Final = -6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SMALL: Final = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}


class NotDigestible(AgentlogError):
    """A state holds a value that has no canonical form; `path` says where."""

    def __init__(self, problem: str, steps: tuple[str, ...] = ()) -> None:
        self.problem = problem
        self.path = "".join(steps).lstrip(".") or "state"
        self._steps = steps
        super().__init__(f"{self.path}: {problem}")

    def under(self, step: str) -> NotDigestible:
        """The same problem, seen from one level further out."""
        return NotDigestible(self.problem, (step, *self._steps))


def digest(state: Any) -> str:
    """`sha256:<64 hex digits>` of the state's canonical encoding. Raises `NotDigestible`."""
    return "sha256:" + hashlib.sha256(canonical(state)).hexdigest()


def canonical(value: Any) -> bytes:
    """The value's deterministic CBOR. Raises `NotDigestible`."""
    encode = _ENCODERS.get(type(value))
    return encode(value) if encode is not None else _by_base_class(value)


def _by_base_class(value: Any) -> bytes:
    for base in type(value).__mro__[1:]:
        encode = _ENCODERS.get(base)
        if encode is not None:
            return encode(value)
    raise NotDigestible(f"a {type(value).__qualname__} has no canonical form")


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    if argument < 0x100:
        return bytes((major << 5 | 24, argument))
    if argument < 0x1_0000:
        return struct.pack(">BH", major << 5 | 25, argument)
    if argument < 0x1_0000_0000:
        return struct.pack(">BI", major << 5 | 26, argument)
    return struct.pack(">BQ", major << 5 | 27, argument)


def _constant(value: bool | None) -> bytes:
    return _SMALL[value]


def _int(value: int) -> bytes:
    major, argument = (_UINT, value) if value >= 0 else (_NEGATIVE, -1 - value)
    if argument < 1 << 64:
        return _head(major, argument)
    tag = _TAG_BIGNUM if value >= 0 else _TAG_NEGATIVE_BIGNUM
    return _head(_TAG, tag) + _bytes(argument.to_bytes((argument.bit_length() + 7) // 8, "big"))


def _float(value: float) -> bytes:
    if not math.isfinite(value):
        raise NotDigestible(f"{value} is not a finite number")
    value += 0.0  # turns -0.0 into 0.0
    for initial, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return initial + packed
    return b"\xfb" + struct.pack(">d", value)


def _bytes(value: bytes) -> bytes:
    return _head(_BYTES, len(value)) + value


def _text(value: str) -> bytes:
    try:
        raw = value.encode()
    except UnicodeEncodeError as error:
        raise NotDigestible(f"{value!r} is not valid text ({error.reason})") from error
    return _head(_TEXT, len(raw)) + raw


def _decimal(value: Decimal) -> bytes:
    if not value.is_finite():
        raise NotDigestible(f"Decimal {value} is not a finite number")
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits)) or "0")
    while mantissa and mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
    if not mantissa:
        exponent = 0
    return b"".join(
        (
            _head(_TAG, _TAG_DECIMAL),
            _head(_ARRAY, 2),
            _int(exponent),
            _int(-mantissa if sign else mantissa),
        )
    )


def _datetime(value: datetime) -> bytes:
    if value.tzinfo is None:
        raise NotDigestible("a datetime without a time zone names no instant; make it UTC")
    seconds, micros = divmod((value - _EPOCH) // timedelta(microseconds=1), 1_000_000)
    return _head(_TAG, _TAG_TIME) + _map({_TIME_SECONDS: seconds, _TIME_MICROSECONDS: micros})


def _array(value: Iterable[Any]) -> bytes:
    parts = []
    for index, item in enumerate(value):
        try:
            parts.append(canonical(item))
        except NotDigestible as error:
            raise error.under(f"[{index}]") from None
    return _head(_ARRAY, len(parts)) + b"".join(parts)


def _map(value: dict[Any, Any]) -> bytes:
    entries = []
    for key, item in value.items():
        try:
            entries.append((canonical(key), canonical(item)))
        except NotDigestible as error:
            named = isinstance(key, str) and key.isidentifier()
            raise error.under(f".{key}" if named else f"[{key!r}]") from None
    entries.sort()
    return _head(_MAP, len(entries)) + b"".join(map(b"".join, entries))


def _set(value: Iterable[Any]) -> bytes:
    try:
        members = sorted(map(canonical, value))
    except NotDigestible as error:
        raise error.under("{…}") from None
    return _head(_TAG, _TAG_SET) + _head(_ARRAY, len(members)) + b"".join(members)


_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): _constant,
    bool: _constant,
    int: _int,
    float: _float,
    str: _text,
    bytes: _bytes,
    Decimal: _decimal,
    datetime: _datetime,
    list: _array,
    tuple: _array,
    dict: _map,
    set: _set,
    frozenset: _set,
}
