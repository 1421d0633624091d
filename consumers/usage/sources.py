"""Sources: a function's syntax, and what the names in it stand for. Nothing of it is run."""

from __future__ import annotations

import ast
import inspect
import sysconfig
import textwrap
from collections.abc import Callable, Mapping
from enum import EnumType
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Final, NamedTuple

Syntax = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
MISSING: Final = object()
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_STANDARD: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


class Source(NamedTuple):
    """A function that can be read."""

    function: Any
    """A `FunctionType`: under that name a type checker takes it for a method."""
    syntax: Syntax
    owner: Any = None
    """What it is a method of."""

    @property
    def file(self) -> str:
        """Its file, from the current folder where it is below that."""
        return str(shown_path(Path(self.function.__code__.co_filename)))

    @property
    def place(self) -> str:
        """`file:line`."""
        return place_of(self.function)

    @property
    def parameters(self) -> list[str]:
        """Names of its parameters, `self` left out."""
        arguments = self.syntax.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
        return names[1:] if self.owner is not None else names

    @property
    def names(self) -> Mapping[str, Any]:
        """What its free names stand for."""
        found = dict(self.function.__globals__)
        cells = zip(
            self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True
        )
        for name, cell in cells:
            try:
                found[name] = cell.cell_contents
            except ValueError:  # not bound yet
                continue
        return found


def source_of(function: Callable[..., Any]) -> Source | None:
    """The source of a function or a method; None if there is none, or it is somebody else's."""
    owner = None
    unwrapped: Any = inspect.unwrap(function)
    if isinstance(unwrapped, MethodType):
        owner, unwrapped = unwrapped.__self__, unwrapped.__func__
    if not isinstance(unwrapped, FunctionType) or _is_foreign(unwrapped):
        return None
    found: FunctionType = unwrapped
    try:
        lines, first = inspect.getsourcelines(found)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    ast.increment_lineno(tree, first - 1)
    wanted = ast.Lambda if found.__name__ == "<lambda>" else (ast.FunctionDef, ast.AsyncFunctionDef)
    syntax = [node for node in ast.walk(tree) if isinstance(node, wanted)]
    if not syntax or (wanted is ast.Lambda and len(syntax) > 1):
        return None
    return Source(found, syntax[0], owner)


def member(owner: Any, name: str) -> Any:
    """An attribute as it stands, without running a property; `MISSING` if it has none."""
    if isinstance(owner, EnumType):
        return owner.__members__.get(name, MISSING)
    found = inspect.getattr_static(owner, name, MISSING)
    if isinstance(found, staticmethod):
        return found.__func__
    if isinstance(found, classmethod):
        return MethodType(found.__func__, owner if isinstance(owner, type) else type(owner))
    if isinstance(found, FunctionType) and not isinstance(owner, type):
        held = name in getattr(owner, "__dict__", {}) or inspect.ismodule(owner)
        return found if held else MethodType(found, owner)
    if found is MISSING or isinstance(found, property) or inspect.ismemberdescriptor(found):
        return MISSING
    return found


def place_of(function: Any) -> str:
    """`file:line` of a function, from the current folder where it is below that."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    return f"{shown_path(Path(code.co_filename))}:{code.co_firstlineno}"


def shown_path(path: Path) -> Path:
    """A path from the current folder, or from the folder of packages that it is installed in."""
    path = path.resolve()
    roots = (Path.cwd(), Path(__file__).resolve().parents[2])
    return next((path.relative_to(one) for one in roots if path.is_relative_to(one)), path)


def _is_foreign(function: FunctionType) -> bool:
    if function.__module__.partition(".")[0] in {"streams", "consumers"}:
        return False
    file = function.__code__.co_filename
    return file.startswith(_STANDARD) or bool(_INSTALLED.intersection(Path(file).parts))
