"""A worker on the log in memory: its ports, and one composed of them, without threads or Kafka.

They keep the promises of the Kafka ones (`tests/contracts`), on the event loop alone. Every call
on the log may be preceded by a `Pace`, for whoever wants calls to take time, or to fail.
"""

from consumers.worker.memory.deliveries import MemoryDeliveries
from consumers.worker.memory.pace import Call, Pace, at_once
from consumers.worker.memory.sending import memory_client
from consumers.worker.memory.source import MemorySource
from consumers.worker.memory.transactions import MemoryTransactions
from consumers.worker.memory.worker import MemoryWorker

__all__ = [
    "Call",
    "MemoryDeliveries",
    "MemorySource",
    "MemoryTransactions",
    "MemoryWorker",
    "Pace",
    "at_once",
    "memory_client",
]
