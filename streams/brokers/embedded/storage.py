"""Prepare the data of nodes that have none yet, with Kafka's own StorageTool.

A cluster has one id, which each node's `data/meta.properties` repeats: if a killed start left some
nodes prepared and others not, the others join the id that is there.
"""

from __future__ import annotations

import base64
import re
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from streams.brokers.embedded import java
from streams.brokers.embedded.aot import CacheCrash, is_to_blame
from streams.brokers.embedded.diagnosis import explain_death
from streams.brokers.embedded.node import ClusterLayout, Node
from streams.errors import BrokerError

FORMAT_TIMEOUT_S = 180.0  # as for the brokers themselves (`launch`)
_CLUSTER_ID = re.compile(r"^cluster\.id=(.+)$", re.MULTILINE)


def format_data(layout: ClusterLayout, jars: Path, flags: Sequence[str]) -> None:
    """Prepare every node that is not. `BrokerError` with Kafka's own words if one refuses."""
    known: str | None = None
    fresh: list[Node] = []
    for node in layout.nodes:
        try:
            found = _CLUSTER_ID.search(_meta(layout, node).read_text(encoding="utf-8"))
            known = found.group(1).strip() if found else known
        except FileNotFoundError:
            fresh.append(node)
    if fresh:
        cluster_id = known or fresh_cluster_id(uuid.uuid4)
        for node in fresh:
            _format(layout, node, jars, cluster_id, flags)


def fresh_cluster_id(make: Callable[[], uuid.UUID]) -> str:
    """A cluster id as Kafka writes them: never with `-` first, which its tools take for an option
    (one random id in 64 would).
    """
    while True:
        cluster_id = base64.urlsafe_b64encode(make().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


def _meta(layout: ClusterLayout, node: Node) -> Path:
    return layout.node_folder(node) / "data" / "meta.properties"


def _format(
    layout: ClusterLayout, node: Node, jars: Path, cluster_id: str, flags: Sequence[str]
) -> None:
    command = java.short_command(
        jars,
        "kafka.tools.StorageTool",
        *("format", "--cluster-id", cluster_id, "--ignore-formatted"),
        *("--config", str(layout.properties(node))),
        flags=[*flags, f"-XX:ErrorFile={layout.crash_log(node)}"],
    )
    try:
        done = subprocess.run(  # noqa: S603 (our own argv)
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=FORMAT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerError(
            f"Kafka could not prepare its data within {FORMAT_TIMEOUT_S:g} s: run again on a "
            "less busy machine"
        ) from error
    if done.returncode != 0:
        log = layout.console_log(node)
        said = done.stdout + done.stderr
        log.write_text(said, encoding="utf-8")
        lines = said.splitlines()
        kind = CacheCrash if is_to_blame(flags, layout.crash_log(node), lines) else BrokerError
        raise kind(explain_death(layout, node, lines, log, "prepare its data"))
