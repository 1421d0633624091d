"""Redrive and drop: a plan, then batches of it, each one transaction.

Steps of a batch, and what a crash between two of them means
------------------------------------------------------------
1. A new producer stands, under the namespace's one transactional id for this work:
   `init_transactions` settles what another process left open, and fences it.
2. The resolutions are read up to the end of `events`. What somebody resolved since the plan was
   made is left alone. Whoever wants to add one after this fences us first (step 1), so two people
   who redrive the same dead letters redrive each once. A crash leaves nothing.
3. Each dead letter's original bytes go to its topic, its resolution to `events`: on the log, and
   invisible. A crash: the broker aborts them.
4. Commit. A crash before it was asked for: as in 3. Afterwards both are there, for all of the
   batch.

A commit without an answer is settled by the next round: step 1 makes the coordinator finish what
it had decided, step 2 finds our own resolutions or does not. No producer lives longer than one
transaction, so a delayed request of one cannot touch the next (H1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consumers.dead_letters.listing import DeadLetters, Entry
from consumers.dead_letters.places import Place
from consumers.dead_letters.planning import Letter, Plan, batches
from consumers.worker.transactions import CALL_S_MAX, CONFIG
from streams.dead_letters import DEAD_LETTER_RESOLVED, DROPPED, REDRIVEN, redrive_headers, resolved
from streams.errors import AgentlogError, BrokerError
from streams.headers import Header
from streams.kafka.configs import SILENT
from streams.kafka.schema_topic import schema_record
from streams.outgoing import Outbox
from streams.ports import LogReader
from streams.schemas import Catalogue
from streams.topics import SCHEMAS, Namespace
from streams.topics.catalogue import DLQ_EXTRA_BYTES, RECORD_BYTES_MAX

ROUNDS_MAX: Final = 4
"""Rounds in a row that settle nothing of a batch; then we give up."""
DELIVERY_POLL_S: Final = 0.05
NO_PARTITION: Final = -1
"""Kafka's sign for "by the key"."""

_ACTIONS: Final = frozenset({REDRIVEN, DROPPED})
_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own codes are spelled so
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
_REFUSALS: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    }
)
"""What ends a record because of the record; anything else ends its transaction."""

_log: Final = structlog.get_logger("agentlog.dlq")


class TakenOver(AgentlogError):
    """Somebody else began to redrive or drop in this namespace."""


class Done(msgspec.Struct):
    """How far a plan was carried out. What is committed stays so, whatever came after it."""

    resolved: int = 0
    """Redriven or dropped."""
    meanwhile: int = 0
    """Left alone: somebody else resolved them after the plan was made."""
    refused: dict[Place, str] = {}
    """Which could not be redriven, and why; they stay open."""


class Redrive:
    """Carries out one plan. `action` is `REDRIVEN` or `DROPPED`, `note` says why, in words.

    `outbox` stamps the events: its sender is who decided. `run_id` names this process run.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        catalogue: Catalogue,
        reader: LogReader,
        letters: DeadLetters,
        outbox: Outbox,
        *,
        action: str,
        note: str,
        run_id: str,
    ) -> None:
        assert action in _ACTIONS, action
        self._namespace = namespace
        self._reader = reader
        self._resolutions = letters.resolutions
        self._outbox = outbox
        self._schema = schema_record(catalogue.type(DEAD_LETTER_RESOLVED).wire)
        self._action = action
        self._note = note
        self._run_id = run_id
        self._config: dict[str, Any] = {
            **CONFIG,
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": namespace.transactional_id("dlq", "resolve"),
            "error_cb": _log_error,
            "message.max.bytes": RECORD_BYTES_MAX + DLQ_EXTRA_BYTES,
        }
        self._given: dict[tuple[str, str], int] = {}
        self.done = Done()

    def run(self, plan: Plan, on_progress: Callable[[int], None] = lambda _: None) -> Done:
        """All of the plan, batch by batch; `on_progress` is told how many are through.

        Raises `TakenOver` or `BrokerError`, with `done` saying how far it came.
        """
        through = 0
        for batch in batches(self._reader, plan.entries):
            self._settle(batch)
            through += len(batch)
            on_progress(through)
        if self.done.resolved:
            self._await_visible()
        return self.done

    def _settle(self, batch: Sequence[Letter]) -> None:
        """Rounds, until each of the batch is resolved, by us or others, or refused."""
        rounds = 0
        while batch:
            rounds += 1
            try:
                producer = self._new_producer()
                batch = self._still_open(batch)
                refused = self._transact(producer, batch) if batch else {}
            except KafkaException as error:
                self._after(error, rounds)
                continue
            if not refused:
                self.done.resolved += len(batch)
                return
            self.done.refused |= refused
            rounds = 0  # each such round settles at least one
            batch = [one for one in batch if one[0].place not in refused]

    def _await_visible(self) -> None:
        """A commit answers before its marks are on every partition; a new producer waits for them.

        So whoever looks after us sees what we did.
        """
        try:
            self._new_producer()
        except KafkaException as error:
            _log.warning("dlq_not_visible_yet", error=_kafka_error(error).str())

    def _new_producer(self) -> Producer:
        producer = Producer(self._config, logger=SILENT)
        producer.init_transactions(CALL_S_MAX)
        return producer

    def _still_open(self, batch: Sequence[Letter]) -> list[Letter]:
        """Those whose state is what the plan saw."""
        self._resolutions.read_on()
        left: list[Letter] = []
        for entry, record in batch:
            last = self._resolutions.last(entry.place)
            if last is entry.resolution:
                left.append((entry, record))
            elif last is not None and last.run == self._run_id:
                self.done.resolved += 1  # by a commit of ours that had no answer
            else:
                self.done.meanwhile += 1
        return left

    def _transact(self, producer: Producer, batch: Sequence[Letter]) -> dict[Place, str]:
        """One transaction. Returns what Kafka refuses of it; then nothing of it has happened."""
        refused: dict[Place, str] = {}
        producer.begin_transaction()
        key, value = self._schema
        self._produce(producer, {}, None, self._namespace.topic(SCHEMAS), key, value, [])
        for letter in batch:
            self._produce_letter(producer, refused, letter)
        _await_delivery(producer, refused)
        if refused:
            producer.purge()  # or the abort waits until the others have timed out
            producer.abort_transaction(CALL_S_MAX)
        else:
            producer.commit_transaction(CALL_S_MAX)
        return refused

    def _produce_letter(
        self, producer: Producer, refused: dict[Place, str], letter: Letter
    ) -> None:
        entry, record = letter
        dead, redrive = entry.letter, 0
        if self._action == REDRIVEN:
            redrive = self._next_redrive(entry)
            headers = redrive_headers(record, dead, redrive=redrive)
            by_key = record.key is not None
            self._produce(
                producer,
                refused,
                entry.place,
                dead.topic,
                record.key,
                record.value,
                headers,
                partition=NO_PARTITION if by_key else dead.partition,
            )
        event = resolved(record, action=self._action, redrive=redrive, note=self._note)
        out = self._outbox.prepare(event.with_(writer=self._run_id))
        for topic, key in out.routes:
            full = self._namespace.topic(topic)
            self._produce(producer, {}, None, full, key, out.value, out.headers)

    def _next_redrive(self, entry: Entry) -> int:
        """A plan may hold several dead letters of one envelope: each redrive has its number."""
        known_by = (entry.letter.topic, entry.facts.id)
        number = self._resolutions.next_redrive(
            entry.place, entry.facts.id, entry.letter.retry_count
        )
        if entry.resolution is not None:
            number = max(number, self._given.get(known_by, 0) + 1)
        self._given[known_by] = max(number, self._given.get(known_by, 0))
        return number

    def _produce(
        self,
        producer: Producer,
        refused: dict[Place, str],
        place: Place | None,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        *,
        partition: int = NO_PARTITION,
    ) -> None:
        produce: Callable[..., None] = producer.produce
        report = partial(_note_refusal, refused, place) if place is not None else None
        try:
            produce(
                topic,
                value,
                key,
                headers=list(headers),
                partition=partition,
                on_delivery=report,
            )
        except KafkaException as error:
            if report is None:
                raise
            report(_kafka_error(error), None)
        producer.poll(0)

    def _after(self, cause: KafkaException, rounds: int) -> None:
        """What a failed round means: another one, or the end."""
        error = _kafka_error(cause)
        if error.code() in _FENCED:
            raise TakenOver(
                f"another redrive or drop began in namespace {self._namespace.name}; "
                f"{self._so_far()}"
            ) from cause
        if rounds >= ROUNDS_MAX:
            raise BrokerError(
                f"no transaction succeeds: {error.str()}; {self._so_far()}"
            ) from cause
        _log.warning("dlq_round_failed", error=error.str(), round=rounds)

    def _so_far(self) -> str:
        return f"{self.done.resolved} were {self._action} before; run it again for the rest"


def _note_refusal(
    refused: dict[Place, str], place: Place, error: KafkaError | None, _: Message | None
) -> None:
    if error is not None and error.code() in _REFUSALS:
        refused.setdefault(place, error.str())


def _await_delivery(producer: Producer, refused: Mapping[Place, str]) -> None:
    """Until all is delivered, or one is refused: the others then wait for nothing."""
    give_up_at_s = time.monotonic() + CALL_S_MAX
    while len(producer) and not refused and time.monotonic() < give_up_at_s:
        producer.poll(DELIVERY_POLL_S)


def _log_error(error: KafkaError) -> None:
    """The calls themselves raise what matters; without this, a fatal error breaks `poll`."""
    _log.debug("dlq_producer_error", error=error.str())


def _kafka_error(error: KafkaException) -> KafkaError:
    found = error.args[0]
    assert isinstance(found, KafkaError)
    return found
