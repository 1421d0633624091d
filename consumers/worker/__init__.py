"""The worker: runs an app's handlers with exactly one outcome per record.

Pure: `core` decides, over `lanes` (what may run next), `tracking` (what has finished),
(what a commit leaves for the next owner), `duplicates`, `cancelled`. `opening` says what is to be
done with a record. Performing: `loop` dispatches and `committer` commits on one event loop,
`handling` runs handlers, `source`, `transactions` and `deliveries` are the Kafka shells behind the
ports in `ports`, `control` hears the system lane, `processes` supervises several worker processes.
"""

from consumers.worker.worker import Worker

__all__ = ["Worker"]
