"""Watches: one writer's records read under two schemas at once, by code made for the three.

Most bytes of a record mean the same to today's reader and to the candidate's, and what can happen
where is known from the schemas alone. So a watch is a function that walks over the bytes once,
checks that they are what the writer's schema says, and stops only where something may happen: an
unknown symbol, a number too large for its new type, a moment in another unit. What happens to every
record alike (a default for a field that the writer lacks) costs nothing: `always` has it.

Resolution is the specification's (Avro 1.12, "Schema Resolution"), as in `compatibility`: a logical
type is the reader's. Nothing of a schema gets into the text but through constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from consumers.reviewing.leaves import Leaf, leaf_of, symbol_table
from consumers.reviewing.raw_values import raw_default, raw_value
from consumers.reviewing.record_fields import Source, fields_of
from consumers.reviewing.sites import Happening, Shown, Site, text_of
from streams.schemas.compatibility.matching import branch_mismatch
from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Map,
    ParsedSchema,
    Primitive,
    Record,
    Union,
    describe,
    label,
)
from streams.schemas.function_text import FunctionText
from streams.schemas.varints import (
    ONE_BYTE_COUNTS,
    ONE_BYTE_LONGS,
    count_at,
    index_at,
    long_at,
    no_more_than,
    span_at,
    wrong_end,
)

Hit = tuple[int, Any]
"""A site's number, and what is stored there."""
Walk = Callable[[bytes, int, Callable[[Hit], None]], None]
"""Bytes, where the record begins, what hits are told to. Raises `Unreadable` where the candidate's
reader fails, one of `BAD_BYTES` where the bytes are not what the writer's schema says."""

DEPTH_MAX: Final = 8
"""Levels of types within one function; deeper ones have functions of their own."""
INLINE_MAX: Final = 1_000
"""Records that are written out where they are met; then each kind has one function."""
SAME: Final = None
"""For a reader's type: nothing is asked of it here."""


class Unreadable(Exception):
    """The candidate's reader cannot read this record: at this site."""

    def __init__(self, site: int, why: str) -> None:
        super().__init__(why)
        self.site = site


class Watch(NamedTuple):
    """What can happen to one writer's records, and the function that finds out."""

    sites: tuple[Site, ...]
    always: tuple[int, ...]
    """Sites that every record hits which the candidate can read."""
    walk: Walk


def watch_of(
    written: ParsedSchema,
    payload: str,
    today: ParsedSchema | None,
    candidate: ParsedSchema | None,
) -> Watch:
    """The watch of a writer's whole records; the readers' schemas are of the field `payload`.

    The other fields come before it and are passed over. None: a reader that has the writer's own
    schema, and reads what was written as it is, without resolution.
    """
    made = _Making()
    made.begin("walk(b, i, h)")
    assert isinstance(written.root, Record)
    for name, field in written.root.fields.items():
        if name != payload:
            made.place(field.type, SAME, SAME, _At("", 1, always=True, checked=False))
    root = written.root.fields[payload].type
    t, c = (root if reader is None else reader.root for reader in (today, candidate))
    made.place(root, t, c, _At("$", 1, always=True))
    made.add(1, "if i != len(b): wrong_end(b, i)")
    return made.watch()


def front_of(written: ParsedSchema, payload: str) -> Callable[[bytes, int], int]:
    """Where the field `payload` begins in a record that begins at a place."""
    made = _Making()
    made.begin("walk(b, i)")
    assert isinstance(written.root, Record)
    for name, field in written.root.fields.items():
        if name != payload:
            made.place(field.type, SAME, SAME, _At("", 1, checked=False))
    made.add(1, "return i")
    front: Callable[[bytes, int], int] = made.watch().walk  # type: ignore[assignment]
    return front


class _At(NamedTuple):
    """Where in the schemas, and in the text."""

    path: str
    depth: int
    always: bool = False
    """Whether every record comes by here."""
    checked: bool = True
    """Whether text is checked to be text."""
    open: tuple[tuple[int, int, int], ...] = ()
    """The records around it."""

    def inside(self, step: str, deeper: int = 0, *, always: bool = False) -> _At:
        return self._replace(
            path=f"{self.path}{step}", depth=self.depth + deeper, always=self.always and always
        )


Reader = AvroType | None


class _Making(FunctionText):
    def __init__(self) -> None:
        super().__init__(_CONSTANTS)
        self.sites: dict[tuple[Happening, str], Site] = {}
        self._always: dict[int, None] = {}
        self._functions: dict[tuple[int, int, int], str] = {}
        self._waiting: list[tuple[str, AvroType, Reader, Reader, _At]] = []
        self._inlined = 0

    def watch(self) -> Watch:
        while self._waiting:
            name, w, t, c, at = self._waiting.pop()
            self.begin(f"{name}(b, i, h)")
            self.place(w, t, c, at)
            self.add(1, "return i")
        walk: Walk = self.compiled("walk")
        return Watch(tuple(self.sites.values()), tuple(self._always), walk)

    def place(self, w: AvroType, t: Reader, c: Reader, at: _At) -> None:
        """The steps over one of the writer's values, as two readers' types take it."""
        if isinstance(w, Union):
            self._union(w, t, c, at)
            return
        if isinstance(c, Union):
            branch = _first_branch(w, c)
            if isinstance(branch, str):
                self._fail(at, branch)
                return
            step = f"|{label(branch)}"
            if at.path.endswith(f"|{label(w)}"):
                step = "" if label(branch) == label(w) else f"→{label(branch)}"
            c, at = branch, at._replace(path=f"{at.path}{step}")
        if c is not None and branch_mismatch(w, c):
            self._fail(at, f"{describe(w)} was written, and {describe(c)} is no type to read it as")
            return
        if isinstance(t, Union):
            branch = _first_branch(w, t)
            t = None if isinstance(branch, str) else branch
            self._mended(at, t)
        elif t is not None and branch_mismatch(w, t):
            t = None
            self._mended(at, t)
        self._same_kinds(w, t, c, at)

    def _same_kinds(self, w: AvroType, t: Reader, c: Reader, at: _At) -> None:
        match w:
            case Record():
                assert t is None or isinstance(t, Record)
                assert c is None or isinstance(c, Record)
                self._enter(w, t, c, at)
            case Array():
                self._blocks(w.items, _held(t), _held(c), at.inside("[]", 2), keyed=False)
            case Map():
                self._blocks(w.values, _held(t), _held(c), at.inside("{}", 2), keyed=True)
            case Enum():
                self._enum(w, t, c, at)
            case Primitive() | Fixed():
                self._leaf(w, t, c, at)

    # -- what happens -------------------------------------------------------------------------

    def _site(self, happening: Happening, path: str, show: Callable[[Any], Shown]) -> int:
        key = happening, path
        if key not in self.sites:
            self.sites[key] = Site(happening, path, show)
        return list(self.sites).index(key)

    def _hit(
        self, happening: Happening, at: _At, show: Callable[[Any], Shown], raw: str = "None"
    ) -> None:
        site = self._site(happening, at.path, show)
        if at.always and raw == "None":
            self._always[site] = None
        else:
            self.add(at.depth, f"h(({site}, {raw}))")

    def _fail(self, at: _At, why: str) -> None:
        site = self._site(Happening.FAILED, at.path, _nothing)
        self.add(at.depth, f"raise Unreadable({site}, {self.constant(why)})")

    def _mended(self, at: _At, t: Reader) -> None:
        if t is None:
            self._hit(Happening.MENDED, at, _nothing)

    # -- types --------------------------------------------------------------------------------

    def _union(self, w: Union, t: Reader, c: Reader, at: _At) -> None:
        if len(w.branches) == 2 and w.branches[0].kind == "null" and self._optional(w, t, c, at):
            return
        n = self.fresh("n")
        self.add(
            at.depth,
            f"{n} = COUNTS[b[i]]",
            f"if {n} is None or {n} >= {len(w.branches)}: "
            f"{n}, i = index_at(b, i, {len(w.branches)}, 'branch')",
            "else: i += 1",
        )
        for k in range(len(w.branches)):
            self.add(at.depth, f"{'el' if k else ''}if {n} == {k}:", "    pass")
            self._branch(k, w, t, c, at, 1)

    def _optional(self, w: Union, t: Reader, c: Reader, at: _At) -> bool:
        """The same in fewer steps: byte 0, or byte 2 and a value. Not if something may happen to
        null itself.
        """
        lines, self._lines = self._lines, []
        self._branch(0, w, t, c, at, 1)
        lines, self._lines = self._lines, lines
        if any(line.strip() != "pass" for line in lines):
            return False
        self.add(
            at.depth,
            "n = b[i]",
            "i += 1",
            "if n:",
            "    if n != 2: n, i = index_at(b, i - 1, 2, 'branch')",
            "    if n:",
            "        pass",
        )
        self._branch(1, w, t, c, at, 2)
        return True

    def _branch(self, k: int, w: Union, t: Reader, c: Reader, at: _At, deeper: int) -> None:
        # Who reads as it was written looks for no branch.
        branch = w.branches[k]
        today, candidate = (branch if one is w else one for one in (t, c))
        self._nested(branch, today, candidate, at.inside(f"|{label(branch)}", deeper))

    def _nested(self, w: AvroType, t: Reader, c: Reader, at: _At) -> None:
        """Within a branch or a loop: there is only so much room for those in one function."""
        if at.depth > DEPTH_MAX and not isinstance(w, (Primitive, Fixed)):
            self._call(w, t, c, at)
        else:
            self.place(w, t, c, at)

    def _call(self, w: AvroType, t: Reader, c: Reader, at: _At) -> None:
        key = id(w), id(t), id(c)
        name = self._functions.get(key)
        if name is None:
            name = self._functions[key] = self.fresh("walk")
            self._waiting.append((name, w, t, c, at._replace(depth=1, always=False, open=())))
        self.add(at.depth, f"i = {name}(b, i, h)")

    def _enter(self, w: Record, t: Record | None, c: Record | None, at: _At) -> None:
        key = id(w), id(t), id(c)
        self._inlined += 1
        if key in at.open or (at.open and self._inlined > INLINE_MAX):
            # What a record within itself always does is only always done below it.
            self._call(w, t, c, at)
        else:
            self._record(w, t, c, at._replace(open=(*at.open, key)))

    def _record(self, w: Record, t: Record | None, c: Record | None, at: _At) -> None:
        fields = fields_of(w, t, c)
        if fields.mended:
            self._mended(at, None)
        if fields.fails:
            name, why = fields.fails
            self._fail(at.inside(f".{name}", always=True), why)
            return
        kept: dict[int, str] = {}
        for one in fields.stored:
            inner = at.inside(f".{one.name}", always=True)
            if one.is_compared:
                kept[id(one.field)] = variable = self.fresh()
                type_ = self.constant(one.field.type)
                self.add(at.depth, f"{variable}, _ = raw_value({type_}, b, i)")
            if one.appears:
                self._hit(Happening.APPEARED, inner, _nothing)
            self._nested(one.field.type, one.today, one.candidate, inner)
        for reader, other in fields.defaulted:
            today = text_of(raw_default(other)) if other is not None else "–"
            shown = _constantly(today, text_of(raw_default(reader)))
            self._hit(Happening.DEFAULTED, at.inside(f".{reader.name}", always=True), shown)
        for source in fields.elsewhere:
            self._compare(source, kept, at.inside(f".{source.candidate.name}", always=True))

    def _compare(self, source: Source, kept: dict[int, str], at: _At) -> None:
        """A field that the two readers have from different places, or both by default."""
        if source.was is source.now is None:
            one, two = raw_default(source.today), raw_default(source.candidate)
            if _as_bytes(one) != _as_bytes(two):
                self._hit(Happening.VALUE_CHANGED, at, _constantly(text_of(one), text_of(two)))
            return
        sides = ((source.today, source.was), (source.candidate, source.now))
        texts = [
            kept[id(writer)] if writer is not None else self.constant(raw_default(reader))
            for reader, writer in sides
        ]
        self.add(at.depth, f"if as_bytes({texts[0]}) != as_bytes({texts[1]}):")
        deeper = at._replace(depth=at.depth + 1, always=False)
        self._hit(Happening.VALUE_CHANGED, deeper, _both, f"({', '.join(texts)})")

    def _blocks(self, w: AvroType, t: Reader, c: Reader, at: _At, *, keyed: bool) -> None:
        n, outside = self.fresh("n"), at.depth - 2
        self.add(
            outside,
            f"{n} = COUNTS[b[i]]",
            f"if {n} is None: {n}, i = count_at(b, i)",
            "else: i += 1",
            f"while {n}:",
            # Only of items without bytes there may be more than there are bytes.
            f"    if {n} > len(b): no_more_than({n})",
            f"    for _ in range({n}):",
        )
        if keyed:
            self._leaf(_STRING, None, None, at)
        else:
            self.add(at.depth, "pass")
        self._nested(w, t, c, at)
        self.add(
            outside + 1,
            f"if b[i]: {n}, i = count_at(b, i)",
            "else:",
            "    i += 1",
            "    break",
        )

    def _enum(self, w: Enum, t: Reader, c: Reader, at: _At) -> None:
        symbols = symbol_table(w, _enum(t), _enum(c))
        many = len(w.symbols)
        if not symbols:
            known = bytes(not n & 1 and n < 0x80 and n >> 1 < many for n in range(256))
            self.add(
                at.depth,
                f"if {self.constant(known)}[b[i]]: i += 1",
                f"else: _, i = index_at(b, i, {many}, 'symbol')",
            )
            return
        n = self.fresh("n")
        self.add(
            at.depth,
            f"{n} = COUNTS[b[i]]",
            f"if {n} is None or {n} >= {many}: {n}, i = index_at(b, i, {many}, 'symbol')",
            "else: i += 1",
        )
        for k, happens in symbols.items():
            self.add(at.depth, f"if {n} == {k}:")
            deeper = at._replace(depth=at.depth + 1, always=False)
            if happens.fails:
                self._fail(deeper, f"{w.symbols[k]} is no symbol of the reader's {w.name}")
                continue
            for happening in happens.happenings:
                self._hit(happening, deeper, _both, self.constant(happens.readings))

    def _leaf(self, w: Primitive | Fixed, t: Reader, c: Reader, at: _At) -> None:
        leaf = leaf_of(w, t, c)
        if leaf.checks:
            self._checked_leaf(w, leaf, at)
        elif isinstance(w, Fixed):
            self.add(at.depth, f"i += {w.size}")
            self.add(at.depth, "if i > len(b): wrong_end(b, i)")
        else:
            text = w.kind == "string" and at.checked
            self.add(at.depth, *_PASS["text" if text else w.kind])

    def _checked_leaf(self, w: Primitive | Fixed, leaf: Leaf, at: _At) -> None:
        v = self.fresh()
        if w.kind in {"int", "long"}:
            self.add(
                at.depth,
                f"{v} = LONGS[b[i]]",
                f"if {v} is None: {v}, i = long_at(b, i)",
                "else: i += 1",
            )
        else:
            self.add(at.depth, f"{v}, i = raw_value({self.constant(w)}, b, i)")
            self.add(at.depth, "if i > len(b): wrong_end(b, i)")
        for check in leaf.checks:
            self.add(at.depth, f"if {check.text(v, self.constant)}:")
            deeper = at._replace(depth=at.depth + 1, always=False)
            if check.happening is Happening.FAILED:
                self._fail(deeper, check.why)
            else:
                self._hit(check.happening, deeper, leaf.show, v)


def _held(reader: Reader) -> Reader:
    """What an array or a map holds."""
    match reader:
        case Array():
            return reader.items
        case Map():
            return reader.values
        case _:
            return None


def _enum(reader: Reader) -> Enum | None:
    return reader if isinstance(reader, Enum) else None


def _first_branch(w: AvroType, union: Union) -> AvroType | str:
    """The first branch that takes it; else, in words, that there is none."""
    for branch in union.branches:
        if branch_mismatch(w, branch) is None:
            return branch
    return f"{describe(w)} is in no branch of the reader's {describe(union)}"


def _as_bytes(value: Any) -> Any:
    """Text and bytes are promoted to each other, and say the same then."""
    return value.encode() if isinstance(value, str) else value


def _nothing(_: Any) -> Shown:
    return Shown("", "")


def _both(raw: tuple[Any, Any]) -> Shown:
    return Shown(*map(text_of, raw))


def _constantly(today: str, candidate: str) -> Callable[[Any], Shown]:
    return lambda _: Shown(today, candidate)


_STRING: Final = Primitive("string")
_NUMBER: Final = ("if b[i] < 128: i += 1", "else: _, i = long_at(b, i)")
_SPAN: Final = (
    "s = i + 1",
    "n = COUNTS[b[i]]",
    "if n is None: s, i = span_at(b, i)",
    "else: i = s + n",
)
_PASS: Final[dict[str, tuple[str, ...]]] = {
    "null": ("pass",),
    "boolean": ("i += 1",),
    "int": _NUMBER,
    "long": _NUMBER,
    "float": ("i += 4",),
    "double": ("i += 8",),
    "bytes": _SPAN,
    "string": _SPAN,
    "text": (*_SPAN, "b[s:i].decode()"),
}
_CONSTANTS: Final[dict[str, Any]] = {
    "COUNTS": ONE_BYTE_COUNTS,
    "LONGS": ONE_BYTE_LONGS,
    "Unreadable": Unreadable,
    "as_bytes": _as_bytes,
    "count_at": count_at,
    "index_at": index_at,
    "long_at": long_at,
    "no_more_than": no_more_than,
    "raw_value": raw_value,
    "span_at": span_at,
    "wrong_end": wrong_end,
}
