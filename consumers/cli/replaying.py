"""A replay as a command runs it: connected, followed, told about; kept in the user's cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs

from consumers.cli.asked import Asked, named_filters, near, require_known_type
from consumers.cli.cut import read_named
from consumers.cli.output import stderr
from consumers.cli.progress import following
from consumers.cli.session import connect
from consumers.projections import AgentState, Metrics, Projection
from consumers.projections.partition_fold import Tally, fold_failed
from consumers.references import load_reference
from consumers.replay import Replayed, replay
from streams.digest import digest
from streams.errors import AgentlogError, ConfigurationError
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at
from streams.schemas import Codec
from streams.session import Session, load_catalogue, schema_sources
from streams.settings import Settings
from streams.topics import TOPICS

_PARTS = ("name", "version", "topics", "initial", "apply", "merge", "view")


def replayed(projection: Projection[Any], asked: Asked) -> tuple[Replayed[Any], Mapping[str, Any]]:
    """Replay what is asked for, and say how it went. What was rebuilt, and its view."""
    session = connect()
    require_known_type(session.codec.catalogue, asked.filters.type)
    topics = session.namespace.topics(projection.topics)
    with KafkaLogReader(session.bootstrap_servers) as reader:
        named = NamedCuts(reader, session.namespace, session.codec)
        cut = resolve_at(reader, topics, asked.at, time.time_ns() // 1_000_000, read_named(named))
        with following(f"replay {projection.name}") as on_progress:
            done = replay(
                projection,
                reader=reader,
                namespace=session.namespace,
                codec=session.codec,
                cut=cut,
                filters=asked.filters,
                workers=asked.processes,
                open_codec=codec_opener(session),
                keep_in=kept_home(),
                fresh=asked.fresh,
                on_progress=on_progress,
                on_note=_note,
            )
    _tell(done)
    return done, view_of(projection, done.state)


def kept_home() -> Path:
    """Where replays keep what they have folded: can be deleted at any time."""
    return platformdirs.user_cache_path("agentlog") / "replays"


def load_projection(name: str) -> Projection[Any]:
    """`state`, `metrics`, or the projection that MODULE:NAME refers to.

    Raises `ConfigurationError` for what is no projection, or is one of topics that there are not.
    """
    if name in {"state", "metrics"}:
        return AgentState() if name == "state" else Metrics()
    found: Any = load_reference(name)
    lacking = [part for part in _PARTS if not hasattr(found, part)]
    if lacking:
        raise ConfigurationError(f"{name} is no projection: it has no {', '.join(lacking)}")
    _require_topics(found)
    return found  # type: ignore[no-any-return]  # a user's own object; checked above


def codec_opener(session: Session) -> Callable[[], Codec]:
    """Opens the codec as `connect` does, in a process of its own."""
    return partial(_open_codec, session.settings, session.bootstrap_servers)


def view_of(projection: Projection[Any], state: Any) -> Mapping[str, Any]:
    """The state as people see it. Raises `AgentlogError` that names the line if that fails."""
    try:
        return projection.view(state)
    except Exception as error:
        raise fold_failed(projection, "its view", error) from error


def require_found(done: Replayed[Any], projection: Projection[Any], asked: Asked) -> None:
    """Raise `AgentlogError` if what the filters name is nowhere on the log: it is misspelt."""
    named = named_filters(asked.filters)
    if named and done.digest == digest(projection.initial()):
        raise AgentlogError(
            f"no record up to {asked.at} passes {named}: look for it with `agentlog tail --from "
            "start`, or for agents with `agentlog replay state`"
        )


def facts(done: Replayed[Any]) -> dict[str, Any]:
    """What `--json` says of every replay."""
    return {
        "digest": done.digest,
        "cut": done.cut.encode(),
        "records": done.records,
        "undecodable": done.tally.undecodable,
        "first_undecodable": done.tally.first_undecodable or None,
        "seconds": round(done.seconds, 3),
    }


def tell_undecodable(tally: Tally) -> None:
    """Say what could not be decoded, if anything."""
    if tally.undecodable:
        stderr.print(
            f"{tally.undecodable:,} records could not be decoded, and are in no state; first: "
            f"{tally.first_undecodable}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _note(note: str) -> None:
    stderr.print(note, style="yellow", markup=False, soft_wrap=True)


def _tell(done: Replayed[Any]) -> None:
    kept = f", {done.kept_records:,} of them before" if done.kept_records else ""
    stderr.print(
        f"{done.records:,} records{kept} in {done.seconds:.2f} s ({done.per_s:,.0f}/s)\n"
        f"digest {done.digest}",
        soft_wrap=True,
        style="dim",
    )
    tell_undecodable(done.tally)


def _require_topics(projection: Projection[Any]) -> None:
    for name in projection.topics:
        if name not in TOPICS:
            hint = near(name, TOPICS) or "`agentlog topics list` has them all"
            raise ConfigurationError(
                f"projection {projection.name} is of topic {name!r}, which there is not; {hint}"
            )
        if TOPICS[name].compacted:
            raise ConfigurationError(
                f"projection {projection.name} is of topic {name!r}, which is compacted: a cache "
                "that forgets, and nothing can be rebuilt from; fold the events behind it"
            )


def _open_codec(settings: Settings, bootstrap_servers: str) -> Codec:
    return Codec(load_catalogue(settings), schema_sources(bootstrap_servers, settings))
