"""Cuts with a name, as the log keeps them: a record of the compacted topic `state` for each. Pure.

The name goes with the log, so `@name` means the same moment on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from streams.cuts import Cut
from streams.envelope import Envelope, Kind
from streams.errors import ConfigurationError, DecodeError
from streams.headers import TYPE, header
from streams.record import Record
from streams.schemas import Codec

CUT_SAVED: Final = "agentlog.cut.CutSaved"
KEY_PREFIX: Final = "cut/"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class SavedCut(msgspec.Struct, frozen=True):
    """A cut under a name."""

    name: str
    cut: Cut
    saved_by: str
    saved_at: int
    """UTC microseconds since the epoch."""
    note: str


def check_name(name: str) -> str:
    """The name, if it can be one. Raises `ConfigurationError`."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"a cut cannot be called {name!r}: write up to 100 letters, digits, '.', '_' and '-', "
            "as in before-release"
        )
    return name


def cut_saved(name: str, cut: Cut, note: str) -> Envelope:
    """What puts a cut on the log under a name, not stamped yet."""
    return Envelope(
        type=CUT_SAVED,
        kind=Kind.EVENT,
        payload={"name": check_name(name), "cut": cut.encode(), "note": note},
    )


def read_saved(records: Iterable[Record], codec: Codec) -> dict[str, SavedCut]:
    """The latest cut of each name, in the order of names; what cannot be read is passed over."""
    found: dict[str, SavedCut] = {}
    for record in records:
        if header(record.headers, TYPE) != CUT_SAVED.encode():
            continue
        try:
            envelope = codec.decode(record.value, record.headers)
            said = envelope.payload
            found[said["name"]] = SavedCut(
                said["name"],
                Cut.decode(said["cut"]),
                envelope.sender,
                envelope.created_at,
                said["note"],
            )
        except (DecodeError, ConfigurationError):  # anybody may write to the log
            continue
    return dict(sorted(found.items()))
