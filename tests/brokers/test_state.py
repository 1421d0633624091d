"""What a started broker leaves for others to find, and whom it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from streams.brokers.embedded import process
from streams.brokers.embedded.node import Node
from streams.brokers.embedded.state import BrokerState, ProcessId, parse_state, render_state

STATE = BrokerState(
    kafka_version="4.3.1",
    nodes=(Node(1, 9092, 9093),),
    processes=(ProcessId(4711, "boot:12"),),
    started_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    keep=True,
)


def test_a_state_survives_its_file() -> None:
    """What one process writes, another one reads."""
    assert parse_state(render_state(STATE)) == STATE


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_torn_state_file_is_no_state(cut: int) -> None:
    """A crash while it was written must not break the next start."""
    assert parse_state(render_state(STATE)[:cut]) is None


@pytest.mark.parametrize("change", [{"nodes": []}, {"processes": None}, {"started_at": "today"}])
def test_a_state_file_of_another_format_is_no_state(change: dict[str, object]) -> None:
    """Nor must a file of an older or newer Agentlog."""
    assert parse_state(json.dumps(json.loads(render_state(STATE)) | change)) is None


def test_a_reused_pid_is_not_the_process_that_had_it() -> None:
    """A process is its pid and its birth: another one with our pid is neither found nor killed."""
    me = process.identify(os.getpid())
    assert me is not None
    assert process.is_alive(me)
    stranger = ProcessId(me.pid, "another birth")
    assert not process.is_alive(stranger)
    assert process.terminate([stranger], timeout_s=1, rest_s=1)


def test_a_zombie_is_dead() -> None:
    """A killed child that nobody has collected yet does not count as a running broker."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = process.identify(child.pid)
    assert known is not None
    child.kill()
    assert process.wait_gone(known, timeout_s=10)
    child.communicate()
    assert process.identify(child.pid) is None


def test_a_process_that_ignores_sigterm_is_killed_and_said_to_be() -> None:
    """`terminate` waits, then kills, and returns False: the stop was not clean."""
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        known = process.identify(child.pid)
        assert known is not None
        assert not process.terminate([known], timeout_s=0.2, rest_s=1)
        assert not process.is_alive(known)
