"""What if: the same history, folded by two codes or read under other schemas.

- side        one of the two: a fold and the codec it reads with
- pair        both folds of one partition side by side, and the record after which they differ
- projections two projections over a cut
- streams     two versions of aggregates over a cut, event by event
- findings    what came out
"""

from consumers.what_if.findings import Divergence, WhatIf
from consumers.what_if.projections import what_if_projection
from consumers.what_if.side import Side
from consumers.what_if.streams import what_if_streams

__all__ = ["Divergence", "Side", "WhatIf", "what_if_projection", "what_if_streams"]
