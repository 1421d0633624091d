"""The options that `agentlog dlq`'s commands share, as values, checked before anything is asked."""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from consumers.dead_letters import (
    SOURCES,
    DeadLetters,
    Entry,
    Place,
    Wanted,
    parse_place,
    parse_topic,
)
from consumers.dead_letters.groups import known_groups
from streams.errors import ConfigurationError
from streams.moments import parse_moment
from streams.session import Session, read_settings
from streams.topics import Namespace

Places = Annotated[
    list[str] | None,
    typer.Argument(metavar="[POSITION]...", help="As in 'tasks.dlq[0]@12'; or filters."),
]
Topic = Annotated[str | None, typer.Option("--topic", help="From this topic, as in tasks.")]
Group = Annotated[str | None, typer.Option("--group", "-g", help="Of this group.")]
Type = Annotated[
    str | None, typer.Option("--type", help="Payload type (full or last name) or kind.")
]
Error = Annotated[str | None, typer.Option("--error", help="Error's name, as in TimeoutError.")]
Agent = Annotated[
    str | None, typer.Option("--agent", help="Sent by, to, or handled as this agent.")
]
Correlation = Annotated[str | None, typer.Option("--correlation", help="This correlation_id.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="MOMENT", help="Dead since then: -15m, RFC 3339, @FILE."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="MOMENT", help="Dead by then.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")]
AllOpen = Annotated[bool, typer.Option("--all-open", help="All that are open.")]
First = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="The first so many.")]


class Search:
    """The filters of one command line, checked before anything is connected to."""

    def __init__(
        self,
        topic: Topic = None,
        group: Group = None,
        type_: Type = None,
        error: Error = None,
        agent: Agent = None,
        correlation: Correlation = None,
        since: Since = None,
        until: Until = None,
    ) -> None:
        namespace = Namespace(read_settings().namespace)
        self.now_ms = time.time_ns() // 1_000_000
        for moment in filter(None, (since, until)):
            parse_moment(moment, self.now_ms)
        self.since, self.until = since, until
        self.topics = (parse_topic(topic, namespace),) if topic is not None else SOURCES
        self.group = group
        if group is not None and group not in namespace:
            group = namespace.group(group)
        self.wanted = Wanted(
            group=group, type=type_, error=error, agent=agent, correlation=correlation
        )
        given = (topic, group, type_, error, agent, correlation, since, until)
        self.given = any(one is not None for one in given)

    def run(self, letters: DeadLetters) -> Iterator[Entry]:
        """The dead letters that fit."""
        spans = letters.spans(self.topics, self.since, self.until, self.now_ms)
        return letters.find(spans, self.wanted)

    def check_group(self, session: Session, letters: DeadLetters) -> None:
        """Raise `ConfigurationError` if the group asked for is nobody."""
        group = self.wanted.group
        if group is None or group in letters.groups:
            return
        if group not in known_groups(session.bootstrap_servers, session.namespace):
            raise ConfigurationError(
                f"no group {self.group!r} in namespace {session.namespace.name}: it has no dead "
                "letters, and the broker does not know it; `agentlog dlq list` shows whose there "
                "are"
            )


class Choice:
    """Which dead letters something is done to, and how it is agreed on."""

    def __init__(
        self,
        positions: Places = None,
        all_open: AllOpen = False,
        limit: First = None,
        yes: Yes = False,
        dry_run: DryRun = False,
        json_: Json = False,
    ) -> None:
        self._positions = positions or []
        self._all_open = all_open
        self.limit = limit
        self.yes = yes
        self.dry_run = dry_run
        self.json = json_

    def places(self, search: Search) -> list[Place]:
        """The positions given, once it is clear what was meant. Raises `ConfigurationError`."""
        if not (self._positions or search.given or self._all_open):
            raise ConfigurationError("name positions, give filters, or say --all-open")
        if self._positions and (search.given or self._all_open):
            raise ConfigurationError("give positions, or filters and --all-open, not both")
        namespace = Namespace(read_settings().namespace)
        return [parse_place(text, namespace) for text in self._positions]

    def require_answer(self) -> None:
        """Raise `ConfigurationError` if nobody can be asked and nobody has to be."""
        if not (self.yes or self.dry_run or sys.stdin.isatty()):
            raise ConfigurationError(
                "nobody can be asked, stdin is no terminal: --yes carries it out, --dry-run shows "
                "the plan"
            )


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer whose parameters `search: Search` and `choice: Choice` are made from
    their own options: it has those in their place.
    """
    parts: dict[str, tuple[type, list[str]]] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        own = [parameter]
        if kind in {Search, Choice}:
            own = list(inspect.signature(kind, eval_str=True).parameters.values())
            parts[parameter.name] = kind, [one.name for one in own]
        options += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: kind(**{option: given.pop(option) for option in names})
            for name, (kind, names) in parts.items()
        }
        command(**made, **given)

    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in options}
    return run
