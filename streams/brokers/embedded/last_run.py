"""What the last start in a folder left there: `last-run.json`, and each node's data.

Whether it still runs is asked of the system, never of the file.
"""

from __future__ import annotations

from pathlib import Path

from streams.brokers.embedded import process
from streams.brokers.embedded.state import BrokerState, parse_state, render_state


def read(folder: Path) -> BrokerState | None:
    """The state of the last start, whether it still runs or not; None if there was none."""
    try:
        return parse_state(_file(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write(folder: Path, state: BrokerState) -> None:
    """Replace what is there, whole or not at all."""
    draft = _file(folder).with_suffix(".draft")
    draft.write_text(render_state(state), encoding="utf-8")
    draft.replace(_file(folder))


def size(folder: Path) -> int | None:
    """How many nodes the data is for; None if there is no data yet."""
    if (last := read(folder)) is not None:
        return len(last.nodes)
    return len(list(folder.glob("node-*/data/__cluster_metadata-0"))) or None


def missing(state: BrokerState) -> tuple[int, ...]:
    """The nodes of a start, by their index, whose processes are gone."""
    return tuple(index for index, one in enumerate(state.processes) if not process.is_alive(one))


def _file(folder: Path) -> Path:
    return folder / "last-run.json"
