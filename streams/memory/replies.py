"""The reply inbox on the log in memory: what is answered to one process, as it is appended."""

from __future__ import annotations

from collections.abc import Callable

from streams.errors import DecodeError
from streams.kafka.replies import ReplyListener
from streams.memory.log import MemoryLog
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import REPLIES, Namespace
from streams.topics.partitioning import partition_for


class MemoryReplyInbox:
    """What comes for `name`, the `reply_to` of requests: a `ReplyInbox`, as far as clients go."""

    def __init__(self, log: MemoryLog, namespace: Namespace, codec: Codec, name: str) -> None:
        self.name = name
        self.undecodable = 0
        """Records for this inbox that nobody here can read."""
        self._log = log
        self._codec = codec
        self._key = name.encode()
        topic = namespace.topic(REPLIES)
        count = len(log.partitions(topic))
        self._source = Partition(topic, partition_for(self._key, max(count, 1)))
        self._position = 0
        self._unwatch: Callable[[], None] | None = None

    async def start(self, listener: ReplyListener) -> None:
        """Hear what is appended from now on."""
        self._position = self._log.end(self._source)
        self._unwatch = self._log.watch(lambda: self._hear(listener))

    async def close(self) -> None:
        """Hear no more. Twice does no harm."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def _hear(self, listener: ReplyListener) -> None:
        found = self._log.fetch(self._source, self._position)
        self._position = found.position
        for record in found.records:
            if record.key != self._key or record.value is None:
                continue
            try:
                envelope = self._codec.decode(record.value, record.headers)
            except DecodeError:
                self.undecodable += 1
            else:
                listener.on_reply(envelope, len(record.value))
