"""What `agentlog dlq`'s commands share: the search, and the way from a plan to a deed."""

from __future__ import annotations

import getpass
import random
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from consumers.cli.dlq_views import plan_document, plan_table
from consumers.cli.output import emit, stderr
from consumers.cli.session import connect
from consumers.dead_letters import (
    SOURCES,
    DeadLetters,
    Done,
    Entry,
    Place,
    Plan,
    Redrive,
    Wanted,
    parse_topic,
    plan,
)
from consumers.dead_letters.groups import known_groups
from streams.dead_letters import REDRIVEN
from streams.errors import ConfigurationError, LogError
from streams.kafka.reader import KafkaLogReader
from streams.moments import parse_moment
from streams.outgoing import Outbox
from streams.ports import SystemClock
from streams.session import Session, read_settings
from streams.topics import Namespace

REFUSED_SHOWN_MAX: Final = 20
"""Refusals named on stderr; `--json` has them all."""


class Search:
    """The filters of one command line, checked before anything is connected to."""

    def __init__(
        self,
        topic: str | None,
        group: str | None,
        type_: str | None,
        error: str | None,
        agent: str | None,
        correlation: str | None,
        since: str | None,
        until: str | None,
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


class Resolving:
    """Plan, question, deed, report: the same for redrive and drop."""

    def __init__(self, action: str, note: str, *, yes: bool, dry_run: bool, json_: bool) -> None:
        self._action = action
        self._note = note
        self._yes = yes
        self._dry_run = dry_run
        self._json = json_

    def run(self, search: Search, places: list[Place], *, again: bool, limit: int | None) -> None:
        """All of it, for these places or for what the search finds."""
        session = connect()
        with KafkaLogReader(session.bootstrap_servers) as reader:
            letters = DeadLetters(reader, session.codec, session.namespace)
            found = letters.at(places) if places else search.run(letters)
            todo = plan(found, again=again, limit=limit)
            if not todo.entries:
                search.check_group(session, letters)
            self._show(session.namespace, todo, letters)
            if not todo.entries or self._dry_run:
                if self._json:
                    emit(self._document(session.namespace, todo, Done()))
                return
            if not (self._yes or _agreed()):
                stderr.print("nothing was done")
                raise typer.Exit(1)
            deed = self._deed(session, reader, letters)
            try:
                with _progress() as bar:
                    task = bar.add_task(self._action, total=len(todo.entries))
                    deed.run(todo, lambda through: bar.update(task, completed=through))
            finally:
                if self._json:
                    emit(self._document(session.namespace, todo, deed.done))
        self._report(session.namespace, todo, deed.done)

    def _deed(self, session: Session, reader: KafkaLogReader, letters: DeadLetters) -> Redrive:
        outbox = Outbox(
            session.codec,
            sender=_operator(),
            clock=SystemClock(),
            rng=random.Random(),
            record_bytes_max=session.settings.record_bytes_max,
            namespace=session.namespace,
        )
        return Redrive(
            session.bootstrap_servers,
            session.namespace,
            session.codec.catalogue,
            reader,
            letters,
            outbox,
            action=self._action,
            note=self._note,
            run_id=uuid.uuid4().hex,
        )

    def _show(self, namespace: Namespace, todo: Plan, letters: DeadLetters) -> None:
        if todo.entries:
            stderr.print(f"to be {self._action}: {len(todo.entries):,}")
            stderr.print(plan_table(namespace, todo))
        else:
            stderr.print(
                f"nothing to do: {todo.already:,} that fit are resolved already"
                + ("; --again redrives them once more" if self._action == REDRIVEN else "")
                if todo.already
                else nothing(letters, all_=False),
                soft_wrap=True,
            )
        if todo.entries and todo.already:
            stderr.print(f"left alone, resolved already: {todo.already:,}")
        warn_of_strangers(letters)

    def _report(self, namespace: Namespace, todo: Plan, done: Done) -> None:
        meanwhile = (
            f"; {done.meanwhile:,} left alone: somebody else resolved them meanwhile"
            if done.meanwhile
            else ""
        )
        more = "; there are more, run it again for the rest" if todo.more else ""
        stderr.print(f"{done.resolved:,} {self._action}{meanwhile}{more}", soft_wrap=True)
        if done.refused:
            shown = "; ".join(
                f"{place.shown(namespace)}: {why}"
                for place, why in list(done.refused.items())[:REFUSED_SHOWN_MAX]
            )
            raise LogError(f"{len(done.refused):,} were refused and stay open: {shown}")

    def _document(self, namespace: Namespace, todo: Plan, done: Done) -> dict[str, Any]:
        return {
            "action": self._action,
            **plan_document(namespace, todo),
            "dry_run": self._dry_run,
            "resolved": done.resolved,
            "meanwhile": done.meanwhile,
            "refused": [
                {"position": place.shown(namespace), "why": why}
                for place, why in done.refused.items()
            ],
        }


def nothing(letters: DeadLetters, *, all_: bool) -> str:
    """Why there is nothing to show, in one sentence."""
    if not letters.seen:
        return "there are no dead letters there"
    return f"none of {letters.seen:,} dead letters fits" + ("" if all_ else " and is open")


def warn_of_strangers(letters: DeadLetters) -> None:
    """Say so if there was what is no dead letter."""
    if letters.strangers:
        stderr.print(
            f"{letters.strangers:,} records on these topics are no dead letters, and left alone",
            style="yellow",
        )


def _agreed() -> bool:
    """Ask on stderr; stdout holds results alone."""
    stderr.print("Carry this out? [y/N]: ", end="", markup=False)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _operator() -> str:
    """Who decides: the account that runs this."""
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):  # a container's account may have no name
        return "operator"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=stderr,
        transient=True,
    )
