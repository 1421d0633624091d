"""Code that reads payloads in many ways, to be read by `consumers.usage` and never run."""

# ruff: noqa: T201 - it is never run

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from consumers.aggregates import Aggregate, Command, Event
from consumers.app import App
from consumers.context import Context
from consumers.read_models import Entry
from streams.envelope import Envelope, Kind
from streams.record import Record

ASSIGN = "agentlog.task.AssignTask"
FINISHED = "agentlog.task.TaskFinished"
POSTED = "agentlog.chat.MessagePosted"
STATUS = "agentlog.agent.StatusReported"
FIELDS = {"first": "task_id"}
Said = Mapping[str, Any]

app = App("reading", topics=("tasks",))


@app.on(ASSIGN)
async def nested(ctx: Context, payload: Said) -> None:
    task = payload["task"]
    if task.get("deadline", payload["task"]["priority"]) is None:
        ctx.log.info(task["id"])


@app.on(FINISHED, name="branches")
def branches(ctx: Context, payload: Said) -> None:
    one = payload["result"] if payload["status"] == "completed" else payload["error"]["code"]
    print(f"{one} {(payload['metrics'] or {}).get('cpu_used')}", "artifacts" in payload)


@app.on(FINISHED, name="loops")
async def loops(ctx: Context, said: Said) -> None:
    for one in sorted(said["artifacts"]):
        print(one)
    print(sum(1 for _ in said["metrics"] or ()), len(said["result"]))
    print([1 for _ in said["error"].items()])


@app.on(FINISHED, name="envelope")
async def of_envelope(ctx: Context, payload: Said) -> None:
    print(ctx.envelope.sender, ctx.envelope.payload["task_id"])


@app.on(FINISHED, name="matching")
async def matching(ctx: Context, payload: Said) -> None:
    match payload:
        case {"status": "failed", "error": {"message": message}}:
            print(message)


@app.on(FINISHED, name="followed")
async def followed(ctx: Context, payload: Said) -> None:
    print(_code(payload), HELPER.label(payload, of=payload["metrics"]))


def _code(said: Said) -> Any:
    error = said["error"]
    return error and error["code"]


class _Helper:
    def label(self, said: Said, of: Said) -> str:
        return self._shown(said) + str(of["execution_time"])

    @staticmethod
    def _shown(said: Said) -> str:
        return str(said["task_id"])


HELPER = _Helper()


@app.on(FINISHED, name="returned")
async def returned(ctx: Context, payload: Said) -> None:
    print(_error(payload)["message"])


def _error(said: Said) -> Any:
    return said["error"]


@app.on(FINISHED, name="recursive")
async def recursive(ctx: Context, payload: Said) -> None:
    def again(n: int) -> None:
        print(payload["status"])
        _again(payload, n)

    again(3)


def _again(said: Said, n: int) -> None:
    print(said["task_id"])
    if n:
        _again(said, n - 1)


@app.on(FINISHED, name="whole")
async def whole(ctx: Context, payload: Said) -> None:
    print({**payload})


@app.on(FINISHED, name="computed")
async def computed(ctx: Context, payload: Said) -> None:
    for name in FIELDS.values():
        print(payload[name])


@app.on(FINISHED, name="handed_on")
async def handed_on(ctx: Context, payload: Said) -> None:
    json.dumps(payload)


@app.on(FINISHED, name="starred")
async def starred(ctx: Context, payload: Said) -> None:
    _many(1, payload["error"], of=payload["status"], metrics=payload["metrics"])


def _many(n: int, *values: Any, of: Any, **named: Any) -> None:
    print(n, values, named)


@app.on(FINISHED, name="nothing")
async def nothing(ctx: Context, payload: Said) -> None:
    print(ctx.envelope.sender)


everything = App("everything", topics=("tasks",))


@everything.on()
async def on_any(ctx: Context, payload: Said) -> None:
    if ctx.envelope.type == FINISHED:
        print(payload["status"])


class Narrowed:
    """A fold that tells types apart in all the ways that there are."""

    name = "narrowed"
    version = 1
    topics = ("tasks",)

    def initial(self) -> dict[str, Any]:
        return {}

    def apply(self, state: dict[str, Any], record: Record, envelope: Envelope) -> dict[str, Any]:
        if envelope.kind is Kind.TASK_ASSIGNMENT:
            state["task"] = envelope.payload["task"]["id"]
            return state
        if envelope.type not in {FINISHED, POSTED, STATUS}:
            return state
        match envelope.type:
            case "agentlog.chat.MessagePosted":
                state["text"] = envelope.payload["content"]
            case _ if record.position:
                self._rest(state, envelope)
        return state

    def _rest(self, state: dict[str, Any], envelope: Envelope) -> None:
        told = TOLD.get(envelope.type)
        if told is not None and envelope.type != STATUS:
            state["last"] = told(envelope)
        state["by"] = TOLD[envelope.type](envelope) if envelope.type == STATUS else None

    def merge(self, a: Any, b: Any) -> Any:
        return a

    def view(self, state: Any) -> Any:
        return state


def _finished(envelope: Envelope) -> Any:
    return envelope.payload["status"]


def _reported(envelope: Envelope) -> Any:
    return envelope.payload["agent_status"]


TOLD = {FINISHED: _finished, STATUS: _reported}
narrowed = Narrowed()


class Rows:
    name = "rows"
    version = 1
    topics = ("tasks",)
    tables = None

    def apply(self, connection: Any, tables: Any, entries: Sequence[Entry]) -> None:
        for record, envelope in entries:
            if envelope.type == FINISHED:
                print(record.position, envelope.payload["task_id"])
        for entry in entries:
            if entry.envelope.type == ASSIGN:
                print(entry.envelope.payload["task"]["type"])


rows = Rows()
tasks = Aggregate("tasks", initial=dict)


@tasks.decide("agentlog.task.AdvanceTask")
def advance(state: Any, command: Command) -> Envelope:
    return Envelope(type="agentlog.task.TaskAdvanced", payload={"step": command.payload["step"]})


@tasks.evolve("agentlog.task.TaskAdvanced")
def advanced(state: Any, event: Event) -> Any:
    return {**state, "step": event.payload["step"]}


unreadable = App("unreadable", topics=("tasks",))
unreadable.on(FINISHED, name="built_in")(print)


def write() -> list[Envelope]:
    return [Envelope(type=ASSIGN, payload={}), Envelope(type=FIELDS["first"], payload={})]
