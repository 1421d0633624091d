"""Writers: where envelopes of a payload type are made, as far as the source says the type."""

from __future__ import annotations

import ast
import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

import consumers
import streams
from consumers.usage.sources import shown_path
from streams.envelope import Envelope

_ENVELOPE: Final = Envelope.__name__
_PACKAGES: Final = (streams, consumers)
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Writer(msgspec.Struct, frozen=True):
    """One place where envelopes of a type are made."""

    type: str
    function: str
    """Name of the function it is in; empty at the top of a module."""
    module: str
    place: str
    """`file:line`."""


def writers_in(modules: Iterable[str]) -> tuple[Writer, ...]:
    """The writers in these loaded modules, and in all modules of agentlog.

    `Envelope(type=…)` is found where the type is a text, or a name that stands for one; and where
    it is a parameter, in the calls of that function from the same module.
    """
    found = {writer for name in sorted({*modules, *_ours()}) for writer in _in_module(name)}
    return tuple(sorted(found, key=lambda one: (one.type, one.place)))


def _ours() -> Iterator[str]:
    """Our modules that may make envelopes, loaded."""
    for package in _PACKAGES:
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            name = ".".join((package.__name__, *path.relative_to(root).with_suffix("").parts))
            if f"{_ENVELOPE}(" in path.read_text(encoding="utf-8"):
                with contextlib.suppress(ImportError):  # an extra that is not installed
                    importlib.import_module(name)
                    yield name


def _in_module(name: str) -> Iterator[Writer]:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or file is None or not file.endswith(".py"):
        return
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    makers = dict(_makers(tree))
    for function, call in _calls(tree, ""):
        for node in _types_of(call, makers):
            type_name = _text(node, module)
            if type_name:
                place = f"{shown_path(Path(file))}:{call.lineno}"
                yield Writer(type_name, function, name, place)


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
    """All calls, each with the function that it is in."""
    if isinstance(node, Function | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
    if isinstance(node, ast.Call):
        yield function, node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, function)


def _makers(tree: ast.AST) -> Iterator[tuple[str, tuple[int, str]]]:
    """Functions that take the type as a parameter: which one that is, by place and by name."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
            for _, call in _calls(node, ""):
                for made in _types_of(call, {}):
                    if isinstance(made, ast.Name) and made.id in names:
                        is_method = names[0] in {"self", "cls"}
                        yield node.name, (names.index(made.id) - is_method, made.id)


def _types_of(call: ast.Call, makers: Mapping[str, tuple[int, str]]) -> Iterator[ast.expr]:
    """What a call says that the type of its envelope is."""
    called = ast.unparse(call.func).rpartition(".")[2]
    place, name = (-1, "type") if called == _ENVELOPE else makers.get(called, (-1, ""))
    if 0 <= place < len(call.args):
        yield call.args[place]
    yield from (keyword.value for keyword in call.keywords if name and keyword.arg == name)


def _text(node: ast.expr, module: ModuleType) -> str:
    found: Any = None
    if isinstance(node, ast.Constant):
        found = node.value
    elif isinstance(node, ast.Name):
        found = getattr(module, node.id, None)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        found = getattr(getattr(module, node.value.id, None), node.attr, None)
    return found if isinstance(found, str) else ""
