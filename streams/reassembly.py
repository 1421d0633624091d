"""Reassembly: the pieces of one streamed answer, put together again. Pure.

The sender's deliveries are at least once, and a handler that is tried again streams again. So:

- A *run* is one handler's attempt in one process (the envelope's `writer`). Only one counts.
- A start supersedes the run before it if its attempt is a later one, or if another process sent
  it: a worker that took over counts its attempts anew, so there the log's order decides.
- What a superseded run sent is dropped, and so is whatever was there before.
- Of the run that counts, piece n follows piece n - 1. A piece that is missing is never waited for:
  order holds on the log, so it will not come.
- The end says how many pieces there were.

An answer that comes whole counts at any time: the handler has decided not to stream.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams import answers
from streams.answers import Failure
from streams.envelope import Envelope

STARTS_MAX: Final = 1_000
"""Runs of one stream; one more, and it counts as broken."""


class Started(NamedTuple):
    """A run began. `again`: forget the pieces so far, for they were another run's."""

    again: bool


class Piece(NamedTuple):
    """The next piece: the text of a JSON value."""

    text: str


class Ended(NamedTuple):
    """Nothing more will come: the stream is whole, or its handler failed."""

    failure: Failure | None


class Broken(NamedTuple):
    """Something is missing, both in words. Nothing that comes later counts."""

    expected: str
    got: str


class Whole(NamedTuple):
    """An answer that was not streamed. Pieces that came before it are not part of it."""

    envelope: Envelope


Event = Started | Piece | Ended | Broken | Whole


class _Run(NamedTuple):
    writer: str | None
    attempt: int

    def __str__(self) -> str:
        return f"attempt {self.attempt}" + (f" of {self.writer}" if self.writer else "")


class Reassembly:
    """One stream's state: which run counts, and how many of its pieces came."""

    def __init__(self) -> None:
        self._run: _Run | None = None
        self._pieces = 0
        self._superseded: set[_Run] = set()
        self._starts: set[tuple[_Run, str, int]] = set()
        self._over = False

    def add(self, envelope: Envelope) -> Event | None:
        """Take what came next; what it means, or None if it does not count.

        Raises `DecodeError` if its payload cannot be read.
        """
        if self._over:
            return None
        event = self._event(envelope)
        self._over = isinstance(event, Ended | Broken | Whole)
        return event

    def _event(self, envelope: Envelope) -> Event | None:
        payload = envelope.payload
        match envelope.type:
            case answers.STREAM_STARTED:
                return self._start(_Run(envelope.writer, payload["attempt"]), envelope)
            case answers.STREAM_DATA_SENT:
                run = _Run(envelope.writer, payload["attempt"])
                return self._piece(run, payload["sequence"], payload["data"])
            case answers.STREAM_ENDED:
                error = payload["error"]
                failure = error and Failure(error["name"], error["message"])
                return self._end(
                    _Run(envelope.writer, payload["attempt"]), payload["pieces"], failure
                )
            case _:
                return Whole(envelope)

    def _start(self, run: _Run, envelope: Envelope) -> Event | None:
        # A process that had lost the record and has it back makes the same id, at another time.
        start = (run, envelope.id, envelope.created_at)
        if start in self._starts or self._is_overtaken(run):
            return None
        if len(self._starts) == STARTS_MAX:
            return Broken(f"at most {STARTS_MAX} attempts", "one more")
        before = self._run
        if before is not None:
            self._superseded.add(before)
        self._superseded.discard(run)
        self._starts.add(start)
        self._run, self._pieces = run, 0
        return Started(again=before is not None)

    def _is_overtaken(self, run: _Run) -> bool:
        now = self._run
        return now is not None and run.writer == now.writer and run.attempt <= now.attempt

    def _piece(self, run: _Run, sequence: int, text: str) -> Event | None:
        got = f"piece {sequence}"
        if run != self._run:
            return self._of_another(run, got)
        if sequence < self._pieces:
            return None
        if sequence > self._pieces:
            return Broken(f"piece {self._pieces}", got)
        self._pieces += 1
        return Piece(text)

    def _end(self, run: _Run, pieces: int, failure: Failure | None) -> Event | None:
        got = f"the end after {pieces} pieces"
        if run != self._run:
            return self._of_another(run, got)
        if failure is not None or pieces == self._pieces:
            return Ended(failure)
        return Broken(f"piece {self._pieces}", got)

    def _of_another(self, run: _Run, got: str) -> Event | None:
        if run in self._superseded or self._is_overtaken(run):
            return None
        return Broken(f"the start of {run}", got)
