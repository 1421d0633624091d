"""Streams: the envelope, its schemas and topics, and the ways on to and off the log.

Everything up to and including the log lives here; what reads the log to act or to fold it lives in
`consumers`, which this package never imports.
"""

from streams.cuts import Cut
from streams.envelope import Envelope, Kind, Lane
from streams.record import Partition, Record

__all__ = ["Cut", "Envelope", "Kind", "Lane", "Partition", "Record"]
