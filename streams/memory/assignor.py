"""Who gets which partition: as even as can be, and moving as little as can be.

Deterministic: members in the order they joined, partitions in order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from streams.record import Partition


def assign(
    members: Mapping[str, Collection[str]],
    partitions: Iterable[Partition],
    before: Mapping[str, Collection[Partition]],
) -> dict[str, set[Partition]]:
    """Each member's partitions, given the topics that each wants and what each had.

    Members that want the same topics differ by at most one partition.
    """
    wanted = [one for one in partitions if any(one.topic in topics for topics in members.values())]
    given: dict[str, set[Partition]] = {member: set() for member in members}
    share, extra = divmod(len(wanted), len(members)) if members else (0, 0)
    taken: set[Partition] = set()
    for member, topics in members.items():
        kept = sorted(
            one for one in before.get(member, ()) if one in wanted and one.topic in topics
        )
        count = share + (1 if extra and len(kept) > share else 0)
        extra -= count > share
        given[member].update(kept[:count])
        taken.update(kept[:count])
    for one in wanted:
        if one not in taken:
            takers = [member for member, topics in members.items() if one.topic in topics]
            given[min(takers, key=lambda member: len(given[member]))].add(one)
    return given
