"""Compatibility: what a reader with one schema makes of records written with another.

    names        full names, namespaces, aliases, as the Avro 1.12 specification says
    model        a parsed schema: types as objects, references resolved
    parsing      JSON to types, checked against the specification; `texts` adds line and column
    defaults     whether a default is a value of its type
    logical      logical types, and what becomes of values where they differ
    promotions   which primitive type may be read as which other, and what is lost
    alike        whether two schemas differ in anything that a reader heeds
    matching     whether two types match at all: what chooses a union's branch
    renames      which of the writer's fields each of the reader's takes
    resolving    what there is to say of two types that match
    pairs        the walk over all pairs of types that data can bring together
    findings     what can be said, how bad each kind is, and where the specification says so
    modes        BACKWARD, FORWARD, FULL, their transitive forms and NONE, as a table

Pure: no clients, no clock. `compare` and `check_mode` take schemas as JSON or parsed.
"""

from streams.schemas.compatibility.findings import Finding, FindingKind, Report, Severity
from streams.schemas.compatibility.model import ParsedSchema
from streams.schemas.compatibility.modes import Check, Mode, ModeReport, check_mode, pairs_of
from streams.schemas.compatibility.pairs import compare
from streams.schemas.compatibility.parsing import InvalidSchema, parse_schema
from streams.schemas.compatibility.texts import parse_text

__all__ = [
    "Check",
    "Finding",
    "FindingKind",
    "InvalidSchema",
    "Mode",
    "ModeReport",
    "ParsedSchema",
    "Report",
    "Severity",
    "check_mode",
    "compare",
    "pairs_of",
    "parse_schema",
    "parse_text",
]
