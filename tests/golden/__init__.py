"""Golden values: the bytes of one envelope of every built-in type, as files.

A change of the wire format shows here as a changed file. `python -m tests.golden` writes the files
of types that have none yet; it never overwrites one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from streams.envelope import Envelope, Kind, Lane

FOLDER: Final = Path(__file__).parent

_DAY_US: Final = 1_376_409_446_000_000

_PAYLOADS: Final[dict[str, dict[str, Any]]] = {
    "agentlog.Json": {"json": '{"question":"Grüße?","n":1}'},
    "agentlog.agent.FleetRegistered": {
        "group": "agentlog.fleet",
        "agents": ["planner", "reviewer-*"],
        "topics": ["agentlog.inbox", "agentlog.tasks"],
    },
    "agentlog.agent.StatusReported": {
        "agent_status": "busy",
        "current_tasks": ["t-1", "t-2"],
        "progress": {"current_task": "t-1", "percentage": 40, "eta": None},
        "health": {"cpu_usage": 12.5, "memory_usage": "512Mi", "load_average": 0.25},
    },
    "agentlog.chat.ChannelCleared": {"memory_count": 17},
    "agentlog.chat.MessageDeleted": {"message_id": "m-1"},
    "agentlog.chat.MessagePosted": {
        "message_id": "m-1",
        "author_id": "agent-7",
        "content": "Tests are green ✓",
        "in_reply_to": "m-0",
        "author_display_name": None,
        "source_id": None,
        "source_type": "discord",
        "raw_message": None,
        "metadata": "{}",
    },
    "agentlog.journal.OutcomesRecorded": {
        "group": "agentlog.fleet",
        "topic": "agentlog.tasks",
        "partition": 3,
        "prefix_from": 10,
        "prefix_to": 15,
        "finished": [{"outcome": "handled", "runs": [10, 4, 2, 1]}],
        "delivery_buckets": [{"index": 4, "count": 5}],
        "delivery_ms_sum": 61,
        "exceptions": [
            {"position": 14, "id": "", "outcome": "skipped", "reason": "import", "detail": ""}
        ],
        "delivery": "at_least_once",
    },
    "agentlog.control.Cancel": {"message_id": "msg-1376409445999-000000000", "reason": "late"},
    "agentlog.control.Drain": {"target": "agentlog.fleet", "reason": "upgrade"},
    "agentlog.control.ReportStatus": {"group": "agentlog.fleet"},
    "agentlog.dlq.DeadLetterResolved": {
        "topic": "agentlog.tasks.dlq",
        "partition": 0,
        "position": 4,
        "id": "msg-1376409445999-000000000",
        "action": "redriven",
        "redrive": 1,
        "note": "the model is back",
    },
    "agentlog.effect.EffectRecorded": {
        "idempotency_key": "msg-1376409445999-000000000:agent-7:fleet:on_assign_task",
        "name": "pay",
        "handler": "fleet:on_assign_task",
        "topic": "agentlog.tasks",
        "partition": 3,
        "position": 14,
        "result": '{"receipt":"r-1"}',
    },
    "agentlog.message.Acknowledged": {
        "acknowledgment": True,
        "original_message_id": "msg-1376409445999-000000000",
        "processed_at": _DAY_US,
    },
    "agentlog.message.RequestAnswered": {
        "request_id": "msg-1376409445999-000000000",
        "success": False,
        "data": None,
        "error": {"name": "ValueError", "message": "no such city"},
    },
    "agentlog.message.StreamStarted": {
        "request_id": "msg-1376409445999-000000000",
        "attempt": 1,
    },
    "agentlog.message.StreamDataSent": {
        "request_id": "msg-1376409445999-000000000",
        "attempt": 1,
        "sequence": 0,
        "data": '"Grüße"',
    },
    "agentlog.message.StreamEnded": {
        "request_id": "msg-1376409445999-000000000",
        "attempt": 1,
        "pieces": 1,
        "error": None,
    },
    "agentlog.worker.WorkerReported": {
        "group": "agentlog.fleet",
        "run_id": "run-1",
        "host": "pod-1",
        "pid": 7,
        "started_at": _DAY_US,
        "reported_at": _DAY_US + 1,
        "in_flight": 5,
        "in_flight_bytes": 4096,
        "waiting": 3,
        "running": 1,
        "retrying": 1,
        "oldest_key": "corr-1",
        "oldest_ms": 250,
        "partitions": [
            {
                "topic": "agentlog.tasks",
                "partition": 3,
                "committed": 10,
                "read_to": 16,
                "in_flight": 5,
                "beyond": 1,
            }
        ],
    },
    "agentlog.aggregate.CommandAnswered": {
        "command_id": "msg-1376409445999-000000000",
        "stream_id": "state:plan",
        "verdict": "conflict",
        "version": 7,
        "events": 0,
        "error": {"name": "VersionConflict", "message": "state:plan is at version 7"},
        "state": b"\xa0",
        "topic": "agentlog.events",
        "partition": 3,
        "position": -1,
    },
    "agentlog.cut.CutSaved": {
        "name": "before-release",
        "cut": "cut1:gmFjoWducy50YXNrc4JhdKEAAw",
        "note": "the night before",
    },
    "agentlog.state.EntrySet": {
        "key": "plan",
        "value": '{"step":2}',
        "updated_by": "agent-7",
        "updated_at": _DAY_US,
    },
    "agentlog.state.SetEntry": {
        "key": "plan",
        "value": '{"step":2}',
        "notify": True,
        "include_value": False,
        "subscribers": ["agent-8"],
    },
    "agentlog.state.StateChanged": {
        "key": "plan",
        "version": 2,
        "updated_by": "agent-7",
        "updated_at": _DAY_US,
        "full_value": '{"step":2}',
    },
    "agentlog.state.SyncState": {"key": "plan"},
    "agentlog.task.AssignTask": {
        "task": {
            "id": "t-1",
            "type": "review",
            "description": "Review the change",
            "parameters": '{"files":8}',
            "deadline": _DAY_US,
            "priority": 4,
            "dependencies": ["t-0"],
            "resources": {"cpu_limit": "500m", "memory_limit": None, "timeout": 60_000},
        }
    },
    "agentlog.task.AdvanceTask": {
        "task_id": "t-1",
        "step": "assigned",
        "assignee": "agent-7",
        "deadline": _DAY_US,
        "percentage": None,
        "result": None,
        "error": None,
    },
    "agentlog.task.TaskAdvanced": {
        "task_id": "t-1",
        "step": "failed",
        "assignee": None,
        "deadline": None,
        "percentage": None,
        "result": None,
        "error": {"code": "E7", "message": "no such file"},
    },
    "agentlog.snapshot.StateSnapshotted": {
        "checkpoint_id": "agentlog.events[3]@40/1376409445999000",
        "stream_id": "state:plan",
        "version": 7,
        "state": b"\xa0",
    },
    "agentlog.snapshot.CheckpointMade": {
        "checkpoint_id": "agentlog.events[3]@40/1376409445999000",
        "topic": "agentlog.events",
        "partition": 3,
        "topic_id": "TsfkTsvlA4QmQtJITMV7qQ",
        "end": 40,
        "epoch": 2,
        "aggregates": [{"name": "state", "code": "0a", "schemas": "1b"}],
        "streams": 1,
        "previous": -1,
        "first": 12,
    },
    "agentlog.task.TaskFinished": {
        "task_id": "t-1",
        "status": "failed",
        "result": None,
        "error": {"code": "E1", "message": "no such file", "details": None},
        "metrics": {"execution_time": 1200, "memory_used": 8, "cpu_used": 0.5},
        "artifacts": ["report.txt"],
    },
}


def golden_envelope(type_name: str, kind: Kind) -> Envelope:
    """The envelope of this type whose bytes are golden: every field is set."""
    return Envelope(
        type=type_name,
        payload=_PAYLOADS[type_name],
        id="msg-1376409446000-2tn3u9v7i",
        kind=kind,
        sender="agent-7",
        recipients=("agent-1", "agent-2"),
        broadcast_pattern="agent-*",
        correlation_id="corr-1",
        causation_id="msg-1376409445999-000000000",
        channel_id="docs",
        server_id="server-1",
        session_id="session-1",
        reply_to="pod-1",
        created_at=_DAY_US,
        ttl_ms=30_000,
        priority=5,
        requires_ack=True,
        retry_count=1,
        lane=Lane.DATA,
        stream_id="task-t-1",
        stream_version=3,
        expected_version=2,
        writer="run-1",
        writer_epoch=1,
        headers={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    )


def golden_file(type_name: str, version: int) -> Path:
    """Where the bytes of one version of a type are kept."""
    return FOLDER / f"{type_name}.v{version}.bin"
