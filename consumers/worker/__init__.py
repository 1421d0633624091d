"""The worker: runs an app's handlers with exactly one outcome per record.

Pure: `core` decides, over `lanes` (what may run next), `tracking` (what has finished),
`duplicates` and `cancelled`; `opening` says what is to be done with a record. Performing: `loop`
dispatches and `committer` commits on one event loop, `handling` runs handlers; `source`,
`transactions` and `deliveries` are the Kafka shells behind `ports`; `control` hears the system
lane, `roll_call` asks workers for their `status`; `processes` supervises several worker processes.
"""

from consumers.worker.worker import Worker

__all__ = ["Worker"]
