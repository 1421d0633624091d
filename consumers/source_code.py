"""Source code as a state depends on it: what a fold was made by, to be put into a digest.

Careful rather than clever: whole modules count, so a changed comment makes a kept state useless
too, and a changed fold never passes for the same one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

_OURS: Final = ("consumers", "streams")
_IMPORT: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<source>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n]*)"
    r"|import[ \t]+(?P<modules>[^\n]*))",
    re.MULTILINE,
)
_NAME: Final = re.compile(r"[\w.]+")
_STANDARD: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def text_of(function: Any) -> str:
    """The source of the module that a function is from.

    Of one that was typed into an interpreter, or is built in: its name, and its instructions if it
    has any.
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    text = None if module is None else _source_of(module)
    if text is not None:
        return text
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(type(function)))
    return f"{name}\x00{_instructions(code)}" if isinstance(code, CodeType) else name


def digest_of_code(functions: Iterable[Any], modules: Iterable[str] = ()) -> str:
    """SHA-256, in hex, of these functions' and modules' sources and of all that they import.

    Of what is installed only our own packages are followed: what others' versions change is not
    seen here.
    """
    functions, found = tuple(functions), hashlib.sha256()
    for text in sorted({text_of(function) for function in functions}):
        found.update(hashlib.sha256(text.encode()).digest())
    begin = {*modules, *(getattr(function, "__module__", None) or "" for function in functions)}
    for name, text in sorted(_reached(begin).items()):
        found.update(name.encode() + b"\x00" + hashlib.sha256(text.encode()).digest())
    return found.hexdigest()


def _reached(names: set[str]) -> dict[str, str]:
    """Sources of the loaded modules of these names, and of what they import, by name."""
    found: dict[str, str] = {}
    ahead = set(names)
    while ahead:
        name = ahead.pop()
        module = sys.modules.get(name)
        if name in found or module is None or not _is_followed(name, module):
            continue
        text = _source_of(module)
        if text is None:
            continue
        found[name] = text
        ahead |= _imports(text, name, is_package=hasattr(module, "__path__"))
    return found


def _imports(text: str, name: str, *, is_package: bool) -> set[str]:
    """Names of what may be modules that a source text imports."""
    package = name if is_package else name.rpartition(".")[0]
    found: set[str] = set()
    for line in _IMPORT.finditer(text):
        if line["modules"] is not None:
            found.update(_NAME.findall(line["modules"]))
            continue
        try:
            source = importlib.util.resolve_name(line["source"], package)
        except ImportError:  # it climbs out of its package: no import that works
            continue
        found.add(source)
        found.update(f"{source}.{one}" for one in _NAME.findall(line["names"]))
    return found


def _is_followed(name: str, module: ModuleType) -> bool:
    if name.partition(".")[0] in _OURS:
        return True
    file = getattr(module, "__file__", None)
    return not (
        file is None or file.startswith(_STANDARD) or _INSTALLED.intersection(Path(file).parts)
    )


def _source_of(module: ModuleType) -> str | None:
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        return None


def _instructions(code: CodeType) -> str:
    constants = (
        _instructions(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts
    )
    return f"{sys.version_info[:2]}{code.co_code.hex()}{code.co_names}{tuple(constants)}"
