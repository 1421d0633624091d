"""What changed between two versions of a schema, field by field. Pure.

This says what is different, and no word of whether that is compatible:
`streams.schemas.compatibility` does. A field is the same if it has the same name, or if the new
one has the old one's name as an alias. A named type is compared once, where it is met first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from streams.schemas.walking import Names, Node, below, branch_path, branches, shown
from streams.schemas.writer_schema import Schema

TEXT_CHARS_MAX: Final = 200
"""Characters of a default or an attribute that a change shows."""
_OF_FIELDS: Final = frozenset({"name", "type", "doc", "default", "aliases"})
_OF_TYPES: Final = frozenset(
    {"name", "namespace", "type", "doc", "aliases", "fields", "symbols", "default", "size"}
    | {"items", "values", "logicalType", "precision", "scale"}
)


class ChangeKind(StrEnum):
    """What sort of difference it is."""

    FIELD_ADDED = "field_added"
    FIELD_REMOVED = "field_removed"
    FIELD_RENAMED = "field_renamed"
    FIELDS_REORDERED = "fields_reordered"
    TYPE_CHANGED = "type_changed"
    LOGICAL_TYPE_CHANGED = "logical_type_changed"
    MADE_NULLABLE = "made_nullable"
    MADE_REQUIRED = "made_required"
    BRANCH_ADDED = "branch_added"
    BRANCH_REMOVED = "branch_removed"
    BRANCHES_REORDERED = "branches_reordered"
    DEFAULT_ADDED = "default_added"
    DEFAULT_REMOVED = "default_removed"
    DEFAULT_CHANGED = "default_changed"
    SYMBOL_ADDED = "symbol_added"
    SYMBOL_REMOVED = "symbol_removed"
    SYMBOLS_REORDERED = "symbols_reordered"
    SIZE_CHANGED = "size_changed"
    NAME_CHANGED = "name_changed"
    ALIASES_CHANGED = "aliases_changed"
    DOC_CHANGED = "doc_changed"
    ATTRIBUTE_CHANGED = "attribute_changed"


class Change(msgspec.Struct, frozen=True):
    """One difference. `before` and `after` are texts; empty where there is nothing."""

    path: str
    """In the new version, as in `task.timeout`; in the old one for what was removed. Empty: the
    payload itself."""
    kind: ChangeKind
    before: str = ""
    after: str = ""

    @property
    def message(self) -> str:
        """The change in words, without its path."""
        what = self.kind.value.replace("_", " ")
        if self.before and self.after:
            return f"{what}: {self.before} → {self.after}"
        return f"{what}: {self.after or self.before}" if self.after or self.before else what


def changes(old: Schema, new: Schema) -> tuple[Change, ...]:
    """All differences between two whole schemas, in the order of the new one."""
    comparison = _Comparison(Names(old), Names(new))
    comparison.types("", comparison.old.node(old), comparison.new.node(new))
    return tuple(comparison.found)


class _Comparison:
    def __init__(self, old: Names, new: Names) -> None:
        self.old = old
        self.new = new
        self.found: list[Change] = []
        self._seen: set[tuple[str, str]] = set()

    def _say(self, path: str, kind: ChangeKind, before: str = "", after: str = "") -> None:
        self.found.append(Change(path, kind, before, after))

    def types(self, path: str, a: Node, b: Node) -> None:
        """What is different between two types."""
        if "union" in {a.kind, b.kind}:
            self._unions(path, a, b)
            return
        if a.kind != b.kind:
            self._say(path, ChangeKind.TYPE_CHANGED, shown(self.old, a), shown(self.new, b))
            return
        if a.name:
            if (a.name, b.name) in self._seen:
                return
            self._seen.add((a.name, b.name))
            self._named(path, a, b)
        if a.logical != b.logical:
            texts = shown(self.old, a), shown(self.new, b)
            self._say(path, ChangeKind.LOGICAL_TYPE_CHANGED, *texts)
        match a.kind:
            case "record":
                self._fields(path, a, b)
            case "enum":
                self._symbols(path, a, b)
            case "fixed" if a.schema["size"] != b.schema["size"]:
                sizes = (f"{one.schema['size']} bytes" for one in (a, b))
                self._say(path, ChangeKind.SIZE_CHANGED, *sizes)
            case "array" | "map":
                inner, end = ("items", "[]") if a.kind == "array" else ("values", "{}")
                inside = (
                    names.node(one.schema[inner], one.namespace)
                    for names, one in ((self.old, a), (self.new, b))
                )
                self.types(path + end, *inside)

    def _named(self, path: str, a: Node, b: Node) -> None:
        if a.name != b.name:
            self._say(path, ChangeKind.NAME_CHANGED, a.name, b.name)
        self._notes(path, a.schema, b.schema, _OF_TYPES)

    def _notes(self, path: str, a: Any, b: Any, known: frozenset[str]) -> None:
        """Docs, aliases, and what only some tools understand."""
        if a.get("doc", "") != b.get("doc", ""):
            self._say(path, ChangeKind.DOC_CHANGED, a.get("doc", ""), b.get("doc", ""))
        before, after = (sorted(one.get("aliases", ())) for one in (a, b))
        if before != after:
            self._say(path, ChangeKind.ALIASES_CHANGED, ", ".join(before), ", ".join(after))
        for name in sorted((a.keys() | b.keys()) - known):
            if name in a and name in b and json.dumps(a[name]) == json.dumps(b[name]):
                continue
            texts = (f"{name} = {_text(one[name])}" if name in one else "" for one in (a, b))
            self._say(path, ChangeKind.ATTRIBUTE_CHANGED, *texts)

    def _default(self, path: str, a: Any, b: Any) -> None:
        before, after = (json.dumps(one["default"]) if "default" in one else "" for one in (a, b))
        if before == after:
            return
        if not before:
            self._say(path, ChangeKind.DEFAULT_ADDED, "", _text(b["default"]))
        elif not after:
            self._say(path, ChangeKind.DEFAULT_REMOVED, _text(a["default"]))
        else:
            texts = _text(a["default"]), _text(b["default"])
            self._say(path, ChangeKind.DEFAULT_CHANGED, *texts)

    def _fields(self, path: str, a: Node, b: Node) -> None:
        old = {field["name"]: field for field in a.schema["fields"]}
        new = {field["name"]: field for field in b.schema["fields"]}
        was = {name: _old_name(field, old, new) for name, field in new.items()}
        for name, field in new.items():
            at, before = below(path, name), was[name]
            if before is None:
                self._say(at, ChangeKind.FIELD_ADDED, "", self._described(field, b))
                continue
            if before != name:
                self._say(at, ChangeKind.FIELD_RENAMED, before, name)
            self._default(at, old[before], field)
            self._notes(at, old[before], field, _OF_FIELDS)
            self.types(
                at,
                self.old.node(old[before]["type"], a.namespace),
                self.new.node(field["type"], b.namespace),
            )
        kept = [one for one in was.values() if one is not None]
        for name, field in old.items():
            if name not in kept:
                before = shown(self.old, self.old.node(field["type"], a.namespace))
                self._say(below(path, name), ChangeKind.FIELD_REMOVED, before)
        self._order(path, ChangeKind.FIELDS_REORDERED, [one for one in old if one in kept], kept)

    def _described(self, field: Any, b: Node) -> str:
        text = shown(self.new, self.new.node(field["type"], b.namespace))
        has = f"default {_text(field['default'])}" if "default" in field else "no default"
        return f"{text}, {has}"

    def _symbols(self, path: str, a: Node, b: Node) -> None:
        old, new = a.schema["symbols"], b.schema["symbols"]
        self._members(path, old, new, ChangeKind.SYMBOL_ADDED, ChangeKind.SYMBOL_REMOVED)
        common = [one for one in old if one in new]
        self._order(
            path, ChangeKind.SYMBOLS_REORDERED, common, [one for one in new if one in common]
        )
        self._default(path, a.schema, b.schema)

    def _unions(self, path: str, a: Node, b: Node) -> None:
        old, new = branches(self.old, a), branches(self.new, b)
        if (nullable := _has_null(new)) != _has_null(old):
            kind = ChangeKind.MADE_NULLABLE if nullable else ChangeKind.MADE_REQUIRED
            self._say(path, kind, shown(self.old, a), shown(self.new, b))
        pairs, gone, come = _matched(old, new)
        for before, after in pairs:
            self.types(branch_path(path, new, after), before, after)
        self._members(
            path,
            [shown(self.old, one) for one in gone],
            [shown(self.new, one) for one in come],
            ChangeKind.BRANCH_ADDED,
            ChangeKind.BRANCH_REMOVED,
        )
        places = [old.index(before) for before, _ in pairs]
        if places != sorted(places):
            texts = [shown(self.old, one) for one in old], [shown(self.new, one) for one in new]
            self._say(path, ChangeKind.BRANCHES_REORDERED, *(" | ".join(one) for one in texts))

    def _members(
        self,
        path: str,
        old: Sequence[str],
        new: Sequence[str],
        added: ChangeKind,
        removed: ChangeKind,
    ) -> None:
        for one in new:
            if one not in old:
                self._say(path, added, "", one)
        for one in old:
            if one not in new:
                self._say(path, removed, one)

    def _order(self, path: str, kind: ChangeKind, old: list[str], new: list[str]) -> None:
        if old != new:
            self._say(path, kind, ", ".join(old), ", ".join(new))


def _matched(
    old: list[Node], new: list[Node]
) -> tuple[list[tuple[Node, Node]], list[Node], list[Node]]:
    """Branches that are the same, in the order of the new ones; then those gone, those added.

    `null` is in no list unless both have it.
    """
    pairs: dict[int, Node] = {}
    gone = list(old)
    for named in ("name", "last_name"):
        for n, after in enumerate(new):
            key = getattr(after, named) or after.kind
            same = [one for one in gone if (getattr(one, named) or one.kind) == key]
            if same and n not in pairs:
                pairs[n] = same[0]
                gone.remove(same[0])
    come = [n for n, one in enumerate(new) if n not in pairs and one.kind != "null"]
    gone = [one for one in gone if one.kind != "null"]
    if len(gone) == len(come) == 1:
        pairs[come.pop()] = gone.pop()
    return [(pairs[n], new[n]) for n in sorted(pairs)], gone, [new[n] for n in come]


def _has_null(among: Iterable[Node]) -> bool:
    return any(one.kind == "null" for one in among)


def _old_name(field: Any, old: Iterable[str], new: Iterable[str]) -> str | None:
    """What a field of the new version was called in the old one; None if it is new."""
    if field["name"] in old:
        return str(field["name"])
    return next((one for one in field.get("aliases", ()) if one in old and one not in new), None)


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
