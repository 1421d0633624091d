"""Read models: projections whose result is rows of tables, in SQLite or PostgreSQL.

- model         what a read model is
- stored        which generations there are, and their tables
- generations   copies of its tables: which is read, how far each is
- rows          kept by a group as the log grows
- catching_up   brought up to a cut
- rebuilding    a new generation beside the live one
- reading       one moment of the live one, through every swap
"""

from consumers.read_models.catching_up import catch_up
from consumers.read_models.generations import Generation, Generations, live_models
from consumers.read_models.model import Entry, ReadModel, Tables
from consumers.read_models.reading import View, read_live, wait_for_position
from consumers.read_models.rebuilding import Rebuilt, rebuild
from consumers.read_models.rows import ReadModelRunner, RowKeeper

__all__ = [
    "Entry",
    "Generation",
    "Generations",
    "ReadModel",
    "ReadModelRunner",
    "Rebuilt",
    "RowKeeper",
    "Tables",
    "View",
    "catch_up",
    "live_models",
    "read_live",
    "rebuild",
    "wait_for_position",
]
