"""What a started registry leaves for other processes to find: a small JSON file.

Pure but for the two functions at the end. As with the broker's, whether it still runs is asked of
the system, never of the file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from streams.brokers.apicurio.configuration import RegistryLayout
from streams.brokers.embedded.state import ProcessId


@dataclass(frozen=True, slots=True)
class RegistryState:
    """A started registry. `keep` says who stops it: True for `agentlog registry start`, which stays
    until `agentlog registry stop`; False for a program that started it for itself.
    """

    apicurio_version: str
    folder: Path
    port: int
    process: ProcessId
    started_at: datetime
    keep: bool

    @property
    def url(self) -> str:
        """Where its Confluent API is."""
        return self.layout.url

    @property
    def layout(self) -> RegistryLayout:
        """Where its files are."""
        return RegistryLayout(self.folder, self.port)


def parse_state(text: str, folder: Path) -> RegistryState | None:
    """The state in a state file's text, or None if it holds none (empty, torn, another format)."""
    try:
        raw: dict[str, Any] = json.loads(text)
        process = raw["process"]
        return RegistryState(
            apicurio_version=str(raw["apicurio_version"]),
            folder=folder,
            port=int(raw["port"]),
            process=ProcessId(int(process["pid"]), str(process["birth"])),
            started_at=datetime.fromisoformat(raw["started_at"]),
            keep=bool(raw["keep"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def render_state(state: RegistryState) -> str:
    """The text of a state file; the folder that it lies in is not repeated."""
    document = asdict(state) | {"started_at": state.started_at.isoformat()}
    del document["folder"]
    return json.dumps(document, indent=1) + "\n"


def read_state(folder: Path) -> RegistryState | None:
    """The state of the last start, whether it still runs or not; None if there was none."""
    try:
        return parse_state((folder / "last-run.json").read_text(encoding="utf-8"), folder)
    except FileNotFoundError:
        return None


def write_state(state: RegistryState) -> None:
    """Replace what is there, whole or not at all."""
    draft = state.folder / "last-run.draft"
    draft.write_text(render_state(state), encoding="utf-8")
    draft.replace(state.folder / "last-run.json")
