"""The agents' shared state for an agent: get, set, update (S3.16).

    async with session.shared_state("planner") as state:
        version = await state.set("goal", {"city": "Basel"})
        entry = await state.get("goal", latest=True)
        entry = await state.update("visits", lambda n: (n or 0) + 1)

Reads come from memory, which follows the log some milliseconds behind; `latest=True` catches up
first. Writes are commands, decided in order by whoever runs the aggregate
(`consumers.aggregates.shared_state`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from streams.client import TIMEOUT_S, Client
from streams.errors import RequestTimeout, VersionConflict
from streams.kafka.entries import Entries
from streams.shared_state import Entry, entry_of, set_entry


class SharedState:
    """See the module. Entering raises `BrokerError` if no broker answers, `LogError` without a
    topic `state`.
    """

    def __init__(self, client: Client, entries: Entries) -> None:
        self._client = client
        self._entries = entries
        self.conflicts = 0
        """How often an `update` had to begin anew, for somebody else had been faster."""

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        try:
            await self._entries.start()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._entries.close()
        await self._client.close()

    async def get(
        self, key: str, *, latest: bool = False, timeout_s: float = TIMEOUT_S
    ) -> Entry | None:
        """The entry of a key, or None. With `latest`, what was set before this call is seen."""
        if latest:
            await self._entries.catch_up(timeout_s)
        return self._entries.known.get(key)

    async def set(
        self,
        key: str,
        value: Any,
        *,
        expected_version: int | None = None,
        notify: bool = True,
        include_value: bool = False,
        subscribers: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> int:
        """Give a key its next value (JSON); returns its version.

        With `expected_version` only if that is what it has (0: none yet), else `VersionConflict`.
        Everybody is told (`StateChanged`), or only `subscribers`, or, without `notify`, nobody;
        the notice has the value if `include_value`. Raises as `Client.command` does.
        """
        command = set_entry(
            key,
            value,
            expected_version=expected_version,
            notify=notify,
            include_value=include_value,
            subscribers=subscribers,
        )
        return (await self._client.command(command, timeout_s=timeout_s)).version

    async def update(
        self,
        key: str,
        change: Callable[[Any], Any],
        *,
        notify: bool = True,
        include_value: bool = False,
        subscribers: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> int:
        """Replace a key's value by what `change` makes of it (None: it has none yet), atomically:
        returns the version of a value that was made of the version before it.

        `change` is called again where somebody else was faster. Raises `RequestTimeout` when that
        goes on for `timeout_s`, and as `set` does.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        entry = self._entries.known.get(key)
        while True:
            version, value = (entry.version, entry.value) if entry is not None else (0, None)
            try:
                return await self.set(
                    key,
                    change(value),
                    expected_version=version,
                    notify=notify,
                    include_value=include_value,
                    subscribers=subscribers,
                    timeout_s=max(give_up_at - loop.time(), 0.001),
                )
            except VersionConflict as conflict:
                self.conflicts += 1
                entry = entry_of(conflict.state, conflict.version)
                if loop.time() > give_up_at:
                    raise RequestTimeout(conflict.request_id) from conflict
