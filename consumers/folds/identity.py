"""What a kept state depends on, as one digest: whatever differs in it is another replay.

Not the cut: the state of a partition's records below a position is the same at every cut above.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import sys
from typing import Any, Final

import msgspec

from consumers.projections.filters import Filters
from consumers.projections.projection import Projection
from consumers.source_code import digest_of_code
from streams.cuts import Cut
from streams.digest import canonical
from streams.schemas import Catalogue
from streams.topics import Namespace

FORMAT: Final = 1
"""Of the files; another one reads none of them."""
_FOLDING: Final = ("consumers.projections.partition_fold", "consumers.projections.metrics")


def settings_of(projection: Projection[Any]) -> bytes | None:
    """The projection with what it was made with, as bytes; None if it cannot be passed on."""
    try:
        return pickle.dumps(projection)
    except Exception:  # noqa: BLE001  # whatever a user's object says to this, it is a no
        return None


def identity_of(
    projection: Projection[Any],
    settings: bytes,
    catalogue: Catalogue,
    namespace: Namespace,
    filters: Filters,
    log: Cut,
    since: Cut | None = None,
) -> str:
    """SHA-256, in hex, of the log, the fold, its code, the schemas and what is asked for.

    `settings` are the projection's own (`settings_of`); `log` names the cluster and its topics by
    id, so that those of a topic made anew are others.
    """
    functions: list[Any] = [projection.initial, projection.apply, projection.merge]
    for kind in type(projection).__mro__[:-1]:  # without `object`
        functions += [kind, *(one for one in vars(kind).values() if callable(one))]
    return hashlib.sha256(
        canonical(
            {
                "format": FORMAT,
                "log": [log.cluster_id, namespace.name, dict(log.topic_ids)],
                "since": None if since is None else since.encode(),
                "projection": [projection.name, projection.version, settings],
                "code": digest_of_code(functions, (*_FOLDING, *_modules_in(settings))),
                "schemas": _schemas(catalogue),
                "filters": msgspec.structs.asdict(filters),
            }
        )
    ).hexdigest()


def _modules_in(settings: bytes) -> list[str]:
    """Modules of the functions and classes that a projection was made with."""
    texts = (text for _, text, _ in pickletools.genops(settings) if isinstance(text, str))
    return [text for text in texts if text in sys.modules]


def _schemas(catalogue: Catalogue) -> str:
    """A change of any type counts: what a fold looks at cannot be seen from outside."""
    found = hashlib.sha256()
    for name, event in sorted(catalogue.types.items()):
        aliases = ",".join(event.aliases)
        found.update(f"{name}\x00{event.writer.id}\x00{aliases}\x00".encode())
        found.update(event.writer.text.encode() + b"\x00")
    found.update(",".join(catalogue.upcasters).encode())
    return found.hexdigest()
