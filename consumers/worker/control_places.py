"""Where the system lane is read: a position per partition of `control`. Pure."""

from __future__ import annotations

from streams.cuts import Cut
from streams.record import Partition


class Places:
    """Positions on one topic, and since when what stands there is younger than this process."""

    def __init__(self, topic: str) -> None:
        self.are_unknown = True
        """Until `begin` or `topic_is_absent`."""
        self.positions: dict[Partition, int] = {}
        """What to read next."""
        self._topic = topic
        self._topic_id: str | None = None
        self._absent = False
        self._ends_at_begin: dict[Partition, int] = {}

    def begin(self, starts: Cut, ends: Cut) -> None:
        """Read from `starts`; what stands before `ends` is history."""
        self.are_unknown = False
        self._topic_id = ends.topic_ids[self._topic]
        self.positions = {source: starts.ends.get(source, 0) for source in ends.ends}
        self._ends_at_begin = dict(ends.ends)

    def topic_is_absent(self) -> None:
        """There is no such topic. All that another one will hold is younger than this process."""
        self.are_unknown = False
        self._absent = True

    def follow(self, ends: Cut) -> bool:
        """Take in what became of the topic; True if it is to be read elsewhere than before.

        A partition that is new, or of a topic that was made anew, is read from its beginning.
        """
        topic_id = ends.topic_ids[self._topic]
        if topic_id != self._topic_id:
            self._topic_id = topic_id
            self.positions.clear()
            self._ends_at_begin.clear()
        new = ends.ends.keys() - self.positions.keys()
        self.positions |= dict.fromkeys(new, 0)
        was_absent, self._absent = self._absent, False
        return was_absent or bool(new)

    def passed(self, source: Partition, position: int) -> None:
        """All below this position was heard."""
        self.positions[source] = max(position, self.positions.get(source, 0))

    def is_live(self, source: Partition, position: int) -> bool:
        """Whether the record was appended after `begin`."""
        return position >= self._ends_at_begin.get(source, 0)

    @property
    def caught_up(self) -> bool:
        """Whether the history was heard."""
        return not self.are_unknown and all(
            self.positions[source] >= end for source, end in self._ends_at_begin.items()
        )
