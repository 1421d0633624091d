"""What every test may ask for: one real Kafka for the whole run, and a namespace of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["streams.brokers.fixtures"]


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
