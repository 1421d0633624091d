"""Folds under both sides: the first record after which a projection's state is another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from consumers.differences import NOTHING, Difference
from consumers.folds import OnProgress
from consumers.projections import Projection
from consumers.reviewing.sides import Sides
from consumers.usage import Reader, ReaderKind
from consumers.what_if import Side, WhatIf, what_if_projection
from streams.cuts import Cut
from streams.errors import AgentlogError
from streams.ports import LogReader, SchemaSource
from streams.schemas import Codec
from streams.topics import Namespace


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one projection."""

    name: str
    found: WhatIf | None = None
    passed_over: str = ""
    """Why it need not be folded."""
    failed: str = ""
    """What stopped it, on the side that it names."""
    breaks: bool = False
    """Whether it is the candidate's side that stopped it: it stands against merging."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        said: dict[str, Any] = {"projection": self.name}
        if self.found is None:
            why = {"passed_over": self.passed_over or None, "failed": self.failed or None}
            return {**said, **why, "breaks": self.breaks}
        first = self.found.first
        return {
            **said,
            "equal": self.found.equal,
            "records": self.found.records,
            "first": None
            if first is None
            else {
                "record": str(first.record) if first.record is not None else None,
                "type": first.type,
                "id": first.id,
                "differences": [_difference(one) for one in first.differences],
            },
            "different": self.found.different,
            "differences": [_difference(one) for one in self.found.differences],
        }


class _Side(Side[Projection[Any]], frozen=True):
    """One that remembers whether an error was its own."""

    errors: list[AgentlogError]

    @contextmanager
    def named(self) -> Iterator[None]:
        try:
            with super().named():
                yield
        except AgentlogError as error:
            self.errors.append(error)
            raise


def untouched(projection: Projection[Any], readers: Iterable[Reader], types: Iterable[str]) -> str:
    """Why a projection cannot come out otherwise, in words; empty if it may."""
    own = [
        one for one in readers if one.kind is ReaderKind.PROJECTION and one.owner == projection.name
    ]
    if not own or not all(one.is_readable for one in own):
        return ""
    if any(one.of(name) for one in own for name in types):
        return ""
    return "its code reads no payload of a type that changed"


def fold_under_both(
    projection: Projection[Any],
    sides: Sides,
    *,
    reader: LogReader,
    namespace: Namespace,
    sources: Sequence[SchemaSource],
    cut: Cut,
    on_progress: OnProgress | None = None,
) -> Folded:
    """The projection over the history up to the cut, as today's readers and the candidate's."""
    today, candidate = (
        _Side(label, projection, Codec(catalogue, sources), [])
        for label, catalogue in (("today", sides.today), ("candidate", sides.candidate))
    )
    try:
        found = what_if_projection(
            today,
            candidate,
            reader=reader,
            namespace=namespace,
            cut=cut,
            on_progress=on_progress,
        )
    except AgentlogError as error:
        return Folded(name=projection.name, failed=str(error), breaks=bool(candidate.errors))
    return Folded(name=projection.name, found=found)


def _difference(one: Difference) -> dict[str, Any]:
    sides = {"today": one.before, "candidate": one.after}
    return {"path": one.path, **{k: v for k, v in sides.items() if v is not NOTHING}}
