"""Writers: where envelopes of a payload type are made, as far as the source says the type."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from consumers.usage.sources import shown_path
from streams.envelope import Envelope

_ENVELOPE: Final = Envelope.__name__
PACKAGES: Final = ("streams", "consumers")
"""Packages that ship with agentlog."""


class Writer(msgspec.Struct, frozen=True):
    """One place where envelopes of a type are made."""

    type: str
    function: str
    """Name of the function it is in; empty at the top of a module."""
    module: str
    place: str
    """`file:line`."""


def writers_in(modules: Iterable[str]) -> tuple[Writer, ...]:
    """The writers in these loaded modules, and in all modules of agentlog that are loaded.

    `Envelope(type=…)` is found where the type is a text, or a name that stands for one.
    """
    names = {*modules, *(name for name in sys.modules if name.partition(".")[0] in PACKAGES)}
    found = {writer for name in sorted(names) for writer in _in_module(name)}
    return tuple(sorted(found, key=lambda one: (one.type, one.place)))


def _in_module(name: str) -> Iterator[Writer]:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or file is None or not file.endswith(".py"):
        return
    text = Path(file).read_text(encoding="utf-8")
    if _ENVELOPE not in text:
        return
    for function, call in _calls(ast.parse(text), ""):
        type_name = _type_of(call, module)
        if type_name:
            place = f"{shown_path(Path(file))}:{call.lineno}"
            yield Writer(type_name, function, name, place)


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == _ENVELOPE:
        yield function, node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, function)


def _type_of(call: ast.Call, module: ModuleType) -> str:
    for keyword in call.keywords:
        if keyword.arg == "type":
            return _text(keyword.value, module)
    return ""


def _text(node: ast.expr, module: ModuleType) -> str:
    found: Any = None
    if isinstance(node, ast.Constant):
        found = node.value
    elif isinstance(node, ast.Name):
        found = getattr(module, node.id, None)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        found = getattr(getattr(module, node.value.id, None), node.attr, None)
    return found if isinstance(found, str) else ""
