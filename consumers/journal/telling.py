"""Outputs that tell where another one has come to lie (`Output.tells`), made whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from consumers.journal.outcomes import Output
from streams.schemas.encoder import long


def completed(telling: Iterable[Output], positions: Mapping[int, int]) -> list[Output]:
    """These outputs with the positions of those that they tell of, by `id`."""
    return [
        msgspec.structs.replace(
            one, value=(one.value or b"") + long(positions[id(one.tells)]), tells=None
        )
        for one in telling
    ]
