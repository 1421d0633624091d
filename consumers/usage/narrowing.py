"""Narrowing: which payload types a condition leaves, where it holds and where it does not.

    if envelope.type == "acme.order.Paid":        that type / all others
    if envelope.kind is Kind.TASK_RESULT:         types of that kind / all others
    if envelope.type not in TYPES:                all others / these

Types are of a kind as the catalogue has them: a sender may name another kind.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from consumers.usage.symbols import Is, Symbols

Types = frozenset[str]


class Left(NamedTuple):
    """The types where a condition holds, and where it does not."""

    true: Types
    false: Types


class Narrowing:
    """Conditions on the type at hand, over all types that there are."""

    def __init__(
        self,
        kinds: Mapping[str, str],
        stands_for: Callable[[ast.expr], Symbols],
        value_of: Callable[[ast.expr], Any],
    ) -> None:
        self._kinds = kinds
        self._stands_for = stands_for
        self._value_of = value_of
        """The value of an expression that is known without running anything, else None."""

    def left(self, test: ast.expr, types: Types) -> Left:
        """What a condition leaves of these types: all of them, where it says nothing of types."""
        match test:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                found = self.left(operand, types)
                return Left(found.false, found.true)
            case ast.BoolOp(op=ast.And(), values=values):
                true, false = types, frozenset[str]()
                for value in values:
                    found = self.left(value, true)
                    true, false = found.true, false | found.false
                return Left(true, false)
            case ast.BoolOp(op=ast.Or(), values=values):
                true, false = frozenset[str](), types
                for value in values:
                    found = self.left(value, false)
                    true, false = true | found.true, found.false
                return Left(true, false)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compared(left, op, right, types)
        return Left(types, types)

    def of_value(self, subject: Symbols, value: Any, types: Types) -> Types | None:
        """The types for which a type or a kind has this value; None if that is not known."""
        whats = {one.what for one in subject}
        if Is.TYPE in whats and isinstance(value, str):
            return types & {str(value)}
        if Is.KIND in whats and isinstance(value, str):
            return frozenset(one for one in types if self._kinds.get(one) == str(value))
        return None

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr, types: Types) -> Left:
        subject, value = self._stands_for(left), self._value_of(right)
        if isinstance(op, ast.Eq | ast.Is | ast.NotEq | ast.IsNot):
            values: Iterable[Any] = [value]
        elif isinstance(op, ast.In | ast.NotIn) and isinstance(value, Iterable):
            values = [] if isinstance(value, str) else list(value)
        else:
            return Left(types, types)
        found = [self.of_value(subject, one, types) for one in values]
        if not found or None in found:
            return Left(types, types)
        true = frozenset[str]().union(*(one for one in found if one is not None))
        if isinstance(op, ast.NotEq | ast.IsNot | ast.NotIn):
            return Left(types - true, true)
        return Left(true, types - true)
