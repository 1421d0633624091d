"""`MODULE:NAME` references: how a command line names an app or a projection."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TypeVar

from streams.errors import ConfigurationError

T = TypeVar("T")


def load_reference(reference: str, kind: type[T] | None = None) -> T:
    """The object that `MODULE:NAME` names; the current folder is searched first.

    `kind` is the class it must be an instance of. Raises `ConfigurationError` if the text has
    another form, the module cannot be imported, the name is missing or is something else.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise ConfigurationError(
            f"{reference!r} is not MODULE:NAME, as in examples.change_history:projection"
        )
    folder = str(Path.cwd())
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module_name)
    except ImportError as error:
        missing = getattr(error, "name", None)
        if missing is not None and (module_name == missing or module_name.startswith(missing)):
            raise ConfigurationError(
                f"{reference}: there is no module {module_name}, neither in {folder} nor installed"
            ) from error
        raise ConfigurationError(f"{reference}: importing {module_name} failed: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{reference}: module {module_name} has no {name}")
        found = getattr(found, part)
    if kind is not None and not isinstance(found, kind):
        raise ConfigurationError(f"{reference} is a {type(found).__name__}, not a {kind.__name__}")
    return found  # type: ignore[return-value]
