"""The text of a watch: functions in Python that walk over one writer's records (see `watch`).

`b` is the bytes, `i` where the next value begins, `h` what hits are told to; `w`, `t` and `c` are
the writer's type, today's reader's and the candidate's. Nothing of a schema gets into the text but
through constants.
"""

from __future__ import annotations

from typing import Any, Final

from consumers.reviewing.raw_values import raw_default
from consumers.reviewing.record_fields import Source, fields_of
from consumers.reviewing.sites import Happening, text_of
from consumers.reviewing.watch_leaves import LeafText
from consumers.reviewing.watch_parts import (
    STRING,
    Reader,
    both,
    constantly,
    differ,
    first_branch,
    held,
    nothing,
)
from consumers.reviewing.watch_telling import Place
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

DEPTH_MAX: Final = 8
"""Levels of types within one function; deeper ones have functions of their own."""
INLINE_MAX: Final = 1_000
"""Records that are written out where they are met; then each kind has one function."""
SAME: Final = None
"""For a reader's type: nothing is asked of it here."""


class WatchText(LeafText):
    """The functions of one watch: `begin`, then a `place` after the other."""

    def __init__(self) -> None:
        super().__init__()
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
                self.fail(at, branch)
                return
            step = f"|{label(branch)}"
            if at.path.endswith(f"|{label(w)}"):
                step = "" if label(branch) == label(w) else f"→{label(branch)}"
            c, at = branch, at._replace(path=f"{at.path}{step}")
        if c is not None and branch_mismatch(w, c):
            self.fail(at, f"{describe(w)} was written, and {describe(c)} is no type to read it as")
            return
        if isinstance(t, Union):
            branch = first_branch(w, t)
            t = None if isinstance(branch, str) else branch
            self.mended(at, t)
        elif t is not None and branch_mismatch(w, t):
            t = None
            self.mended(at, t)
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
                self.enum(w, t, c, at)
            case Primitive() | Fixed():
                self.leaf(w, t, c, at)

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
            self.mended(at, None)
        if fields.fails:
            name, why = fields.fails
            self.fail(at.inside(f".{name}", always=True), why)
            return
        kept: dict[int, str] = {}
        for one in fields.stored:
            inner = at.inside(f".{one.name}", always=True)
            if one.is_compared:
                kept[id(one.field)] = variable = self.fresh()
                type_ = self.constant(one.field.type)
                self.add(at.depth, f"{variable}, _ = raw_value({type_}, b, i)")
            if one.appears:
                self.hit(Happening.APPEARED, inner, nothing)
            self._nested(one.field.type, one.today, one.candidate, inner)
        for reader, other in fields.defaulted:
            today = text_of(raw_default(other)) if other is not None else "–"
            shown = constantly(today, text_of(raw_default(reader)))
            self.hit(Happening.DEFAULTED, at.inside(f".{reader.name}", always=True), shown)
        for source in fields.elsewhere:
            self._compare(source, kept, at.inside(f".{source.candidate.name}", always=True))

    def _compare(self, source: Source, kept: dict[int, str], at: Place) -> None:
        """A field that the two readers have from different places, or both by default."""
        if source.was is source.now is None:
            one, two = raw_default(source.today), raw_default(source.candidate)
            if differ(one, two):
                self.hit(Happening.VALUE_CHANGED, at, constantly(text_of(one), text_of(two)))
            return
        sides = ((source.today, source.was), (source.candidate, source.now))
        texts = [
            kept[id(writer)] if writer is not None else self.constant(raw_default(reader))
            for reader, writer in sides
        ]
        self.add(at.depth, f"if differ({texts[0]}, {texts[1]}):")
        deeper = at._replace(depth=at.depth + 1, always=False)
        self.hit(Happening.VALUE_CHANGED, deeper, both, f"({', '.join(texts)})")

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
            self.leaf(STRING, None, None, at)
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
