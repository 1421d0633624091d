"""What the database has of read models: which generations there are, and how far each is.

And the names under which a generation has its own copies of the model's tables.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.sql.elements import quoted_name

from consumers.read_models.model import ReadModel, Tables

BUILDING: Final = "building"
LIVE: Final = "live"
RETIRED: Final = "retired"

_METADATA: Final = sa.MetaData()
GENERATIONS: Final = sa.Table(
    "read_model_generations",
    _METADATA,
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("namespace", sa.String(63), nullable=False),
    sa.Column("model", sa.String(40), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("status", sa.String(10), nullable=False),
    sqlite_autoincrement=True,  # a number never means another generation
)
KEPT: Final = GENERATIONS.c.status != RETIRED
sa.Index(
    "read_model_generations_one",
    GENERATIONS.c.namespace,
    GENERATIONS.c.model,
    GENERATIONS.c.status,
    unique=True,
    sqlite_where=KEPT,
    postgresql_where=KEPT,
)
POSITIONS: Final = sa.Table(
    "read_model_positions",
    _METADATA,
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.String(249), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("topic_id", sa.String(64), nullable=False),
    sa.Column("cluster_id", sa.String(64), nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)


def copies_of(model: ReadModel, number: int) -> Tables:
    """The model's tables under this generation's names."""
    metadata, copies = sa.MetaData(), {}
    for table in model.tables.sorted_tables:
        copy = table.to_metadata(metadata, name=f"{model.name}_{table.name}_g{number}")
        for index in copy.indexes:
            index.name = quoted_name(f"{model.name}_{index.name}_g{number}", quote=None)
        copies[table.name] = copy
    return copies
