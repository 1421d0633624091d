"""The agents' shared state as its users see it (S3.16): entries, and the commands that set them.

An entry is the stream `state:<key>`; whoever runs `consumers.aggregates.shared_state` decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from streams.envelope import Envelope
from streams.errors import DecodeError, InvalidPayload

STATE: Final = "state"
"""Name of the aggregate: the front of its streams' ids."""
SET_ENTRY: Final = "agentlog.state.SetEntry"
ENTRY_SET: Final = "agentlog.state.EntrySet"
STATE_CHANGED: Final = "agentlog.state.StateChanged"


class Entry(msgspec.Struct, frozen=True):
    """A key's value, and who set it when."""

    value: Any
    """A JSON value."""
    version: int
    """From 1."""
    updated_by: str
    updated_at: datetime
    """UTC, as the clock of whoever set it says."""


def entry_stream(key: str) -> str:
    """Id of the stream of a key's versions."""
    return f"{STATE}:{key}"


def set_entry(
    key: str,
    value: Any,
    *,
    expected_version: int | None = None,
    notify: bool = True,
    include_value: bool = False,
    subscribers: Sequence[str] = (),
) -> Envelope:
    """The command that gives a key its next version; with `expected_version` only if that is what
    it has (0: none yet). Raises `InvalidPayload` for what is no JSON value.
    """
    return Envelope(
        type=SET_ENTRY,
        payload={
            "key": key,
            "value": _json_text(value),
            "notify": notify,
            "include_value": include_value,
            "subscribers": list(subscribers),
        },
        stream_id=entry_stream(key),
        expected_version=expected_version,
    )


def entry_of(state: Mapping[str, Any] | None, version: int) -> Entry | None:
    """The entry that a stream's state is; None if it has none yet."""
    if not state:
        return None
    try:
        value = json.loads(state["value"])
    except ValueError as error:
        raise DecodeError(f"a value of the shared state is no JSON: {error}") from error
    return Entry(value, version, state["updated_by"], state["updated_at"])


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(SET_ENTRY, "value", f"is no JSON value: {error}") from error
