"""A registry for the length of a `with` block: for tests and demos."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.brokers.apicurio.instance import NOTHING_MORE, RegistryInstance, RegistryStarted
from streams.brokers.embedded.guarding import Guarded
from streams.brokers.embedded.installing import Progress
from streams.errors import RegistryError


class EmbeddedRegistry:
    """A real Apicurio on 127.0.0.1 that ends with the block, or with this process.

        with EmbeddedRegistry() as registry:
            client = RegistryClient(registry.url)

    Its data lives in a temporary folder and is deleted at the end, even when this process is
    killed. `more` are further settings of Apicurio. Entering raises `BrokerError` if it cannot be
    started.
    """

    def __init__(
        self, *, progress: Progress | None = None, more: Mapping[str, str] = NOTHING_MORE
    ) -> None:
        self._progress = progress
        self._more = more
        self._started: RegistryStarted | None = None
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        """Where its Confluent API is, while it runs."""
        if self._started is None:
            raise RegistryError("this registry is not running: enter its `with` block first")
        return self._started.state.url

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="agentlog-registry-"))
        try:
            self._started = RegistryInstance(self._folder).start(
                keep=False,
                guarded=Guarded(delete=self._folder),
                progress=self._progress,
                more=self._more,
            )
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._started is not None:
            self._started.running.stop(discard=True)
            self._started = None
        self._delete()

    def _delete(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
