"""Cuts: the address of a moment in the log.

A cut gives each partition's end position: everything below it happened, nothing at or above it
did. It carries the cluster's id and the topics' ids, so that a cut taken on one cluster, or before
a topic was deleted and made anew, is refused instead of misread.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import cbor2
import msgspec

from streams.errors import ConfigurationError, LogError
from streams.record import Partition

_PREFIX: Final = "cut1:"


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """End positions by partition (the first position that is not part of the moment)."""

    cluster_id: str
    topic_ids: Mapping[str, str]
    """Kafka's topic id by full topic name."""
    ends: Mapping[Partition, int]

    def __iter__(self) -> Iterator[tuple[Partition, int]]:
        """Partitions and end positions, in partition order."""
        return iter(sorted(self.ends.items()))

    def of(self, topics: Iterable[str]) -> Cut:
        """The same moment on these topics only."""
        wanted = set(topics)
        return Cut(
            cluster_id=self.cluster_id,
            topic_ids={name: tid for name, tid in self.topic_ids.items() if name in wanted},
            ends={part: end for part, end in self.ends.items() if part.topic in wanted},
        )

    def require_same_log(self, now: Cut) -> None:
        """Raise `LogError` unless `now`, taken from the log at hand, is the log this cut is of."""
        if self.cluster_id != now.cluster_id:
            raise LogError(
                f"the cut is of cluster {self.cluster_id}, this is {now.cluster_id}; "
                "point AGENTLOG_BOOTSTRAP_SERVERS at the cluster that it was taken on"
            )
        for name, topic_id in self.topic_ids.items():
            found = now.topic_ids.get(name)
            if found is None:
                raise LogError(
                    f"the cut covers topic {name}, which this cluster does not have any more; its "
                    "records are gone"
                )
            if found != topic_id:
                raise LogError(
                    f"topic {name} was deleted and made anew since the cut was taken; "
                    "its old records are gone; take another cut with `agentlog cut now`"
                )
        for part, end in self.ends.items():
            if now.ends.get(part, 0) < end:
                raise LogError(
                    f"the cut ends {part} at {end}, the log only reaches {now.ends.get(part, 0)}: "
                    "it lost its end since, or the cut was changed by hand; take another one with "
                    "`agentlog cut now`"
                )

    def encode(self) -> str:
        """`cut1:<base64url>`: deterministic, for command lines and files."""
        topics: dict[str, list[object]] = {
            name: [topic_id, {}] for name, topic_id in sorted(self.topic_ids.items())
        }
        for part, end in self:
            ends = topics[part.topic][1]
            assert isinstance(ends, dict)
            ends[part.index] = end
        raw = cbor2.dumps([self.cluster_id, topics], canonical=True)
        return _PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @staticmethod
    def decode(text: str) -> Cut:
        """The cut that `encode` wrote. Raises `ConfigurationError` on anything else."""
        try:
            if not text.startswith(_PREFIX):
                raise ValueError("no cut1: in front")
            body = text.removeprefix(_PREFIX)
            raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            cluster_id, topics = cbor2.loads(raw)
            ends = {
                Partition(str(name), int(index)): int(end)
                for name, entry in topics.items()
                for index, end in entry[1].items()
            }
            if min(ends.values(), default=0) < 0:
                raise ValueError("a position below 0")
            return Cut(
                cluster_id=str(cluster_id),
                topic_ids={str(name): str(entry[0]) for name, entry in topics.items()},
                ends=ends,
            )
        except (
            ValueError,
            TypeError,
            AttributeError,
            LookupError,
            binascii.Error,
            cbor2.CBORDecodeError,
        ) as error:
            raise ConfigurationError(
                f"not a cut: {text[:40]!r} ({error}); `agentlog replay … --json` prints one"
            ) from error
