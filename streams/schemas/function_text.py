"""Function text: Python source as it grows, and the values that it refers to by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import CodeType
from typing import Any, Final

_TEXTS_MAX: Final = 512


class FunctionText:
    """Functions in the making: lines, names that nothing else has, and constants."""

    def __init__(self, constants: Mapping[str, Any]) -> None:
        self._lines: list[str] = []
        self._constants = dict(constants)
        self._fresh = 0

    def begin(self, signature: str) -> None:
        """The head of a function."""
        self._lines.append(f"def {signature}:")

    def add(self, depth: int, *lines: str) -> None:
        """Lines at a depth of indentation."""
        self._lines += ["    " * depth + line for line in lines]

    def fresh(self, kind: str = "v") -> str:
        """A name that nothing else has."""
        self._fresh += 1
        return f"{kind}{self._fresh}"

    def constant(self, value: Any) -> str:
        """The name under which the text has a value."""
        name = self.fresh("C")
        self._constants[name] = value
        return name

    def compiled(self, name: str) -> Any:
        """The function of this name, after everything was added."""
        namespace = dict(self._constants)
        exec(_compiled("\n".join(self._lines)), namespace)  # noqa: S102 - the text is ours alone
        return namespace[name]


@lru_cache(maxsize=_TEXTS_MAX)
def _compiled(text: str) -> CodeType:
    """Schemas that differ in nothing but names share their code."""
    return compile(text, "<schema>", "exec")
