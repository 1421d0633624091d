"""The text of a watch: functions in Python that walk over one writer's records (see `watch`).

`b` is the bytes, `i` where the next value begins, `h` what hits are told to; `w`, `t` and `c` are
the writer's type, today's reader's and the candidate's. Nothing of a schema gets into the text but
through constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from consumers.reviewing.leaves import Leaf, leaf_of, symbol_table
from consumers.reviewing.raw_values import raw_default
from consumers.reviewing.record_fields import Source, fields_of
from consumers.reviewing.sites import Happening, Shown, Site, text_of
from consumers.reviewing.watch_parts import (
    CONSTANTS,
    PASS,
    STRING,
    Reader,
    both,
    constantly,
    differ,
    enum_of,
    first_branch,
    held,
    nothing,
)
from streams.schemas.compatibility.matching import branch_mismatch
from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Union,
    describe,
    label,
)
from streams.schemas.function_text import FunctionText

DEPTH_MAX: Final = 8
"""Levels of types within one function; deeper ones have functions of their own."""
INLINE_MAX: Final = 1_000
"""Records that are written out where they are met; then each kind has one function."""
SAME: Final = None
"""For a reader's type: nothing is asked of it here."""


class Place(NamedTuple):
    """Where in the schemas, and in the text."""

    path: str
    depth: int
    always: bool = False
    """Whether every record comes by here."""
    checked: bool = True
    """Whether text is checked to be text."""
    open: tuple[tuple[int, int, int], ...] = ()
    """The records around it."""

    def inside(self, step: str, deeper: int = 0, *, always: bool = False) -> Place:
        """Further down both."""
        return self._replace(
            path=f"{self.path}{step}", depth=self.depth + deeper, always=self.always and always
        )


class WatchText(FunctionText):
    """The functions of one watch: `begin`, then a `place` after the other."""

    def __init__(self) -> None:
        super().__init__(CONSTANTS)
        self.sites: dict[tuple[Happening, str], Site] = {}
        self.always: dict[int, None] = {}
        self._functions: dict[tuple[int, int, int], str] = {}
        self._waiting: list[tuple[str, AvroType, Reader, Reader, Place]] = []
        self._inlined = 0

    def walk(self) -> Any:
        """The function, with those that it calls."""
        while self._waiting:
            name, w, t, c, at = self._waiting.pop()
            self.begin(f"{name}(b, i, h)")
            self.place(w, t, c, at)
            self.add(1, "return i")
        return self.compiled("walk")

    def place(self, w: AvroType, t: Reader, c: Reader, at: Place) -> None:
        """The steps over one of the writer's values, as two readers' types take it."""
        if isinstance(w, Union):
            self._union(w, t, c, at)
            return
        if isinstance(c, Union):
            branch = first_branch(w, c)
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
            branch = first_branch(w, t)
            t = None if isinstance(branch, str) else branch
            self._mended(at, t)
        elif t is not None and branch_mismatch(w, t):
            t = None
            self._mended(at, t)
        self._same_kinds(w, t, c, at)

    def _same_kinds(self, w: AvroType, t: Reader, c: Reader, at: Place) -> None:
        match w:
            case Record():
                assert t is None or isinstance(t, Record)
                assert c is None or isinstance(c, Record)
                self._enter(w, t, c, at)
            case Array():
                self._blocks(w.items, held(t), held(c), at.inside("[]", 2), keyed=False)
            case Map():
                self._blocks(w.values, held(t), held(c), at.inside("{}", 2), keyed=True)
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
        self, happening: Happening, at: Place, show: Callable[[Any], Shown], raw: str = "None"
    ) -> None:
        site = self._site(happening, at.path, show)
        if at.always and raw == "None":
            self.always[site] = None
        else:
            self.add(at.depth, f"h(({site}, {raw}))")

    def _fail(self, at: Place, why: str) -> None:
        site = self._site(Happening.FAILED, at.path, nothing)
        self.add(at.depth, f"raise Unreadable({site}, {self.constant(why)})")

    def _mended(self, at: Place, t: Reader) -> None:
        if t is None:
            self._hit(Happening.MENDED, at, nothing)

    # -- types --------------------------------------------------------------------------------

    def _union(self, w: Union, t: Reader, c: Reader, at: Place) -> None:
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

    def _optional(self, w: Union, t: Reader, c: Reader, at: Place) -> bool:
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

    def _branch(self, k: int, w: Union, t: Reader, c: Reader, at: Place, deeper: int) -> None:
        # Who reads as it was written looks for no branch.
        branch = w.branches[k]
        today, candidate = (branch if one is w else one for one in (t, c))
        self._nested(branch, today, candidate, at.inside(f"|{label(branch)}", deeper))

    def _nested(self, w: AvroType, t: Reader, c: Reader, at: Place) -> None:
        """Within a branch or a loop: there is only so much room for those in one function."""
        if at.depth > DEPTH_MAX and not isinstance(w, (Primitive, Fixed)):
            self._call(w, t, c, at)
        else:
            self.place(w, t, c, at)

    def _call(self, w: AvroType, t: Reader, c: Reader, at: Place) -> None:
        key = id(w), id(t), id(c)
        name = self._functions.get(key)
        if name is None:
            name = self._functions[key] = self.fresh("walk")
            self._waiting.append((name, w, t, c, at._replace(depth=1, always=False, open=())))
        self.add(at.depth, f"i = {name}(b, i, h)")

    def _enter(self, w: Record, t: Record | None, c: Record | None, at: Place) -> None:
        key = id(w), id(t), id(c)
        self._inlined += 1
        if key in at.open or (at.open and self._inlined > INLINE_MAX):
            # What a record within itself always does is only always done below it.
            self._call(w, t, c, at)
        else:
            self._record(w, t, c, at._replace(open=(*at.open, key)))

    def _record(self, w: Record, t: Record | None, c: Record | None, at: Place) -> None:
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
                self._hit(Happening.APPEARED, inner, nothing)
            self._nested(one.field.type, one.today, one.candidate, inner)
        for reader, other in fields.defaulted:
            today = text_of(raw_default(other)) if other is not None else "–"
            shown = constantly(today, text_of(raw_default(reader)))
            self._hit(Happening.DEFAULTED, at.inside(f".{reader.name}", always=True), shown)
        for source in fields.elsewhere:
            self._compare(source, kept, at.inside(f".{source.candidate.name}", always=True))

    def _compare(self, source: Source, kept: dict[int, str], at: Place) -> None:
        """A field that the two readers have from different places, or both by default."""
        if source.was is source.now is None:
            one, two = raw_default(source.today), raw_default(source.candidate)
            if differ(one, two):
                self._hit(Happening.VALUE_CHANGED, at, constantly(text_of(one), text_of(two)))
            return
        sides = ((source.today, source.was), (source.candidate, source.now))
        texts = [
            kept[id(writer)] if writer is not None else self.constant(raw_default(reader))
            for reader, writer in sides
        ]
        self.add(at.depth, f"if differ({texts[0]}, {texts[1]}):")
        deeper = at._replace(depth=at.depth + 1, always=False)
        self._hit(Happening.VALUE_CHANGED, deeper, both, f"({', '.join(texts)})")

    def _blocks(self, w: AvroType, t: Reader, c: Reader, at: Place, *, keyed: bool) -> None:
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
            self._leaf(STRING, None, None, at)
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

    def _enum(self, w: Enum, t: Reader, c: Reader, at: Place) -> None:
        symbols = symbol_table(w, enum_of(t), enum_of(c))
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
                self._hit(happening, deeper, both, self.constant(happens.readings))

    def _leaf(self, w: Primitive | Fixed, t: Reader, c: Reader, at: Place) -> None:
        leaf = leaf_of(w, t, c)
        if leaf.checks:
            self._checked_leaf(w, leaf, at)
        elif isinstance(w, Fixed):
            self.add(at.depth, f"i += {w.size}")
            self.add(at.depth, "if i > len(b): wrong_end(b, i)")
        else:
            text = w.kind == "string" and at.checked
            self.add(at.depth, *PASS["text" if text else w.kind])

    def _checked_leaf(self, w: Primitive | Fixed, leaf: Leaf, at: Place) -> None:
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
