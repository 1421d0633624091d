"""The worker: runs an app's handlers with exactly one outcome per record.

`core` decides (pure), `loop` dispatches and commits on one event loop, `source` and `commit` are
the Kafka shells behind the ports in `ports`, `processes` supervises several worker processes.
"""

from consumers.worker.handling import HandlerFailed
from consumers.worker.worker import Worker

__all__ = ["HandlerFailed", "Worker"]
