"""The worker: runs an app's handlers with exactly one outcome per record.

Pure: `core` decides about an `assignment`'s records, over `lanes` (what may run next), `tracking`
(what has finished), `turns`, `duplicates`, `quarantine` and `cancelled`; `opening` says what is to
be done with a record, `endings` what goes on the log with its outcome.

Performing: `loop` hears the source and drains, `runners` run records, `handling` their handlers,
`committer` commits, all on one event loop; `source`, `transactions` and `deliveries` are the Kafka
shells behind `ports`; `control` hears the system lane, `roll_call` asks workers for their `status`;
`processes` supervises several worker processes, `watchdog` a thread whose calls may never return.
"""

from consumers.worker.worker import Worker

__all__ = ["Worker"]
