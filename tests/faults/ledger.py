"""The aggregate that faults of owners strike: one stream per key, which counts and remembers.

    commands: SetEntry k-n  ──►  decide, evolve  ──►  events: EntrySet k-n, version n + 1

What it remembers would be another if one event were lost, repeated or moved, and each event's
header says what the state was when it was decided.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from consumers.aggregates import Aggregate, AggregateApp, Command, Event
from consumers.retry import RetryPolicy
from streams.envelope import Envelope, Kind
from streams.shared_state import ENTRY_SET, SET_ENTRY
from streams.topics import COMMANDS, EVENTS
from tests.faults.checkers import ASSIGNED, REPORTED
from tests.faults.ground import Ground
from tests.faults.load import key_of, number_of
from tests.faults.record_kinds import MORTAL
from tests.faults.starts import FOLDER, SPECIAL, count_start

NAME: Final = "ledger"
DEATHS_AFTER_MS: Final = (0, 1, 2, 4, 7, 12, 25, 60)
"""From a decision to its owner's death: before anything is written, within the transaction, while
it is committed, just after.
"""
DIED: Final = ".died"
_PRIME: Final = 1_000_003

ledger = Aggregate(NAME, initial=dict)


@ledger.decide(SET_ENTRY)
def decide(state: Mapping[str, Any], command: Command) -> Envelope:
    """Every command is one event."""
    count_start(0)
    said, task_id = command.payload, command.payload["value"]
    if MORTAL in said["subscribers"] and _dies(task_id):
        count_start(SPECIAL)
        after_ms = DEATHS_AFTER_MS[number_of(task_id) % len(DEATHS_AFTER_MS)]
        asyncio.get_running_loop().call_later(after_ms / 1000, os.kill, os.getpid(), signal.SIGKILL)
    entry = {"key": said["key"], "value": task_id, "updated_by": NAME, "updated_at": 0}
    return Envelope(type=ENTRY_SET, payload=entry)


@ledger.evolve(ENTRY_SET)
def evolve(state: dict[str, Any], event: Event) -> dict[str, Any]:
    """It depends on every event and on their order."""
    number = number_of(event.payload["value"])
    return {
        "events": state.get("events", 0) + 1,
        "memory": (state.get("memory", 7) * 31 + number) % _PRIME,
    }


app = AggregateApp(
    NAME,
    ledger,
    drain_s_max=3,
    checkpoint_positions=2_000,
    checkpoint_look_s=2,
    retry=RetryPolicy(wait_ms=100, wait_ms_max=1_000),
)


def _dies(task_id: str) -> bool:
    """Once for each: another owner decides on it again, and lives."""
    try:
        (Path(os.environ[FOLDER]) / f"{task_id}{DIED}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


# --- what the suite knows of it --------------------------------------------------------------


def _make(task_id: str, kind: str) -> Envelope:
    key = key_of(task_id)
    return Envelope(
        type=SET_ENTRY,
        kind=Kind.COMMAND,
        stream_id=f"{NAME}:{key}",
        correlation_id=key,
        payload={"key": key, "value": task_id, "subscribers": [kind]},
    )


def _seen(envelope: Envelope) -> Sequence[tuple[int, str]]:
    hop = {SET_ENTRY: ASSIGNED, ENTRY_SET: REPORTED}.get(envelope.type)
    return [] if hop is None else [(hop, envelope.payload["value"])]


LEDGER: Final = Ground(
    app="tests.faults.ledger:app",
    group=NAME,
    source=COMMANDS,
    outputs=(EVENTS,),
    hops=1,
    make=_make,
    seen=_seen,
    expected=lambda _: {ENTRY_SET: 1},
    aggregates=(ledger,),
)
