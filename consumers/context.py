"""What a handler gets: the record it runs on, and the ways to act that commit with it."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from consumers.failure import Failure
from consumers.journal.outcomes import Output
from consumers.outbox import Outbox
from consumers.streaming import AnswerStream
from streams.answers import Answer, answered, failed
from streams.client import TIMEOUT_S
from streams.dead_letters import REDRIVEN, DeadLetter, redrive_headers, resolved
from streams.envelope import ATTEMPT, SEQUENCE, Envelope
from streams.errors import DecodeError, NonRetriable
from streams.record import Record
from streams.requests import json_envelope

EFFECT_BYTES_MAX: Final = 64 * 1024
"""The result of one effect as JSON, in bytes of UTF-8."""
EFFECT_RECORDED: Final = "agentlog.effect.EffectRecorded"
EFFECTS_MAX: Final = 100
"""Effects that the handlers of one record run, in all of its attempts."""
OUTPUTS_MAX: Final = 10_000
"""Records that one handler publishes because of one record; one more is refused."""
OUTPUT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of their values: half of what a transaction takes (`COMMIT_BYTES_MAX` in
`consumers.worker.turns`), for all of a record's outputs are in one."""

Effect = Callable[[str], Awaitable[Any] | Any]
"""Does something outside of the log under an idempotency key, and returns a JSON value."""


class TooManyOutputs(NonRetriable):
    """A handler published more because of one record than one transaction should hold."""


class Effected(NamedTuple):
    """An effect that has run."""

    result: str
    """The text of a JSON value."""
    outputs: Sequence[Output]
    """The record that says so."""


class Context:
    """One attempt of one handler on one record.

    Outputs count only if the handler returns: they are written in the transaction that records
    the outcome, or never.
    """

    __slots__ = (
        "_effects",
        "_ended",
        "_outbox",
        "_output_bytes",
        "_published",
        "_sent",
        "assignment",
        "attempt",
        "cancelled",
        "envelope",
        "handler",
        "last_failure",
        "outputs",
        "payload",
        "record",
    )

    def __init__(
        self,
        outbox: Outbox,
        record: Record,
        envelope: Envelope,
        payload: Mapping[str, Any],
        handler: str,
        *,
        attempt: int = 1,
        assignment: int = 0,
        last_failure: Failure | None = None,
        effects: dict[str, Effected] | None = None,
    ) -> None:
        self.record = record
        """Where it came from: full topic name, partition, position, key, headers."""
        self.envelope = envelope
        self.payload = payload
        self.handler = handler
        """Name of the handler that runs."""
        self.attempt = attempt
        """Counts from 1, anew in a process that takes over."""
        self.assignment = assignment
        """Names the time for which the worker has the record's partition: another number once it
        was taken away, or read again after a commit that nobody knows the end of."""
        self.last_failure = last_failure
        """How the attempt before this one failed; None at the first."""
        self.cancelled = False
        """True once this run was interrupted: for sync handlers, which no await interrupts."""
        self.outputs: list[Output] = []
        """Records that its envelopes have become so far."""
        self._outbox = outbox
        self._effects = {} if effects is None else effects
        self._output_bytes = 0
        self._published = 0
        self._sent = 0
        self._ended = False

    @property
    def agent(self) -> str:
        """Id of the agent that it runs as: the inbox's owner, the only recipient, else the app."""
        return self._outbox.agent_of(self.record, self.envelope)

    @property
    def idempotency_key(self) -> str:
        """The same for every run of this handler, as this agent, on this envelope: for effects
        outside the log.
        """
        return f"{self.envelope.id}:{self.agent}:{self._name}"

    @property
    def dead_letter(self) -> DeadLetter | None:
        """Why this record is a dead letter, for handlers that read a dead-letter topic."""
        try:
            return DeadLetter.from_record(self.record)
        except DecodeError:
            return None

    @property
    def _name(self) -> str:
        # Two groups may well name their handlers alike.
        return f"{self._outbox.app_name}:{self.handler}"

    @property
    def ids(self) -> dict[str, Any]:
        """What log lines say about the run."""
        ids = {
            "id": self.envelope.id,
            "type": self.envelope.type,
            "correlation_id": self.envelope.correlation_id,
            "handler": self.handler,
            "attempt": self.attempt,
            "record": str(self.record),
        }
        return {name: value for name, value in ids.items() if value is not None}

    @property
    def log(self) -> Any:
        """A structlog logger with the ids of the run bound."""
        return structlog.get_logger("agentlog.handler").bind(**self.ids)

    # --- with the outcome --------------------------------------------------------------------

    async def publish(self, envelope: Envelope) -> Envelope:
        """Send an envelope, if and when this record's outcome commits; returns it stamped.

        It gets a derived id, `causation_id` = the handled envelope's id, the time, and, unless it
        has its own, that one's `correlation_id` (or id, if it has none) and this agent as sender.

        It is encoded at once: an `EnvelopeError` (unknown type, a payload that does not fit, no
        route, too large) is raised here, in the handler, and nothing is sent. So is
        `TooManyOutputs` (no later attempt can mend it), past `OUTPUTS_MAX` records (one for each
        recipient of an inbox message) or `OUTPUT_BYTES_MAX`.
        """
        self._check_running("publishes")
        return self._put(envelope)

    async def respond(self, data: Any) -> Envelope:
        """Answer the request that is being handled with a JSON value (S3.12)."""
        return await self.publish(answered(self.envelope, data))

    async def fail(self, error_name: str, message: str) -> Envelope:
        """Answer that there is no answer, and why. The record is handled all the same."""
        return await self.publish(failed(self.envelope, error_name, message))

    async def effect(self, name: str, do: Effect) -> Any:
        """Run something that acts outside of the log, and keep what it returns (a JSON value).

        `do` gets the effect's own idempotency key, the same in every run. What it returned is
        recorded with this record's outcome, whichever that is (`EffectRecorded`): what was done
        was done. A later attempt in this process gets it without running `do` again. After a
        crash before the commit it runs again, under the same key. A plain function runs on a
        thread.

        Raises `NonRetriable` for a result that is no JSON or larger than `EFFECT_BYTES_MAX`, and
        past `EFFECTS_MAX`.
        """
        self._check_running("runs an effect")
        key = f"{self.idempotency_key}:{name}"
        found = self._effects.get(key)
        if found is None:
            if len(self._effects) >= EFFECTS_MAX:
                raise NonRetriable(
                    f"{self.handler} runs more than {EFFECTS_MAX} effects because of "
                    f"{self.record}; publish a task for the rest"
                )
            if inspect.iscoroutinefunction(do):
                result = await do(key)
            else:
                result = await asyncio.to_thread(do, key)
                if inspect.isawaitable(result):
                    result = await result
            found = self._effects[key] = self._effected(key, name, _effect_text(name, result))
        return json.loads(found.result)

    async def resubmit(self, note: str = "") -> None:
        """For a dead letter: send the original record back to where it came from, as it was.

        It is a redrive, for the group alone that could not finish it, and commits with this
        record's outcome. Raises `NonRetriable` for a record that is no dead letter.
        """
        letter = self.dead_letter
        if letter is None:
            raise NonRetriable(f"{self.record} is no dead letter: there is nothing to resubmit")
        self._check_running("resubmits")
        record, redrive = self.record, letter.retry_count + 1
        back = Output(letter.topic, record.key, record.value, redrive_headers(record, letter))
        # With the note or not at all: if that is refused, nothing goes back.
        self._put(resolved(record, action=REDRIVEN, redrive=redrive, note=note), back)

    # --- for the aggregate runtime -----------------------------------------------------------

    def write(self, envelope: Envelope, *, cached_as: str | None = None) -> None:
        """Publish an envelope; with `cached_as` to the compacted `state` topic, under that key."""
        self._check_running("writes")
        self._put(envelope, cached_as=cached_as)

    def write_event(self, envelope: Envelope) -> tuple[Envelope, Output]:
        """Publish an event with its place in its stream. As readers will see it, and its record."""
        self._check_running("writes")
        self._put(envelope, versioned=True)
        written = self.outputs[-1]
        return self._outbox.codec.decode(written.value, tuple(written.headers)), written

    def write_answer(self, envelope: Envelope, tells: Output | None) -> None:
        """Publish an answer whose last field is a position: that of an output of this handler, if
        there is one (`Output.tells`).
        """
        self._check_running("answers")
        before = len(self.outputs)
        self._put(envelope)
        if tells is not None:
            self.outputs[before:] = [
                msgspec.structs.replace(one, value=(one.value or b"")[:-1], tells=tells)
                for one in self.outputs[before:]
            ]

    # --- at once -----------------------------------------------------------------------------

    async def send_now(self, envelope: Envelope) -> Envelope:
        """Put an envelope on the log at once, whatever becomes of this record: at least once.

        For progress, pieces of a stream, control, and requests whose answer this handler awaits.
        Its headers say `handler`, `attempt` and `sequence`, so that a receiver can drop what a
        later attempt supersedes, as readers of streams do; workers skip only what repeats within
        an attempt. Raises as a publisher does.
        """
        self._check_running("sends")
        at_once, attempt, n = self._outbox.at_once, self.attempt, self._sent
        self._sent += 1
        stamped = self._stamped(envelope, f"{self._name}:now:{attempt}", n)
        said = {"handler": self._name, ATTEMPT: str(attempt), SEQUENCE: str(n)}
        stamped = stamped.with_(headers={**stamped.headers, **said})
        await at_once.send(stamped)
        return stamped

    async def request(
        self, to: str, payload: Envelope | Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
    ) -> Answer:
        """Ask another agent and wait for its answer, as this agent (S3.12).

        It is sent at once, so that it can be answered while this record is handled; another attempt
        asks again. Raises as `streams.client.Client.request` does, and `NonRetriable` for an agent
        that would have to wait for itself.
        """
        self._check_running("asks")
        if to == self.agent:
            raise NonRetriable(f"{to} cannot ask itself: it handles one record at a time")
        envelope = payload if isinstance(payload, Envelope) else json_envelope(payload)
        asked = envelope.with_(sender=envelope.sender or self.agent, causation_id=self.envelope.id)
        return await self._outbox.at_once.request(to, asked, timeout_s)

    def stream(self) -> AnswerStream:
        """Answer the request that is being handled in pieces.

        async with ctx.stream() as stream:
            await stream.send("a piece")
        """
        return AnswerStream(self.send_now, self.envelope, self.attempt)

    # --- the worker's side -------------------------------------------------------------------

    def end(self) -> Sequence[Output]:
        """The handler returned or raised: nothing may be published any more."""
        self._ended = True
        return self.outputs

    def _put(
        self,
        envelope: Envelope,
        *with_it: Output,
        versioned: bool = False,
        cached_as: str | None = None,
    ) -> Envelope:
        """An envelope and what must go with it into the outputs: all of it, or an error."""
        stamped = self._stamped(envelope, self._name, self._published)
        made = self._outbox.records(stamped, versioned=versioned)
        if cached_as is not None:
            made = [self._outbox.cached(made[0], cached_as)]
        found = [*made, *with_it]
        size = self._output_bytes + sum([len(output.value or b"") for output in found])
        if len(self.outputs) + len(found) > OUTPUTS_MAX or size > OUTPUT_BYTES_MAX:
            raise TooManyOutputs(
                f"{self.handler} published more than {OUTPUTS_MAX} records or {OUTPUT_BYTES_MAX} "
                f"bytes because of {self.record}, which one transaction must hold; publish a task "
                "for the rest, or send with ctx.send_now what may be seen before the outcome"
            )
        self.outputs += found
        self._output_bytes = size
        self._published += 1
        return stamped

    def _effected(self, key: str, name: str, result: str) -> Effected:
        record = self.record
        envelope = Envelope(
            type=EFFECT_RECORDED,
            payload={
                "idempotency_key": key,
                "name": name,
                "handler": self._name,
                "topic": record.topic,
                "partition": record.partition,
                "position": record.position,
                "result": result,
            },
        )
        stamped = self._stamped(envelope, f"{self._name}:effect:{name}", 0)
        return Effected(result, self._outbox.records(stamped))

    def _check_running(self, does: str) -> None:
        if self._ended:
            raise RuntimeError(
                f"{self.handler} has ended: what it {does} now could not commit with "
                f"{self.record}; await it inside the handler"
            )

    def _stamped(self, envelope: Envelope, name: str, n: int) -> Envelope:
        source, outbox = self.envelope, self._outbox
        stamped: Envelope = msgspec.structs.replace(
            envelope,
            id=outbox.derived_id(self.record, name, n),
            kind=outbox.kind_of(envelope),
            sender=envelope.sender or self.agent,
            causation_id=source.id,
            correlation_id=envelope.correlation_id or source.correlation_id or source.id,
            created_at=outbox.clock.now_us(),
            writer=outbox.writer,
        )
        return stamped


def _effect_text(name: str, result: Any) -> str:
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise NonRetriable(f"effect {name} returned what is no JSON value: {error}") from error
    if size > EFFECT_BYTES_MAX:
        raise NonRetriable(
            f"effect {name} returned {size} bytes, the limit is {EFFECT_BYTES_MAX}; return a "
            "reference to it"
        )
    return text
