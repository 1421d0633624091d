"""Kafka's own performance tools, run on the embedded broker's own jars.

Both report themselves how fast they were, without the start of their JVM; the consumer's figure
also leaves out the time it took to join its group.
"""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from streams.brokers import tool_command

TOOL_S_MAX: Final = 120

_PRODUCED: Final = re.compile(r"steady state records sent, ([0-9.]+) records/sec")
_CONSUMED: Final = "fetch.nMsg.sec"


def producer_perf_test(
    bootstrap_servers: str,
    topic: str,
    *,
    records: int,
    record_bytes: int,
    settings: Mapping[str, Any],
) -> float:
    """Records per second of kafka-producer-perf-test, with random payloads of this size.

    So many are counted; a quarter of that before them warms the JVM.
    """
    said = _run(
        "ProducerPerformance",
        "--bootstrap-server",
        bootstrap_servers,
        "--topic",
        topic,
        "--num-records",
        str(records + records // 4),
        "--warmup-records",
        str(records // 4),
        "--record-size",
        str(record_bytes),
        "--throughput",
        "-1",
        "--command-property",
        *(f"{name}={value}" for name, value in settings.items()),
    )
    return float(_PRODUCED.findall(said)[-1])


def consumer_perf_test(bootstrap_servers: str, topic: str, *, records: int) -> float:
    """Records per second of kafka-consumer-perf-test, while it fetched; it decodes nothing."""
    said = _run(
        "ConsumerPerformance",
        "--bootstrap-server",
        bootstrap_servers,
        "--topic",
        topic,
        "--num-records",
        str(records),
        "--command-property",
        "isolation.level=read_committed",
    )
    header, figures = list(csv.reader(said.splitlines()[-2:], skipinitialspace=True))
    return float(dict(zip(header, figures, strict=True))[_CONSUMED])


def _run(tool: str, *arguments: str) -> str:
    command = tool_command(f"org.apache.kafka.tools.{tool}", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_S_MAX, check=False)
    if done.returncode:
        raise RuntimeError(f"{tool} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()
