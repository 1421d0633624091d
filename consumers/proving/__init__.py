"""Proving: what ran live is what the log comes to, in any order and in any process.

- subjects      what is folded: a projection, or the streams of aggregates
- interleaving  orders that chance draws: of partitions, of batches, of merges; pure
- folding       a subject folded by such an order, and up to given positions
- storing      what of a state CBOR does not keep
- elsewhere     the same in another process, under another hash seed
- divergence    the first record after which two folds differ
- merging       the same parts merged in other orders, and which law a merge breaks
- causes       why two folds differ, and at which record
- orders       parts merged in every order, here, elsewhere and as the replay did
- live_rows    a state store's rows beside what the log comes to
- faults        what a proof found, with both values
- proof         the proof of one subject
- rows          the proof of one read model
"""

from consumers.proving.elsewhere import Elsewhere, Site
from consumers.proving.faults import Fault
from consumers.proving.proof import Proof, Prover
from consumers.proving.rows import prove_rows
from consumers.proving.subjects import ProjectionSubject, StreamsSubject, Subject

__all__ = [
    "Elsewhere",
    "Fault",
    "ProjectionSubject",
    "Proof",
    "Prover",
    "Site",
    "StreamsSubject",
    "Subject",
    "prove_rows",
]
