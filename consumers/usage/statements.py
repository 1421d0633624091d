"""Statements: what names come to stand for, and which types are left where."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from consumers.usage.expressions import Expressions
from consumers.usage.narrowing import Left, Types
from consumers.usage.sources import Source
from consumers.usage.symbols import NOTHING, Symbol, Symbols

if TYPE_CHECKING:
    from consumers.usage.fields import Walk

_ENDS: Final = (ast.Return, ast.Raise, ast.Continue, ast.Break)


class Statements(Expressions):
    """The statements of one function under way."""

    def __init__(
        self, walk: Walk, source: Source, given: Mapping[str, Symbols], types: Types
    ) -> None:
        super().__init__(walk, source, given, types)
        self._returned: set[Symbol] = set()

    def run(self) -> Symbols:
        """Walk all of it; gives what the function returns."""
        body = self._source.syntax.body
        if isinstance(body, ast.expr):
            return self.value(body)
        self._block(body)
        return frozenset(self._returned)

    def visit(self, node: ast.AST) -> None:
        """Statements by their kind; what is only an expression is used."""
        if isinstance(node, ast.expr):
            self.use(node)
        elif step := self._steps.get(type(node)):
            step(self, node)
        else:
            super().generic_visit(node)

    def _block(self, statements: Iterable[ast.stmt]) -> None:
        before = self._types
        for statement in statements:
            self.visit(statement)
        self._types = before

    def _branches(self, left: Left, body: list[ast.stmt], other: list[ast.stmt]) -> None:
        bound = dict(self._bound)
        for types, block in ((left.true, body), (left.false, other)):
            self._types = types
            if types:
                self._block(block)
            for name, symbols in bound.items():  # it may have stayed as it was
                self._bound[name] = self._bound.get(name, NOTHING) | symbols
        self._types = left.true | left.false
        if body and isinstance(body[-1], _ENDS):
            self._types = left.false
        elif other and isinstance(other[-1], _ENDS):
            self._types = left.true

    def _if(self, node: ast.If) -> None:
        self.ask(node.test)
        self._branches(self._narrowing.left(node.test, self._types), node.body, node.orelse)

    def _match(self, node: ast.Match) -> None:
        subject, rest = self.value(node.subject), self._types
        for case in node.cases:
            types = self._matched(subject, case.pattern, rest)
            self._types = types
            if types:
                if case.guard is not None:
                    self.use(case.guard)
                self._block(case.body)
            if case.guard is None and isinstance(case.pattern, ast.MatchValue | ast.MatchOr):
                rest -= types
        self._types = rest

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self._bind(node.target, self._items(node.iter))
        self._block([*node.body, *node.orelse])

    def _while(self, node: ast.While) -> None:
        self.ask(node.test)
        self._block([*node.body, *node.orelse])

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        for one in node.items:
            self.use(one.context_expr)
        self._block(node.body)

    def _assignment(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target, node.value)

    def _annotated(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, node.value)

    def _return(self, node: ast.Return) -> None:
        if node.value is not None:
            self._returned |= self.value(node.value)

    def _closure(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._block(node.body)  # a closure: it sees what this function sees

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, part in zip(target.elts, value.elts, strict=False):
                self._assign(one, part)
        elif isinstance(target, ast.Name):
            self._bound[target.id] = self.value(value)
        elif isinstance(target, ast.Tuple):
            self._bind(target, self._items(value))
        else:
            self.use(value)
            self.use(target)

    def _matched(self, subject: Symbols, pattern: ast.pattern, types: Types) -> Types:
        """The types for which a pattern may match; names in it are bound."""
        match pattern:
            case ast.MatchValue(value=value):
                left = self._narrowing.of_value(subject, self._known(value), types)
                return types if left is None else left
            case ast.MatchOr(patterns=patterns):
                found = (self._matched(subject, one, types) for one in patterns)
                return frozenset[str]().union(*found)
            case ast.MatchMapping(keys=keys, patterns=patterns, rest=rest):
                for key, one in zip(keys, patterns, strict=True):
                    inner = self._picked(subject, self._known(key))
                    self._matched(inner, one, types)
                if rest is not None:
                    self._note(subject)
            case ast.MatchAs(pattern=inner, name=name):
                if inner is not None:
                    types = self._matched(subject, inner, types)
                if name is not None:
                    self._bound[name] = subject
            case _:
                self._note(subject)
        return types

    # What is not here is walked for the expressions and statements in it.
    _steps: ClassVar[Mapping[type[ast.AST], Callable[[Statements, Any], None]]] = {
        ast.If: _if,
        ast.Match: _match,
        ast.For: _for,
        ast.AsyncFor: _for,
        ast.While: _while,
        ast.With: _with,
        ast.AsyncWith: _with,
        ast.Assign: _assignment,
        ast.AnnAssign: _annotated,
        ast.Return: _return,
        ast.FunctionDef: _closure,
        ast.AsyncFunctionDef: _closure,
    }
