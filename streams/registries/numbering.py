"""Types under the ids that a registry gave them, so that any tool with the registry reads us.

Asked once, when a process begins. A process that finds the registry down, or a type that the
registry does not have, writes under the ids of the lock, which every reader of ours knows, and says
so once. It reads both kinds of ids at any time.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from streams.errors import RegistryError, RegistryRefused
from streams.ports import SchemaSource
from streams.registries.client import RegistryClient
from streams.registries.subjects import subjects_of
from streams.registries.transport import CONNECTIONS_MAX
from streams.schemas import Catalogue, EventType
from streams.schemas.references import as_written
from streams.topics import Namespace

NAMED_MAX: Final = 3
"""Types that a warning names; the others are counted."""

_log: Final = logging.getLogger("agentlog.registries")


def numbered(
    catalogue: Catalogue, client: RegistryClient, namespace: Namespace, announced: SchemaSource
) -> Catalogue:
    """The catalogue, with the registry's ids for the types whose schema of today it has.

    `announced` is the log's own memory of ids: an id that once stood for something else on this log
    (the registry was made anew) is not used. Raises what `announced` raises; a registry that does
    not answer is no error.
    """

    def ask(event: EventType) -> int | None:
        for subject in subjects_of(event, namespace):
            try:
                found = client.find(subject, event.writer.text)
            except RegistryRefused:
                continue  # what it takes for no schema, it does not have
            if found is not None:
                return found.id
        return None

    events = list(catalogue.types.values())
    with ThreadPoolExecutor(CONNECTIONS_MAX) as pool:
        try:
            found = list(pool.map(ask, events))
        except RegistryError as error:
            pool.shutdown(cancel_futures=True)
            _log.warning("records are written under the ids of the lock: %s", error)
            return catalogue
    ids = {
        event.name: schema_id
        for event, schema_id in zip(events, found, strict=True)
        if schema_id is not None
    }
    _tell(
        [event.name for event in events if event.name not in ids],
        f"the registry at {client.url} does not have; `agentlog schemas sync` registers them",
    )
    foreign = [name for name in ids if _is_another(catalogue.types[name], ids[name], announced)]
    _tell(foreign, "this log has under other ids: was the registry made anew?")
    return catalogue.numbered({name: ids[name] for name in ids if name not in foreign})


def _is_another(event: EventType, schema_id: int, announced: SchemaSource) -> bool:
    text = announced.writer_schema(schema_id)
    if text is None:
        return False
    try:
        return bool(as_written(json.loads(text)) != as_written(event.writer.schema))
    except (ValueError, LookupError, TypeError, AttributeError):
        return True


def _tell(names: list[str], why: str) -> None:
    if names:
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        _log.warning(
            "written under the ids of the lock: %s%s, which %s",
            ", ".join(names[:NAMED_MAX]),
            more,
            why,
        )
