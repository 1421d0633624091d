"""Quix Streams. `python -m benchmarks.peers.quix < job.json`.

At least once, or, with an output per record, exactly once. Its own settings: one commit every 5 s
and one at the end, so that a short run is one transaction (agentlog's worker ends one every few
milliseconds). Records are handled one after the other; nothing is kept in order per key alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found]
from quixstreams.models import Deserializer, Serializer  # type: ignore[import-not-found]

from benchmarks.peers.job import Clock, Job, answer, read_job
from benchmarks.wire import REPORT, load_schemas, report_on, wire_headers, wire_reader, wire_value


class _Read(Deserializer):  # type: ignore[misc]
    def __init__(self, read: Callable[[bytes], dict[str, Any]]) -> None:
        super().__init__()
        self._read = read

    def __call__(self, value: bytes, ctx: Any) -> dict[str, Any]:  # noqa: ARG002
        return self._read(value)


class _Write(Serializer):  # type: ignore[misc]
    def __init__(self, write: Callable[[Mapping[str, Any]], bytes]) -> None:
        super().__init__()
        self._write = write

    def __call__(self, value: Mapping[str, Any], ctx: Any) -> bytes:  # noqa: ARG002
        return self._write(value)


def work(job: Job) -> Clock:
    """Handle the job's records; returns when all is committed."""
    schemas = load_schemas(job.schemas_path)
    clock = Clock(job.records)
    app = Application(
        broker_address=job.bootstrap_servers,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once" if job.output_topic is None else "exactly-once",
        state_dir=job.state_dir,
        auto_create_topics=False,
        loglevel="ERROR",
    )
    tasks = app.topic(
        job.topic, key_deserializer="bytes", value_deserializer=_Read(wire_reader(schemas))
    )
    frame = app.dataframe(tasks)

    def on_task(_task: Mapping[str, Any]) -> None:
        if clock.count():
            app.stop()

    number = 0

    def on_task_report(task: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal number
        number += 1
        if clock.count():
            app.stop()
        return report_on(task, number)

    if job.output_topic is None:
        frame.update(on_task)
    else:
        report = schemas[REPORT]
        events = app.topic(
            job.output_topic,
            key_serializer="bytes",
            value_serializer=_Write(lambda fields: wire_value(report, fields)),
        )
        frame = frame.apply(on_task_report)
        frame = frame.set_headers(lambda fields, *_: wire_headers(fields))
        frame.to_topic(events, key=lambda fields: fields["correlation_id"].encode())
    app.run()
    return clock


if __name__ == "__main__":
    answer(work(read_job()).done("quixstreams", "confluent-kafka", "fastavro"))
