"""The steps of a watch over values that hold no others: symbols, numbers, texts."""

from __future__ import annotations

from consumers.reviewing.leaves import Leaf, leaf_of, symbol_table
from consumers.reviewing.sites import Happening
from consumers.reviewing.watch_parts import PASS, Reader, both, enum_of
from consumers.reviewing.watch_telling import Place, TellingText
from streams.schemas.compatibility.model import Enum, Fixed, Primitive


class LeafText(TellingText):
    """A text with those steps."""

    def enum(self, w: Enum, t: Reader, c: Reader, at: Place) -> None:
        """The steps over a symbol."""
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
                self.fail(deeper, f"{w.symbols[k]} is no symbol of the reader's {w.name}")
                continue
            for happening in happens.happenings:
                self.hit(happening, deeper, both, self.constant(happens.readings))

    def leaf(self, w: Primitive | Fixed, t: Reader, c: Reader, at: Place) -> None:
        """The steps over a number, a text or bytes."""
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
                self.fail(deeper, check.why)
            else:
                self.hit(check.happening, deeper, leaf.show, v)
