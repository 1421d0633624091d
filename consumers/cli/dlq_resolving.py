"""What `agentlog dlq redrive` and `drop` share: the way from a plan to a deed."""

from __future__ import annotations

import getpass
import random
import sys
import uuid
from typing import Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from consumers.cli.dlq_options import Choice, Search
from consumers.cli.dlq_views import plan_document, plan_table
from consumers.cli.output import emit, stderr
from consumers.cli.session import connect
from consumers.dead_letters import DeadLetters, Done, Plan, Redrive, plan
from streams.dead_letters import REDRIVEN
from streams.errors import LogError
from streams.kafka.reader import KafkaLogReader
from streams.outgoing import Outbox
from streams.ports import SystemClock
from streams.session import Session
from streams.topics import Namespace

REFUSED_SHOWN_MAX: Final = 20
"""Refusals named on stderr; `--json` has them all."""


class Resolving:
    """Plan, question, deed, report: the same for redrive and drop."""

    def __init__(self, action: str, note: str, search: Search, choice: Choice) -> None:
        self._action = action
        self._note = note
        self._search = search
        self._choice = choice
        self._places = choice.places(search)
        choice.require_answer()

    def run(self, *, again: bool = False) -> None:
        """All of it, for the places chosen or for what the search finds."""
        session, search, choice = connect(), self._search, self._choice
        with KafkaLogReader(session.bootstrap_servers) as reader:
            letters = DeadLetters(reader, session.codec, session.namespace)
            found = letters.at(self._places) if self._places else search.run(letters)
            todo = plan(found, again=again, limit=choice.limit)
            if not todo.entries:
                search.check_group(session, letters)
            self._show(session.namespace, todo, letters)
            if not todo.entries or choice.dry_run:
                if choice.json:
                    emit(self._document(session.namespace, todo, Done()))
                return
            if not (choice.yes or _agreed()):
                stderr.print("nothing was done")
                raise typer.Exit(1)
            deed = self._deed(session, reader, letters)
            try:
                with _progress() as bar:
                    task = bar.add_task(self._action, total=len(todo.entries))
                    deed.run(todo, lambda through: bar.update(task, completed=through))
            finally:
                if choice.json:
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
            "dry_run": self._choice.dry_run,
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
