"""Commands that are imported when they are asked for: nearly all of a command's start is imports.

The way of Click's "Lazily loading subcommands": a group knows its commands by name alone. Its own
help, which shows what each of them says of itself, imports them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group


class OnDemand(TyperGroup):
    """A group, the `cls` of a `Typer`: to its own commands it adds the functions and apps of this
    package that `commands_at` names. A `Typer` without commands of its own needs a callback.
    """

    commands_at: ClassVar[Mapping[str, str]] = {}
    """`module:name` in this package, by the command's name."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Imported({**self.commands, **self.commands_at})


class _Imported(MutableMapping[str, Any]):
    """Click's commands by name; where each is, until somebody asks for it."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known = known

    def __getitem__(self, name: str) -> Any:
        found = self._known[name]
        if isinstance(found, str):
            found = self._known[name] = _loaded(name, found)
        return found

    def __setitem__(self, name: str, command: Any) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _loaded(name: str, where: str) -> Any:
    module, _, attribute = where.partition(":")
    found = getattr(import_module(f"{__package__}.{module}"), attribute)
    holder = typer.Typer(rich_markup_mode="markdown")
    holder.callback()(lambda: None)  # what is alone in an app would be the app
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name=name)(found)
    return get_group(holder).commands[name]
