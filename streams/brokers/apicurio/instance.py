"""One embedded registry in one folder: start it, find it, stop it, from any process.

The folder holds all there is: `instance.lock`, `users.lock` and `last-run.json` as with the broker
(`streams.brokers.embedded.instance`), `data/`, `logs/` and `tmp/`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from streams.brokers.apicurio import archive, launch
from streams.brokers.apicurio.configuration import RegistryLayout
from streams.brokers.apicurio.launch import RegistryPortTaken, RunningRegistry
from streams.brokers.apicurio.locking import load_lock
from streams.brokers.apicurio.state import RegistryState, read_state, write_state
from streams.brokers.embedded import process
from streams.brokers.embedded.disk import disk_errors, locked, registries_home
from streams.brokers.embedded.guarding import Guarded
from streams.brokers.embedded.installing import Progress
from streams.brokers.embedded.instance import DEFAULT_NAME, Stopped
from streams.brokers.embedded.ports import assign_port
from streams.brokers.embedded.state import ProcessId
from streams.brokers.embedded.users import counted
from streams.errors import ConfigurationError, RegistryError

START_ATTEMPTS_MAX = 3
SETTLE_TIMEOUT_S = 10.0
NOTHING_MORE: Final[Mapping[str, str]] = MappingProxyType({})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class RegistryStarted:
    """A running registry. `found` says that it ran before this call."""

    state: RegistryState
    found: bool
    running: RunningRegistry


@dataclass(frozen=True, slots=True)
class RegistryInstance:
    """The embedded registry that lives in `folder`."""

    folder: Path

    @classmethod
    def named(cls, name: str = DEFAULT_NAME) -> RegistryInstance:
        """The instance of that name in the user's data folder."""
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"registry name {name!r} must be 1 to 63 of a-z, 0-9 and '-', not '-' first"
            )
        return cls(registries_home() / name)

    def find(self) -> RegistryState | None:
        """The running registry, or None."""
        state = read_state(self.folder)
        return state if state is not None and process.is_alive(state.process) else None

    def start(
        self,
        *,
        port: int | None = None,
        keep: bool = True,
        guarded: Guarded | None = None,
        progress: Progress | None = None,
        more: Mapping[str, str] = NOTHING_MORE,
    ) -> RegistryStarted:
        """Start the registry, or find the one that already runs here.

        `port` asks for a port (default: that of the last run, or a free one); `keep` as in
        `RegistryState`; `more` are further settings of Apicurio. Raises `BrokerError` with what to
        do; what it started does not run then.
        """
        app = None if self.find() else archive.registry_app(progress=progress)
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "instance.lock"):
                if (state := self._settled()) is not None:
                    return self._found(state, port, keep)
                app = app or archive.registry_app(progress=progress)
                return self._launch(app, port, keep, guarded, more)

    def stop(self) -> Stopped:
        """Stop the registry and wait until it is gone."""
        if not self.folder.is_dir():
            return Stopped.NOT_RUNNING
        with disk_errors(self.folder), locked(self.folder / "instance.lock"):
            state = self.find()
            if state is None:
                return Stopped.NOT_RUNNING
            clean = RunningRegistry(state.process, None).stop()
            return Stopped.CLEAN if clean else Stopped.KILLED

    @contextmanager
    def used(self) -> Iterator[None]:
        """Hold the registry up while the block runs; the last user stops it unless it is kept."""
        with counted(self.folder, self._stop_unkept):
            yield

    def _stop_unkept(self) -> None:
        state = self.find()
        if state is not None and not state.keep:
            self.stop()

    def _settled(self) -> RegistryState | None:
        """The running registry if it answers; None once it is gone.

        One that was killed, or is stopping, lives on for a moment: wait for what becomes of it.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while (state := self.find()) is not None:
            if launch.answers(state.layout):
                return state
            if time.monotonic() >= deadline:
                raise RegistryError(
                    f"the registry in {self.folder} runs (pid {state.process.pid}) but does not "
                    f"answer at {state.url}: stop it with `agentlog registry stop` and start it "
                    "again"
                )
            time.sleep(_POLL_S)
        return None

    def _found(self, state: RegistryState, port: int | None, keep: bool) -> RegistryStarted:
        if port is not None and port != state.port:
            raise RegistryError(
                f"this registry already runs on port {state.port}: use that, or stop it before you "
                f"start it on port {port}"
            )
        if keep and not state.keep:
            state = replace(state, keep=True)
            write_state(state)
        return RegistryStarted(state, True, RunningRegistry(state.process, None))

    def _launch(
        self,
        app: Path,
        port: int | None,
        keep: bool,
        guarded: Guarded | None,
        more: Mapping[str, str],
    ) -> RegistryStarted:
        last = read_state(self.folder)
        remembered = None if last is None else last.port
        for attempt in range(1, START_ATTEMPTS_MAX + 1):
            layout = RegistryLayout(self.folder, assign_port(wanted=port, last_run=remembered))

            def note(started: ProcessId, port: int = layout.port) -> RegistryState:
                version, now = load_lock().apicurio_version, datetime.now(UTC)
                state = RegistryState(version, self.folder, port, started, now, keep)
                write_state(state)
                return state

            try:
                running = launch.launch(layout, app, guarded, note, more)
                return RegistryStarted(note(running.process), False, running)
            except RegistryPortTaken:
                remembered = None
                if port is not None or attempt == START_ATTEMPTS_MAX:
                    raise
        raise AssertionError("unreachable")
