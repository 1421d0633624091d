"""Usage: which code reads a payload type and which of its fields, and which code writes it.

Found in the source, without running any of it: `readers` looks at handlers, projections, read
models and aggregates, `writers` for envelopes that are made. What the source does not tell is said
so, never guessed.

- sources   a function's syntax, and what its names stand for
- symbols   what an expression stands for, as far as payloads go
- narrowing which payload types a condition leaves
- fields    the walk through functions: the fields of a payload that they touch; `statements`
            and `expressions` are its steps
- readers   what MODULE:NAME stands for, as readers
- writers   where envelopes of a type are made
"""

from consumers.usage.readers import Reader, ReaderKind, Reads, builtin_readers, reader_of
from consumers.usage.writers import Writer, writers_in

__all__ = [
    "Reader",
    "ReaderKind",
    "Reads",
    "Writer",
    "builtin_readers",
    "reader_of",
    "writers_in",
]
