"""A producer that writes inside a transaction and never comes to its end.

It says `written` when the brokers have its records, and waits for the SIGKILL that is its fate.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import Any, Final

from confluent_kafka import Producer

from streams.headers import record_headers
from streams.kafka.configs import MURMUR2, SILENT
from streams.topics import TASKS, Namespace
from tests.faults.load import Load
from tests.faults.pipeline import PIPELINE
from tests.faults.stage import CODEC

WRITTEN: Final = "written"
ANSWER_S_MAX: Final = 60.0
TRANSACTION_MS: Final = 10_000
"""After which the broker aborts it; it looks every 10 s."""


def haunt(servers: str, namespace: Namespace, transactional_id: str, load: Load) -> None:
    """Write the load inside a transaction that stays open."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_MS,
            "partitioner": MURMUR2,
        },
        logger=SILENT,
    )
    producer.init_transactions(ANSWER_S_MAX)
    producer.begin_transaction()
    for index in range(load.records):
        envelope = load.envelope(PIPELINE, index, time.time_ns() // 1000)
        headers: Any = record_headers(envelope)
        producer.produce(
            namespace.topic(TASKS), CODEC.encode(envelope), envelope.correlation_id, headers=headers
        )
    if producer.flush(ANSWER_S_MAX):
        raise RuntimeError("the brokers did not take it")
    sys.stdout.write(f"{WRITTEN}\n")
    sys.stdout.flush()
    signal.pause()


def main() -> None:
    """Haunt until killed."""
    parser = argparse.ArgumentParser()
    for name in ("--servers", "--namespace", "--transactional-id"):
        parser.add_argument(name, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--records", type=int, required=True)
    given = parser.parse_args()
    load = Load(given.records, first=given.first)
    haunt(given.servers, Namespace(given.namespace), given.transactional_id, load)


if __name__ == "__main__":
    main()
