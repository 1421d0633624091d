"""`python -m streams.brokers.embedded.relock`: make `kafka.lock.json` again from its roots.

Resolves the roots with jgo, downloads every jar into a temporary folder, digests it and writes the
lock next to this file. With the same roots it must reproduce the committed file byte for byte;
a new Kafka is a new `KAFKA_VERSION` here, one run, and a reviewed diff.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streams.brokers.embedded.lock import (
    LOCK_NAME,
    KafkaLock,
    LockedJar,
    Root,
    render_lock,
    sha256_of,
)
from streams.brokers.embedded.maven import fetch_jar, open_repositories, resolve_closure

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.4"
ROOTS = (
    Root(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", managed=True, excluded=()),
    # The perf tools. Connect and its web server come along for commands that we never run.
    Root(
        f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
        managed=True,
        excluded=(
            "org.apache.kafka:connect-api",
            "org.apache.kafka:connect-json",
            "org.apache.kafka:connect-runtime",
            "org.apache.kafka:connect-transforms",
            "com.fasterxml.jackson.jakarta.rs:jackson-jakarta-rs-json-provider",
        ),
    ),
    # Kafka speaks slf4j 1.7. Unmanaged: log4j's parent POM would pin other Kafka clients.
    Root(f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}", managed=False, excluded=()),
)


def make_lock(folder: Path) -> KafkaLock:
    """Resolve `ROOTS`, download below `folder`, and say what came."""
    context = open_repositories(folder)

    def locked(coordinates: str) -> LockedJar:
        path = fetch_jar(context, coordinates)
        return LockedJar(coordinates, path.stat().st_size, sha256_of(path))

    with ThreadPoolExecutor(max_workers=8) as pool:
        jars = tuple(pool.map(locked, resolve_closure(context, ROOTS)))
    return KafkaLock(KAFKA_VERSION, ROOTS, jars)


def main() -> None:
    """Write the lock and say what it holds."""
    with tempfile.TemporaryDirectory(prefix="agentlog-relock-") as folder:
        lock = make_lock(Path(folder))
    target = Path(__file__).with_name(LOCK_NAME)
    target.write_text(render_lock(lock), encoding="utf-8")
    sys.stderr.write(f"{target.name}: {len(lock.jars)} jars, {lock.size:,} bytes\n")


if __name__ == "__main__":
    main()
