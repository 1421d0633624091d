"""A whole review: the schemas' side, and with a log the evidence, the groups and the folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from typing import Any, NamedTuple

from consumers.folds import OnProgress
from consumers.projections import Projection
from consumers.reviewing.folding import Folded, fold_under_both, untouched
from consumers.reviewing.gathering import REVIEWED, Gathered, gather, open_codec
from consumers.reviewing.groups import groups_seen
from consumers.reviewing.review import Review, review_type
from consumers.reviewing.sides import Change, Sides
from consumers.usage import Reader, builtin_readers
from streams.cuts import Cut
from streams.errors import DecodeError
from streams.kafka.reader import KafkaLogReader
from streams.ports import SchemaSource
from streams.schemas import Codec, WriterSchema
from streams.session import schema_sources
from streams.settings import Settings
from streams.topics import JOURNAL, Namespace


class Log(NamedTuple):
    """The log that a review looks at, and how much of it."""

    reader: KafkaLogReader
    settings: Settings
    cut: Cut | None = None
    """None: the log's end as it is."""
    sample: int | None = None
    """Records; None: all of them."""
    topics: tuple[str, ...] = REVIEWED
    """Logical names."""

    @property
    def namespace(self) -> Namespace:
        """Whose topics they are."""
        return Namespace(self.settings.namespace)


class Looks(NamedTuple):
    """What is looked at beside the records."""

    readers: Sequence[Reader] = ()
    """Of the user's code."""
    projections: Sequence[Projection[Any]] = ()
    today: date = date.min


def review(
    sides: Sides,
    *,
    names: tuple[str, str, str],
    log: Log | None,
    without: str = "",
    looks: Looks,
    on_progress: OnProgress = lambda passed, total: None,  # noqa: ARG005
) -> Review:
    """`names` are the folder's, the base's and the candidate's. `without` says why there is no log.

    Raises `ConfigurationError` for what is no schema and for an empty history, `BrokerError` if the
    broker does not answer.
    """
    changes = sides.changes()
    gathered = None
    schemas: Mapping[int, WriterSchema] = {}
    groups: Mapping[str, frozenset[str]] = {}
    readers = (*builtin_readers(sides.today), *looks.readers)
    folds: tuple[Folded, ...] = ()
    read_anew = [one for one in changes if not one.is_promises_alone]
    if log is not None and not read_anew:
        without = "no record is read otherwise than at the base"
    elif log is not None:
        servers = log.reader.bootstrap_servers
        sources = schema_sources(servers, log.settings)
        codec = Codec(sides.known, sources)
        gathered = gather(
            sides,
            reader=log.reader,
            namespace=log.namespace,
            codec=codec,
            open_codec=partial(open_codec, sides, servers, log.settings),
            cut=log.cut,
            sample=log.sample,
            topics=log.topics,
            on_progress=on_progress,
        )
        schemas = _writers(gathered, codec)
        if schemas and JOURNAL in log.topics:
            groups = groups_seen(
                log.reader,
                Codec(sides.today, sources),
                log.namespace,
                gathered.cut,
                log.sample,
            )
        folds = _folds(sides, read_anew, gathered, log, sources, readers, looks, on_progress)
    types = [
        review_type(
            sides,
            change,
            gathered=gathered,
            codec_schemas=schemas,
            readers=readers,
            groups=groups,
            today=looks.today,
        )
        for change in changes
    ]
    return Review(
        folder=names[0],
        base=names[1],
        head=names[2],
        types=tuple(sorted(types, key=lambda one: -len(one.against))),
        gathered=gathered,
        without=without,
        folds=folds,
        is_first=not sides.before,
    )


def _writers(gathered: Gathered, codec: Codec) -> dict[int, WriterSchema]:
    found = {}
    for schema_id in {**gathered.evidence.observed, **gathered.evidence.envelopes}:
        with suppress(DecodeError):
            found[schema_id] = codec.writer_schema(schema_id)
    return found


def _folds(
    sides: Sides,
    changes: Sequence[Change],
    gathered: Gathered,
    log: Log,
    sources: Sequence[SchemaSource],
    readers: Sequence[Reader],
    looks: Looks,
    on_progress: OnProgress,
) -> tuple[Folded, ...]:
    """Only of a whole history, and only those that may come out otherwise."""
    types = {name for change in changes for name in (change.name, change.was) if name}
    found = []
    for projection in looks.projections:
        why = untouched(projection, readers, types)
        if gathered.is_sample:
            why = "folded only over a whole history, and this is a sample"
        elif not gathered.evidence.observed:
            why = "no stored record is read otherwise than today"
        if why:
            found.append(Folded(name=projection.name, passed_over=why))
            continue
        found.append(
            fold_under_both(
                projection,
                sides,
                reader=log.reader,
                namespace=log.namespace,
                sources=sources,
                cut=gathered.cut,
                on_progress=on_progress,
            )
        )
    return tuple(found)
