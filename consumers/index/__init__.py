"""The index: a read model from what records are known by to where they are, and how they ended.

- keys      what is indexed; hashes of eight bytes
- model     the tables, and what a record changes in them
- finding   positions by key, outcomes by position
"""

from consumers.index.finding import Ended, Index
from consumers.index.keys import Key, has_key
from consumers.index.model import LogIndex

__all__ = ["Ended", "Index", "Key", "LogIndex", "has_key"]
