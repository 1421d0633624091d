"""What belongs to a trace: from the index where it is, from the log what it says.

1. The records whose correlation is what was asked for; or whose message it is, and then those of
   that message's correlation.
2. Whatever was sent because of these, again and again, until there is nothing more.
3. The causes that are not among them: outside of the correlation, or not on the log.
4. How the groups finished with each of the records, and why, where it was not simply handled.
"""

from __future__ import annotations

from typing import Final

import msgspec

from consumers.index import Index
from consumers.read_models import Generations, View, read_live
from consumers.tracing.endings import Endings
from consumers.tracing.searching import Lookup, Search
from consumers.tracing.tree import Node, build_tree
from streams.cuts import Cut
from streams.schemas import Codec
from streams.topics import Namespace

RECORDS_MAX: Final = 2_000
"""Records of one trace; what is beyond is left out, and said to be."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one key, up to the index's cut."""

    asked: str
    correlation: str | None
    """The correlation that is shown; None if nothing was found."""
    cut: Cut | None
    """What the index held; None: nothing at all."""
    nodes: tuple[Node, ...]
    """The tree, each cause before what it caused; empty: nothing was found."""
    is_cut_short: bool
    """Whether there are more records than a trace may have."""


class Tracer:
    """Traces in one namespace. Kept, its connections stay warm. Not for several threads at once."""

    def __init__(
        self,
        generations: Generations,
        lookup: Lookup,
        codec: Codec,
        namespace: Namespace,
        *,
        records_max: int = RECORDS_MAX,
    ) -> None:
        self._generations = generations
        self._lookup = lookup
        self._codec = codec
        self._namespace = namespace
        self._records_max = records_max

    def trace(self, asked: str) -> Trace:
        """The tree around a correlation id or a message id, at one moment of the index."""

        def ask(view: View) -> Trace:
            search = Search(
                Index(view, self._namespace), self._lookup, self._codec, self._records_max
            )
            correlation = search.run(asked)
            messages = Endings(search, self._lookup, self._codec, self._namespace).messages()
            return Trace(
                asked=asked,
                correlation=correlation,
                cut=view.cut,
                nodes=tuple(build_tree(messages)),
                is_cut_short=search.is_cut_short,
            )

        return read_live(self._generations, ask)
