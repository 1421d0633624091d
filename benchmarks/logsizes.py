"""How many bytes the broker keeps for each topic: kafka-log-dirs, from the broker's own jars."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Final

from streams.brokers import tool_command

TOOL_S_MAX: Final = 120


def log_sizes(bootstrap_servers: str) -> Counter[str]:
    """Bytes of all segments by full topic name, Kafka's own topics included."""
    command = tool_command(
        "org.apache.kafka.tools.LogDirsCommand",
        "--bootstrap-server",
        bootstrap_servers,
        "--describe",
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_S_MAX, check=False)
    if done.returncode:
        raise RuntimeError(f"kafka-log-dirs exited with {done.returncode}:\n{done.stderr}")
    said = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    sizes: Counter[str] = Counter()
    for broker in said["brokers"]:
        for folder in broker["logDirs"]:
            for partition in folder["partitions"]:
                topic, _, _ = partition["partition"].rpartition("-")
                sizes[topic] += partition["size"]
    return sizes
