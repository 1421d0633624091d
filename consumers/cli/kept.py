"""What `agentlog projections` keeps: states of projections, and rows of read models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import platformdirs
import typer

from consumers.agent_history import AgentHistory
from consumers.cli.replaying import load_projection
from consumers.index import LogIndex
from consumers.projections import Projection
from consumers.read_models import ReadModel
from consumers.references import load_reference
from streams.errors import ConfigurationError

Name = Annotated[str, typer.Argument(metavar="state|metrics|index|agents|MODULE:NAME")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="AGENTLOG_STORE",
        help="Database, as in sqlite:///FILE or postgresql://USER@HOST/NAME; "
        "default: SQLite in the user's data.",
    ),
]

READ_MODELS: Final[Mapping[str, Callable[[], ReadModel]]] = {
    LogIndex.name: LogIndex,
    AgentHistory.name: AgentHistory,
}


def load_kept(name: str) -> Projection[Any] | ReadModel:
    """`state`, `metrics`, `index`, `agents`, or what MODULE:NAME refers to."""
    if name in READ_MODELS:
        return READ_MODELS[name]()
    if ":" in name:
        found: Any = load_reference(name)
        if isinstance(found, ReadModel):
            return found
    return load_projection(name)


def load_read_model(name: str) -> ReadModel:
    """The same, if it is a read model. Raises `ConfigurationError` for anything else."""
    found = load_kept(name)
    if not isinstance(found, ReadModel):
        raise ConfigurationError(
            f"{name} is a projection whose state is stored as a whole: raise its version, and "
            "`agentlog projections run` makes it anew beside the old one"
        )
    return found


def store_url(store: str | None, kept: Projection[Any] | ReadModel) -> str:
    """What was asked for, else a SQLite file in the user's data folder.

    States and rows have a file each: SQLite has one writer at a time. Namespaces share them.
    """
    name = "read-models.sqlite" if isinstance(kept, ReadModel) else "projections.sqlite"
    return store or f"sqlite:///{platformdirs.user_data_path('agentlog') / name}"
