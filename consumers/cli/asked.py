"""What a person asks a replay for: the options that several commands share, declared once.

    @app.command()
    @asking
    def metrics(asked: Asked, json_: AsJson = False) -> None: ...

has `--at`, all filters, `--processes` and `--fresh`, besides its own `--json`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

import typer

from consumers.projections import Filters
from consumers.replay import WORKERS_MAX
from streams.envelope import Kind
from streams.errors import ConfigurationError
from streams.moments import At as MomentAt
from streams.moments import parse_moment
from streams.schemas import Catalogue

At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="MOMENT",
        help="now, an RFC 3339 time, -15m, @NAME, @./FILE or cut1:…; times are append times.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        max=WORKERS_MAX,
        help="At most so many, or threads; default: as many as the machine has processors.",
    ),
]

NAMED: Final = {
    "agent": "--agent",
    "origin": "--origin",
    "key": "--key",
    "correlation": "--correlation",
    "channel": "--channel",
}
"""Options of the filters that name something which is there, or is misspelt."""


class Asked(NamedTuple):
    """A replay, as a command line has it."""

    at: str
    filters: Filters
    processes: int | None
    fresh: bool


def read_asked(
    at: At = "now",
    agent: Annotated[
        str | None, typer.Option("--agent", help="Only what this agent sent or got.")
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="Only imports whose origin begins so, as in import:large."),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only records with this key.")] = None,
    correlation: Annotated[
        str | None, typer.Option("--correlation", help="Only this correlation, by its id.")
    ] = None,
    channel: Annotated[str | None, typer.Option("--channel", help="Only this channel.")] = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="Only this payload type (full or last name) or kind."),
    ] = None,
    created_after: Annotated[
        str | None,
        typer.Option("--created-after", metavar="TIME", help="Event time: RFC 3339, or -1d."),
    ] = None,
    created_before: Annotated[
        str | None,
        typer.Option("--created-before", metavar="TIME", help="Event time: RFC 3339, or -1d."),
    ] = None,
    processes: Processes = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do not go on where a killed replay was.")
    ] = False,
) -> Asked:
    """What the options say. Raises `ConfigurationError` for times that are none, or swapped."""
    now_ms = time.time_ns() // 1_000_000
    created_from, created_to = (
        _event_time(text, now_ms) for text in (created_after, created_before)
    )
    if created_from is not None and created_to is not None and created_from >= created_to:
        raise ConfigurationError(
            f"nothing is created after {created_after} and before {created_before}: swap them"
        )
    filters = Filters(
        agent=agent,
        origin=origin,
        key=key,
        correlation=correlation,
        channel=channel,
        type=type_,
        created_from=created_from,
        created_to=created_to,
    )
    return Asked(at, filters, processes, fresh)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `read_asked`; their values come as its argument `asked`."""
    own, shared = inspect.signature(command), inspect.signature(read_asked)
    types = {
        **get_type_hints(read_asked, include_extras=True),
        **get_type_hints(command, include_extras=True),
    }
    merged = [one for one in own.parameters.values() if one.name != "asked"]
    merged += shared.parameters.values()

    @wraps(command)
    def run(**given: Any) -> None:
        asked = read_asked(**{name: given.pop(name) for name in shared.parameters})
        command(asked=asked, **given)

    run.__signature__ = own.replace(  # type: ignore[attr-defined]  # what inspect asks for
        parameters=[
            one.replace(annotation=types[one.name], kind=one.KEYWORD_ONLY) for one in merged
        ]
    )
    run.__annotations__ = {one.name: types[one.name] for one in merged}
    return run


def require_known_type(catalogue: Catalogue, asked: str | None) -> None:
    """Raise `ConfigurationError` for a type or kind that nobody here knows."""
    known = {*catalogue.types, *(name.rpartition(".")[2] for name in catalogue.types), *Kind}
    if asked is not None and asked not in known:
        hint = near(asked, map(str, known)) or "`agentlog schemas list` has them all"
        raise ConfigurationError(f"no payload type or kind is called {asked!r}; {hint}")


def near(asked: str, known: Any) -> str:
    """A question whether they meant what looks like it; empty if nothing does."""
    found = get_close_matches(asked, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""


def named_filters(filters: Filters) -> str:
    """Those that name something, as they are written; empty if there are none."""
    values: Mapping[str, str | None] = {name: getattr(filters, name) for name in NAMED}
    return " ".join(f"{NAMED[name]} {value}" for name, value in values.items() if value is not None)


def _event_time(text: str | None, now_ms: int) -> int | None:
    """UTC microseconds."""
    if text is None:
        return None
    found = parse_moment(text, now_ms)
    if not isinstance(found, MomentAt):
        raise ConfigurationError(
            f"{text!r} is no time that an event can have; write RFC 3339, or -1d"
        )
    return found.epoch_ms * 1000
