"""What runs while things break: an app, the load that it is given, what its log must show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from consumers.aggregates import Aggregate
from streams.envelope import Envelope


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """One of the apps that faults strike. Every record of its load has a task id."""

    app: str
    """The workers' app, `module:name`."""
    group: str
    """Logical name of its group."""
    source: str
    """Logical name of the topic that it reads; the load goes there."""
    outputs: tuple[str, ...]
    """Logical names of the further topics that its outputs are on."""
    hops: int
    """How many records of `source` each record of the load comes to, itself included."""
    make: Callable[[str, str], Envelope]
    """(task id, kind) to what an agent sends; whoever sends it completes it."""
    seen: Callable[[Envelope], Sequence[tuple[int, str]]]
    """(hop, task id) of what an envelope on the log is; nothing for anything else."""
    expected: Callable[[Envelope], Mapping[str, int]]
    """How many outputs of each type a handled envelope must have caused, for the audit."""
    aggregates: Sequence[Aggregate] = ()
    """Whose streams are on `events`, to be rebuilt."""
