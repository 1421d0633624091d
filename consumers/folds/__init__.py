"""Folds of ranges: what a replay is made of, one range per partition.

- ranges       which positions of which partitions are read
- range_fold   one range, folded; goes on from what is kept, and keeps what it has
- identity     what a kept state depends on, as one digest
- kept         kept states in a folder: written whole or not at all, believed only if they are whole
- passed       how far all are, and whether they should go on
- child        a process that folds for another
- pools        all ranges, in turn, in threads or in processes
"""

from consumers.folds.kept import Keeper
from consumers.folds.pools import OnProgress, fold_in_processes, fold_in_threads, fold_in_turn
from consumers.folds.range_fold import Folded, RangeFold
from consumers.folds.ranges import Range, ranges_of

__all__ = [
    "Folded",
    "Keeper",
    "OnProgress",
    "Range",
    "RangeFold",
    "fold_in_processes",
    "fold_in_threads",
    "fold_in_turn",
    "ranges_of",
]
