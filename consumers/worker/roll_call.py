"""The roll call: every worker of a group, or of the namespace, is asked what it is doing.

Who ought to answer is what the broker says: the members of the groups that are workers by their
`client.id`. One that is a member and stays silent is stuck, cut off, or dead and not missed yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from consumers.worker.status import WorkerStatus, read_status, run_id_of
from streams.control import OPERATOR, report_status
from streams.envelope import Envelope
from streams.errors import AgentlogError, DecodeError
from streams.kafka.groups import GroupAdmin, GroupMember
from streams.kafka.replies import ReplyInbox, new_instance_name
from streams.session import Session

_log: Final = logging.getLogger("agentlog.roll_call")


class SilentWorker(msgspec.Struct, frozen=True):
    """A member of a group that did not answer."""

    group: str
    run_id: str
    host: str
    partitions: tuple[str, ...]
    """What it holds up, as `topic[partition]`."""


class RollCall(msgspec.Struct, frozen=True):
    """Who answered what, and who did not; by group and host."""

    workers: tuple[WorkerStatus, ...] = ()
    silent: tuple[SilentWorker, ...] = ()


async def call_roll(session: Session, group: str | None, wait_s: float) -> RollCall:
    """Ask the workers of a group (full name), or all, and wait at most `wait_s` for answers.

    Returns as soon as all have answered. One that left its group meanwhile is not silent. Raises
    `BrokerError` if no broker answers, `PublishError` if the question could not be asked.
    """
    groups = GroupAdmin(session.bootstrap_servers, session.namespace)
    asked = _workers(await asyncio.to_thread(groups.members, group))
    if not asked:
        return RollCall()
    name = new_instance_name(OPERATOR)
    inbox = ReplyInbox(session.bootstrap_servers, session.namespace, session.codec, name)
    answers = _Answers(asked)
    await inbox.start(answers)
    try:
        async with session.publisher(OPERATOR) as publisher:
            await publisher.publish(report_status(name, group))
        await answers.wait(wait_s)
    finally:
        await inbox.close()
    silent = asked.keys() - answers.found.keys()
    if silent:
        silent &= _workers(await asyncio.to_thread(groups.members, group)).keys()
    return RollCall(
        tuple(
            sorted(
                answers.found.values(), key=lambda one: (one.group, one.host, one.pid, one.run_id)
            )
        ),
        tuple(_silent(run_id, asked[run_id]) for run_id in sorted(silent)),
    )


class _Answers:
    """A `ReplyListener` that knows when everybody has answered."""

    def __init__(self, asked: Iterable[str]) -> None:
        self.found: dict[str, WorkerStatus] = {}
        self._missing = set(asked)
        self._error: AgentlogError | None = None
        self._done = asyncio.Event()

    def on_reply(self, envelope: Envelope, size: int) -> None:  # noqa: ARG002 - the port's
        try:
            status = read_status(envelope)
        except DecodeError as error:
            _log.warning("an answer cannot be read: %s", error)
            return
        self.found[status.run_id] = status
        self._missing.discard(status.run_id)
        if not self._missing:
            self._done.set()

    def on_inbox_lost(self, error: AgentlogError) -> None:
        self._error = error
        self._done.set()

    async def wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._done.wait()
        except TimeoutError:
            return
        if self._error is not None:
            raise self._error


def _workers(members: Iterable[GroupMember]) -> dict[str, GroupMember]:
    """Those members that are workers, by run id."""
    return {
        run_id: member for member in members if (run_id := run_id_of(member.client_id)) is not None
    }


def _silent(run_id: str, member: GroupMember) -> SilentWorker:
    return SilentWorker(member.group, run_id, member.host, tuple(map(str, member.partitions)))
