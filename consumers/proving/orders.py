"""The same parts merged in every order, here and elsewhere, and as the replay merged them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from consumers.projections import Projection
from consumers.projections.partition_fold import Columnar
from consumers.proving.causes import Causes
from consumers.proving.elsewhere import Elsewhere
from consumers.proving.faults import Fault, compared
from consumers.proving.interleaving import merge_orders
from consumers.proving.merging import advice, broken_law, merge_digests, merge_in
from consumers.proving.subjects import ProjectionSubject
from consumers.replay import Replayed
from streams.record import Partition


def merged_alike(
    subject: ProjectionSubject,
    parts: Mapping[Partition, bytes],
    replayed: Replayed[Any],
    elsewhere: Elsewhere,
    causes: Causes,
    seed: int,
) -> list[Fault]:
    """The same parts in every order, here and elsewhere, and as the replay merged them."""
    projection, rng = subject.projection, random.Random(seed)
    states, orders = list(parts.values()), merge_orders(len(parts), rng)
    at_home = merge_digests(projection, states, orders)
    away = elsewhere.merge_digests(subject, states, orders)
    if len({*at_home, *away, replayed.digest}) == 1:
        return []
    if fault := broken_law(projection, parts, rng):
        return [fault]
    where = f"projection {projection.name}"
    plain = merge_in(projection, states, orders[0])
    differing = next((n for n, found in enumerate(at_home) if found != at_home[0]), None)
    if differing is not None:
        other = merge_in(projection, states, orders[differing])
        return [
            compared(
                "merge_order",
                where,
                "the parts merge to another state in another order" + advice(plain, other),
                ("merged in order of partitions", plain),
                ("in another order", other),
            )
        ]
    if away != at_home:
        return [
            compared(
                "merge_hash_order",
                where,
                "merge gives another state in a process with another hash seed: it hangs on "
                "the order of a set, or on what the process has seen before",
                ("this process", plain),
                (elsewhere.name, elsewhere.merge_in(subject, states, orders[0])),
            )
        ]
    for source, end in replayed.cut:
        if fault := causes.of_two_folds(subject, source, end):
            return [fault]
    return [_replay_differs(projection, replayed, plain)]


def _replay_differs(projection: Projection[Any], replayed: Replayed[Any], plain: Any) -> Fault:
    in_columns = isinstance(projection, Columnar)
    return compared(
        "columns_differ" if in_columns else "unsteady",
        f"projection {projection.name}",
        "apply_rows comes to another state than apply"
        if in_columns
        else "the replay came to another state than both folds after it: what the code does hangs "
        "on chance, or on what was folded before",
        ("replayed", replayed.state),
        ("record by record", plain),
    )
