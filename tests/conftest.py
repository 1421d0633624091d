"""What every test may ask for: one real Kafka for the whole run, and a namespace of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from consumers.worker.watchdog import Watchdog

pytest_plugins = ["streams.brokers.fixtures"]


@pytest.fixture(scope="session", autouse=True)
def bites_are_heard(request: pytest.FixtureRequest) -> Iterator[None]:
    """A watchdog that ends a process of tests says so where somebody reads it."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    bite = Watchdog._bite

    def heard(watchdog: Watchdog) -> None:
        if capture is not None and watchdog._give_up is os._exit:
            capture.suspend_global_capture(in_=False)
        bite(watchdog)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watchdog, "_bite", heard)
        yield


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Where tests run in several processes, what failed is told at once by the first.

    A run that is cut short has then said what it found.
    """
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_TellsAtOnce(config), "tells-at-once")


class _TellsAtOnce:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            writer = self._config.get_terminal_writer()
            writer.line()
            writer.sep("_", f"{report.nodeid} ({report.when})")
            writer.line(report.longreprtext)
            for title, text in report.sections:
                writer.sep("-", title)
                writer.line(text[-4_000:])
