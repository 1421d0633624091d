"""What must hold at the end of the demo, checked on the log alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from consumers.audit import GroupAudit, audit, broker_marks
from consumers.demo.fleet import app
from consumers.differences import differences as states_differ
from consumers.projections import Projection
from consumers.proving import Elsewhere, ProjectionSubject, Proof, Prover, Site
from consumers.state_store import LiveState
from streams.envelope import Envelope, Kind
from streams.kafka.groups import GroupAdmin
from streams.kafka.reader import KafkaLogReader
from streams.schemas import Catalogue, Codec
from streams.topics import Namespace

DIFFERENCES_SHOWN_MAX: Final = 10

_CAUSES: Final[Mapping[Kind, Mapping[str, int]]] = {
    Kind.TASK_ASSIGNMENT: {"agentlog.task.TaskFinished": 1},
    Kind.TASK_RESULT: {"agentlog.chat.MessagePosted": 1},
    Kind.REQUEST: {"agentlog.Json": 1},
}
"""How many outputs of which type each handled envelope must have caused."""


def expected_outputs(envelope: Envelope) -> Mapping[str, int]:
    """What the fleet's handlers owe for one envelope."""
    return _CAUSES.get(envelope.kind, {})


def audit_fleet(
    reader: KafkaLogReader, codec: Codec, namespace: Namespace, groups: GroupAdmin
) -> GroupAudit:
    """The fleet's books, with its outputs counted against what it owed."""
    (found,) = audit(
        reader,
        codec,
        namespace,
        group=app.name,
        topics=app.topics,
        expect=expected_outputs,
        committed=broker_marks(groups, reader, namespace),
    )
    return found


def tiling_faults(audited: GroupAudit) -> list[str]:
    """Gaps, overlaps, phantoms and broken chains of the journal, in words."""
    return [
        f"{source}@{fault.position} {fault.detail} ({fault.kind})"
        for source, tiling in audited.tilings.items()
        for fault in tiling.faults
    ]


def differences(oracle: Mapping[str, Any], view: Mapping[str, Any]) -> list[str]:
    """The first places where two JSON documents differ, by path."""
    found = [
        f"{one.path}: the oracle says {one.before!r}, replay {one.after!r}"
        for one in states_differ(oracle, view)
    ]
    shown = found[:DIFFERENCES_SHOWN_MAX]
    if len(found) > len(shown):
        shown.append(f"and {len(found) - len(shown)} more")
    return shown


def open_codec() -> Codec:
    """The codec of every process of the demo."""
    return Codec(Catalogue.load())


def prove_live(
    reader: KafkaLogReader,
    codec: Codec,
    namespace: Namespace,
    lives: Mapping[type[Projection[Any]], LiveState[Any]],
    seed: int,
    on_progress: Callable[[str, int, int], None],
) -> list[Proof]:
    """What `agentlog prove` proves of each live projection; progress by its name."""
    site = Site(partial(KafkaLogReader, reader.bootstrap_servers), open_codec)
    with Elsewhere(site, seed) as elsewhere:
        prover = Prover(reader, codec, namespace, elsewhere, seed)
        return [
            prover.projection(
                ProjectionSubject(kind),
                live=live,
                on_progress=partial(on_progress, kind().name),
            )
            for kind, live in lives.items()
        ]
