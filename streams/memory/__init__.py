"""The log in memory: Kafka's behaviour in one process, deterministic, for tests and simulations.

- log         topics, transactions and groups behind one object; faults on demand
- partition   records, markers, and who may see what
- producers   transactional ids and their epochs
- groups      members, epochs and assignments (KIP-848); `assignor` says who gets what
- positions   committed and pending positions
- faults      what may go wrong next; `failures` are the errors that Kafka would answer
- reader      `LogReader` over it
- publisher   envelopes onto it, as `streams.kafka.publisher` does on Kafka
- replies     the reply inbox of a client
- clock       a clock that its owner moves
"""

from streams.memory.clock import ManualClock
from streams.memory.failures import CallFailed, Failure
from streams.memory.faults import Fault
from streams.memory.groups import GroupMetadata, Heartbeat
from streams.memory.log import MemoryLog
from streams.memory.positions import CommittedPosition
from streams.memory.producers import Producer
from streams.memory.publisher import MemoryPublisher
from streams.memory.reader import MemoryLogReader
from streams.memory.replies import MemoryReplyInbox

__all__ = [
    "CallFailed",
    "CommittedPosition",
    "Failure",
    "Fault",
    "GroupMetadata",
    "Heartbeat",
    "ManualClock",
    "MemoryLog",
    "MemoryLogReader",
    "MemoryPublisher",
    "MemoryReplyInbox",
    "Producer",
]
