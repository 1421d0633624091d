"""What the figures were measured on, and how busy it was before."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from streams.brokers.embedded.lock import load_lock

LIBRARIES: Final = (
    "aiokafka",
    "confluent-kafka",
    "cramjam",
    "datafusion",
    "fastavro",
    "msgspec",
    "pyarrow",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine at a moment."""

    date: str
    """UTC, RFC 3339."""
    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    kafka: str
    """The embedded broker's version."""
    libraries: dict[str, str]
    load_before: tuple[float, float, float]
    """Over 1, 5 and 15 minutes."""


def this_machine() -> Machine:
    """The machine at hand, now."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_gib=round(pages * page_bytes / 2**30, 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        kafka=load_lock().kafka_version,
        libraries={name: version(name) for name in LIBRARIES},
        load_before=os.getloadavg(),
    )


def _cpu() -> str:
    """The model that Linux names; what Python knows elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")
