"""The agents' shared state as the topic `state` keeps it: the latest entry of each key."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from streams.errors import BrokerError, DecodeError
from streams.headers import TYPE, header
from streams.kafka.compacted import CompactedTopic
from streams.record import Record
from streams.schemas import Codec
from streams.shared_state import STATE_CHANGED, Entry, entry_of
from streams.topics import STATE, Namespace

_log: Final = logging.getLogger("agentlog.state")


class _Entries:
    """What was heard so far."""

    def __init__(self, codec: Codec) -> None:
        self.entries: dict[str, Entry] = {}
        self._codec = codec

    def hear(self, key: str, record: Record) -> None:
        """The latest entry of a key. What cannot be read leaves the one before."""
        if header(record.headers, TYPE) != STATE_CHANGED.encode():
            return  # the topic keeps other things as well
        try:
            said = self._codec.decode(record.value, record.headers).payload
            state = {**said, "value": said["full_value"]}
            entry = entry_of(state, said["version"])
        except (DecodeError, BrokerError, LookupError, TypeError) as error:
            _log.warning("%s is no entry of the shared state: %s", record, error)
            return
        if entry is not None:
            self.entries[key] = entry


class Entries:
    """The shared state of a namespace, followed. For one event loop."""

    def __init__(self, bootstrap_servers: str, namespace: Namespace, codec: Codec) -> None:
        self._topic = CompactedTopic(bootstrap_servers, namespace, STATE, lambda: _Entries(codec))

    @property
    def known(self) -> Mapping[str, Entry]:
        """The latest entry of each key, as far as it was heard."""
        return self._topic.table.entries

    async def start(self) -> None:
        """Read what is there. Raises `BrokerError`, `LogError` without a topic `state`."""
        await self._topic.start()

    async def catch_up(self, timeout_s: float) -> None:
        """Return when every entry that was set before this is known; else raise `BrokerError`."""
        await self._topic.catch_up(timeout_s)

    async def close(self) -> None:
        """Follow no further; what was heard stays known."""
        await self._topic.close()
