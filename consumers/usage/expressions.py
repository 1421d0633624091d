"""Expressions: what one stands for, and what it touches of a payload on the way."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from consumers.usage.narrowing import Narrowing, Types
from consumers.usage.sources import MISSING, Source, member, source_of
from consumers.usage.symbols import NOTHING, Is, Symbol, Symbols, attribute, item

if TYPE_CHECKING:
    from consumers.usage.fields import Walk

_PASS_ON: Final = frozenset({"list", "tuple", "sorted", "reversed", "iter", "enumerate", "set"})
"""Built-ins whose items are those of their argument."""
_ASK: Final = frozenset({"len", "bool"})
"""Built-ins that do not look into their argument."""


class Expressions(ast.NodeVisitor):
    """The expressions of one function under way."""

    def __init__(
        self, walk: Walk, source: Source, given: Mapping[str, Symbols], types: Types
    ) -> None:
        self._walk = walk
        self._source = source
        self._free = source.names
        self._bound: dict[str, Symbols] = dict(given)
        arguments = source.syntax.args
        if source.owner is not None:
            first = (*arguments.posonlyargs, *arguments.args)[0].arg
            self._bound[first] = frozenset({Symbol(Is.OBJECT, value=source.owner)})
        self._types = types
        self._narrowing = Narrowing(walk.kinds, self.value, self._known)

    def use(self, node: ast.expr) -> None:
        """An expression whose value goes where nobody follows it."""
        self._note(self.value(node))

    def ask(self, node: ast.expr) -> None:
        """An expression that is only asked whether it is true, or there."""
        self._note(self.value(node), itself=True)

    def _note(self, symbols: Symbols, *, itself: bool = False) -> None:
        for symbol in symbols:
            self._walk.touched.note(self._types, symbol, itself=itself)

    def value(self, node: ast.expr) -> Symbols:
        """What an expression stands for; what it touches on the way is noted."""
        match node:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=owner, attr=name):
                found = self.value(owner)
                return NOTHING.union(*(self._attribute(one, name) for one in found))
            case ast.Subscript(value=owner, slice=key):
                by = self._known(key)
                return self._picked(self.value(owner), by, NOTHING if by else self.value(key))
            case ast.Call():
                return self._call(node)
            case _:
                return self._composed(node)

    def _composed(self, node: ast.expr) -> Symbols:
        match node:
            case ast.Await(value=inner) | ast.Starred(value=inner) | ast.YieldFrom(value=inner):
                return self.value(inner)
            case ast.NamedExpr(target=target, value=inner):
                self._bound[target.id] = self.value(inner)
                return self._bound[target.id]
            case ast.BoolOp(values=values):
                return self._bool(node, values)
            case ast.IfExp():
                return self._either(node)
            case (
                ast.UnaryOp(op=ast.Not(), operand=asked)
                | ast.Compare(
                    left=asked,
                    ops=[ast.Is() | ast.IsNot()],
                    comparators=[ast.Constant(value=None)],
                )
            ):
                self.ask(asked)
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]):
                return self._contained(left, right)
            case ast.Lambda(body=body):
                self.use(body)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node)
            case _:
                for child in ast.iter_child_nodes(node):
                    self.visit(child)
        return NOTHING

    def _name(self, name: str) -> Symbols:
        if name in self._bound:
            return self._bound[name]
        if name in self._free:
            return frozenset({Symbol(Is.OBJECT, value=self._free[name])})
        return NOTHING

    def _attribute(self, symbol: Symbol, name: str) -> Symbols:
        if symbol.what is Is.OBJECT:
            found = member(symbol.value, name)
            return NOTHING if found is MISSING else frozenset({Symbol(Is.OBJECT, value=found)})
        return attribute(symbol, name)

    def _picked(self, owners: Symbols, key: Any, by: Symbols = NOTHING) -> Symbols:
        """What a key picks: `key` where it is known, else what it stands for is `by`."""
        if any(one.what is Is.TYPE for one in by):
            tables = (one.value for one in owners if one.what is Is.OBJECT)
            return frozenset(
                Symbol(Is.BY_TYPE, value=one) for one in tables if isinstance(one, Mapping)
            )
        self._note(by)
        if not isinstance(key, str):  # computed: any field
            self._note(frozenset(one for one in owners if not one.path))
        return NOTHING.union(*(item(one, key) for one in owners))

    def _either(self, node: ast.IfExp) -> Symbols:
        self.ask(node.test)
        left = self._narrowing.left(node.test, self._types)
        before, found = self._types, NOTHING
        for types, one in ((left.true, node.body), (left.false, node.orelse)):
            self._types = types
            found |= self.value(one) if types else NOTHING
        self._types = before
        return found

    def _bool(self, node: ast.BoolOp, values: list[ast.expr]) -> Symbols:
        """`a and b`: `b` only where `a` holds, so for its types alone."""
        before, found = self._types, NOTHING
        for value in values:
            found |= self.value(value)
            left = self._narrowing.left(value, self._types)
            self._types = left.true if isinstance(node.op, ast.And) else left.false
        self._types = before
        return found

    def _contained(self, left: ast.expr, right: ast.expr) -> Symbols:
        key, where = self._known(left), self.value(right)
        if isinstance(key, str) and any(one.what is Is.PAYLOAD for one in where):
            # A key of a map or a field, else a member of what is there.
            self._note(self._picked(where, key))
            self._note(frozenset(one for one in where if one.path))
        else:
            self.use(left)
            self._note(where)
        return NOTHING

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> Symbols:
        before = self._types
        for one in node.generators:
            self._bind(one.target, self._items(one.iter))
            for test in one.ifs:
                self.use(test)
                self._types = self._narrowing.left(test, self._types).true
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.use(part)
        self._types = before
        return NOTHING

    def _items(self, node: ast.expr) -> Symbols:
        """What one turn of a loop over an expression stands for."""
        found = self.value(node)
        for one in found:  # the fields of a payload, or as many items as there are
            self._note(frozenset({one}), itself=bool(one.path))
        return NOTHING.union(*(item(one) for one in found))

    def _bind(self, target: ast.expr, symbols: Symbols) -> None:
        if isinstance(target, ast.Name):
            self._bound[target.id] = symbols
        elif isinstance(target, ast.Tuple | ast.List):
            for n, one in enumerate(target.elts):
                parts = (item(it, n) if it.what is Is.ENTRY else {it} for it in symbols)
                self._bind(one, NOTHING.union(*parts))

    # --- calls -------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> Symbols:
        if isinstance(node.func, ast.Attribute):
            owners = self.value(node.func.value)
            if any(one.what is not Is.OBJECT or isinstance(one.value, Mapping) for one in owners):
                return self._method(node, owners, node.func.attr)
        callees, (given, named) = self.value(node.func), self._arguments(node)
        everything = [*given, *named.values()]
        if not any(everything):
            return NOTHING
        name = ast.unparse(node.func)
        if not callees and hasattr(builtins, name):
            if name in _PASS_ON:
                return NOTHING.union(*everything)
            self._note(NOTHING.union(*everything), itself=name in _ASK)
            return NOTHING
        results = [self._handed(one, node, name, given, named) for one in callees]
        if not callees:
            self._lose(everything, node, name)
        return NOTHING.union(*results)

    def _method(self, node: ast.Call, owners: Symbols, name: str) -> Symbols:
        """A method of a payload's part, of what carries one, or of a table."""
        given, named = self._arguments(node)
        key = self._known(node.args[0]) if node.args else None
        if name == "get":
            for symbols in given[1:]:
                self._note(symbols)
            return self._picked(owners, key, given[0] if given and key is None else NOTHING)
        for symbols in (*given, *named.values()):
            self._note(symbols)
        if name in {"items", "values", "keys"}:
            self._note(owners)
            return owners
        if any(one.what is Is.PAYLOAD for one in owners):
            self._note(owners)
        return NOTHING

    def _arguments(self, node: ast.Call) -> tuple[list[Symbols], dict[str, Symbols]]:
        given = [self.value(one) for one in node.args]
        named = {one.arg: self.value(one.value) for one in node.keywords if one.arg}
        for one in node.keywords:
            if one.arg is None:
                self.use(one.value)
        return given, named

    def _handed(
        self,
        callee: Symbol,
        node: ast.Call,
        name: str,
        given: list[Symbols],
        named: Mapping[str, Symbols],
    ) -> Symbols:
        if callee.what is Is.BY_TYPE:
            found = NOTHING
            for key, function in callee.value.items():
                types = self._types & {str(key)}
                if types and (source := source_of(function)):
                    found |= self._into(source, given, named, types)
            return found
        source = source_of(callee.value) if callable(callee.value) else None
        if source is not None and not isinstance(callee.value, type):
            self._lose(_left_over(source, given, named), node, name)
            return self._into(source, given, named, self._types)
        self._lose([*given, *named.values()], node, name)
        return NOTHING

    def _into(
        self, source: Source, given: list[Symbols], named: Mapping[str, Symbols], types: Types
    ) -> Symbols:
        bound = dict(zip(source.parameters, given, strict=False)) | dict(named)
        return self._walk.through(source, {k: v for k, v in bound.items() if v}, types)

    def _lose(self, given: Iterable[Symbols], node: ast.expr, name: str) -> None:
        self._walk.lose(self._types, given, name, f"{self._source.file}:{node.lineno}")

    # --- values ------------------------------------------------------------------------------

    def _known(self, node: ast.expr) -> Any:
        """The value of an expression that is known without running anything, else None."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Set(elts=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                return [self._known(one) for one in parts]
            case ast.Name() | ast.Attribute():
                values = [one.value for one in self.value(node) if one.what is Is.OBJECT]
                return values[0] if len(values) == 1 else None
        return None


def _left_over(source: Source, given: list[Symbols], named: Mapping[str, Symbols]) -> list[Symbols]:
    """Arguments that no parameter of a function has by name: `*values` and `**named` take them."""
    keywords = {one.arg for one in source.syntax.args.kwonlyargs} | set(source.parameters)
    return [
        *given[len(source.parameters) :],
        *(symbols for name, symbols in named.items() if name not in keywords),
    ]
