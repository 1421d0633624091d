"""Pairs: what a reader's schema makes of what a writer's schema wrote, type by type.

1. Every pair of types that data can bring together becomes a node: what one look says of it, and
   the pairs inside. Recursion is a cycle, for a pair of records is made once.
2. A pair fails if an error can be reached from it. Nothing is concluded of any pair before all are
   known, so no verdict of an unfinished one can leak into another.
3. The findings are told along the first way from the root to each node, so each has its whole path;
   a union says of all of its branches why they failed.

It searches among nodes and does not recurse, so long chains of types are no matter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from streams.schemas.compatibility.alike import is_alike
from streams.schemas.compatibility.findings import Finding, FindingKind, Report, Severity
from streams.schemas.compatibility.matching import (
    Mismatch,
    branch_mismatch,
    is_namesake,
    is_same,
    mismatch,
)
from streams.schemas.compatibility.model import (
    AvroType,
    ParsedSchema,
    Record,
    Union,
    describe,
    label,
    says_nothing,
)
from streams.schemas.compatibility.parsing import parse_schema
from streams.schemas.compatibility.resolving import Said, resolved

ROOT: Final = "$"
"""The path of the schemas themselves."""


def compare(writer: Any, reader: Any) -> Report:
    """What a reader makes of a writer's records; schemas as JSON, or parsed once for many.

    Of one schema twice there is nothing to say, whatever its docs: readers resolve differences.
    Raises `InvalidSchema` for JSON that is no schema.
    """
    written = writer if isinstance(writer, ParsedSchema) else parse_schema(writer)
    wanted = reader if isinstance(reader, ParsedSchema) else parse_schema(reader)
    if written.json == wanted.json or is_alike(written, wanted):
        return Report()
    return Report(tuple(_Comparison(written, wanted).findings()))


class _Pair:
    """A writer's type that meets a reader's."""

    __slots__ = ("inside", "is_branch", "reader", "said", "tried", "writer")

    def __init__(self, writer: AvroType, reader: AvroType, *, is_branch: bool) -> None:
        self.writer = writer
        self.reader = reader
        self.is_branch = is_branch
        """Whether the path names a branch of the writer's union already."""
        self.said: list[Said] = []
        self.inside: list[tuple[str, _Pair]] = []
        self.tried: list[tuple[str, Mismatch | str]] = []
        """Branches of the reader's union and why each is not read; empty for the one that is."""

    @property
    def has_error(self) -> bool:
        return any(said.kind.severity is Severity.ERROR for said in self.said)


class _Comparison:
    def __init__(self, writer: ParsedSchema, reader: ParsedSchema) -> None:
        self._schema = reader
        self._records: dict[tuple[int, int], _Pair] = {}
        self._unseen: list[_Pair] = []
        self._pairs: list[_Pair] = []
        self._root = self._pair(writer.root, reader.root)
        while self._unseen:
            pair = self._unseen.pop()
            self._look(pair)
            self._pairs.append(pair)
        self._say_of_failed_unions()

    def findings(self) -> Iterator[Finding]:
        """Everything said, with its path: from the root on, a type before what is inside."""
        waiting, told = [(ROOT, self._root)], set()
        while waiting:
            path, pair = waiting.pop()
            if id(pair) in told:
                continue
            told.add(id(pair))
            for kind, message, step in pair.said:
                yield Finding(f"{path}{step}", kind, kind.severity, message)
            waiting += [(f"{path}{step}", inner) for step, inner in reversed(pair.inside)]

    def _pair(self, writer: AvroType, reader: AvroType, *, is_branch: bool = False) -> _Pair:
        if not (isinstance(writer, Record) and isinstance(reader, Record)):
            pair = _Pair(writer, reader, is_branch=is_branch)
            self._unseen.append(pair)
            return pair
        known = self._records.get((id(writer), id(reader)))
        if known is None:
            known = self._records[id(writer), id(reader)] = _Pair(writer, reader, is_branch=False)
            self._unseen.append(known)
        return known

    def _look(self, pair: _Pair) -> None:
        writer, reader = pair.writer, pair.reader
        if isinstance(writer, Union):
            for name, branch in zip(writer.labels, writer.branches, strict=True):
                inner = self._pair(branch, reader, is_branch=True)
                pair.inside.append((f"|{name}", inner))
        elif isinstance(reader, Union):
            self._choose(pair, reader)
        elif found := mismatch(writer, reader):
            pair.said.append(Said(found.kind, str(found)))
        else:
            pair.said, inside = resolved(writer, reader, self._schema)
            pair.inside = [
                (step, self._pair(inner, wanted))
                for step, inner, wanted in inside
                if self._schema.alias_owners or not says_nothing(inner, wanted)
            ]

    def _choose(self, pair: _Pair, union: Union) -> None:
        """The first branch that matches, as the specification says; and what others would take."""
        writer = pair.writer
        chosen, same, namesake = None, None, None
        for n, branch in enumerate(union.branches):
            found = branch_mismatch(writer, branch)
            reason: Mismatch | str = found or ""
            if found is None and chosen is not None:
                reason = f"would match, but {union.labels[chosen]} comes first"
            elif found is None:
                chosen = n
            elif chosen is None and is_namesake(writer, branch):
                namesake = n
            if found is None and same is None and is_same(writer, branch):
                same = n
            pair.tried.append((union.labels[n], reason))
        if chosen is None:
            pair.said.append(Said(FindingKind.NO_UNION_BRANCH, _no_branch(writer, pair.tried)))
            return
        name = union.labels[chosen]
        if same is not None and same != chosen:
            other = f"Java's decoder takes {union.labels[same]}: put that one first"
            pair.said.append(Said(FindingKind.UNION_CHOICE, _choice(writer, name, other)))
        if namesake is not None:
            other = describe(union.branches[namesake])
            other = f"fastavro takes the {other} before it and fails: rename one of them"
            pair.said.append(Said(FindingKind.UNION_CHOICE, _choice(writer, name, other)))
        taken = union.branches[chosen]
        step = f"|{name}"
        if pair.is_branch:
            step = "" if label(writer) == label(taken) else f"→{name}"
        pair.inside.append((step, self._pair(writer, taken)))

    def _say_of_failed_unions(self) -> None:
        failing = self._failing()
        failed = []
        for pair in self._pairs if failing else ():
            if pair.tried and pair.inside and pair.inside[0][1] in failing:
                why = _nearest_error(pair.inside[0][1], failing)
                failed.append((pair, [(name, reason or why) for name, reason in pair.tried]))
        for pair, tried in failed:
            pair.said.append(Said(FindingKind.NO_UNION_BRANCH, _no_branch(pair.writer, tried)))

    def _failing(self) -> set[_Pair]:
        """The pairs from which an error can be reached."""
        failing = {pair for pair in self._pairs if pair.has_error}
        if not failing:
            return failing
        outer: dict[_Pair, list[_Pair]] = {}
        for pair in self._pairs:
            for _, inner in pair.inside:
                outer.setdefault(inner, []).append(pair)
        waiting = list(failing)
        while waiting:
            for pair in outer.get(waiting.pop(), ()):
                if pair not in failing:
                    failing.add(pair)
                    waiting.append(pair)
        return failing


def _nearest_error(start: _Pair, failing: set[_Pair]) -> str:
    """The first error inside of a failing pair, with the way to it."""
    waiting, seen = deque([("", start)]), {start}
    while waiting:
        path, pair = waiting.popleft()
        for kind, message, step in pair.said:
            if kind.severity is Severity.ERROR:
                where = f"{path}{step}"
                return f"matches, but {where}: {message}" if where else message
        for step, inner in pair.inside:
            if inner in failing and inner not in seen:
                seen.add(inner)
                waiting.append((f"{path}{step}", inner))
    raise AssertionError("a failing pair leads to an error")


def _choice(writer: AvroType, name: str, other: str) -> str:
    return (
        f"{describe(writer)} is read as {name}, the first branch that matches, as the "
        f"specification says; {other}"
    )


def _no_branch(writer: AvroType, tried: list[tuple[str, Mismatch | str]]) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in tried) or "it has none"
    return f"no branch of the reader's union can be read from {describe(writer)} ({reasons})"
