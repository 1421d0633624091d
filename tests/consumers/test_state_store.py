"""The state store by itself, without a log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from consumers.state_store import SqlStateStore

TOGETHER = 8


def test_members_that_start_together_on_a_fresh_database_all_get_it(tmp_path: Path) -> None:
    """Each finds the table missing; only one can make it, and none may fail for that."""
    for attempt in range(10):
        ready = Barrier(TOGETHER)
        url = f"sqlite:///{tmp_path / f'{attempt}.sqlite'}"

        def start(ready: Barrier = ready, url: str = url) -> None:
            ready.wait(10)
            SqlStateStore(url).close()

        with ThreadPoolExecutor(TOGETHER) as pool:
            for started in [pool.submit(start) for _ in range(TOGETHER)]:
                started.result()
