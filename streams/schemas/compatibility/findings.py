"""Findings: what there is to say of a reader and a writer, a closed set of kinds.

Each kind has its severity and the section of the Avro 1.12 specification that it follows from.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec


class Severity(StrEnum):
    """What a finding means for whoever deploys the reader."""

    ERROR = "error"
    """Some record of the writer cannot be read: the pair is incompatible."""
    SEMANTIC = "semantic"
    """Everything can be read, and is not what was written: the same bytes mean something else."""
    WARNING = "warning"
    """It can be read; a value may lose something, or readers in the field differ."""
    INFO = "info"
    """What resolution does, and means to do."""


class FindingKind(StrEnum):
    """Everything that a comparison can find."""

    TYPE_MISMATCH = "type_mismatch"
    NAME_MISMATCH = "name_mismatch"
    FIXED_SIZE_MISMATCH = "fixed_size_mismatch"
    MISSING_DEFAULT = "missing_default"
    MISSING_SYMBOLS = "missing_symbols"
    NO_UNION_BRANCH = "no_union_branch"
    ALIAS_CONFLICT = "alias_conflict"
    INVALID_SCHEMA = "invalid_schema"
    LOGICAL_TYPE_CHANGED = "logical_type_changed"
    DECIMAL_SCALE = "decimal_scale"
    DECIMAL_PRECISION = "decimal_precision"
    DECIMAL_WIDENED = "decimal_widened"
    LOGICAL_TYPE_ADDED = "logical_type_added"
    LOGICAL_TYPE_REMOVED = "logical_type_removed"
    LOSSY_PROMOTION = "lossy_promotion"
    SYMBOLS_DEFAULTED = "symbols_defaulted"
    NAMESPACE_DIFFERS = "namespace_differs"
    UNION_CHOICE = "union_choice"
    ALIAS_AMBIGUOUS = "alias_ambiguous"
    PROMOTION = "promotion"
    RENAMED = "renamed"
    DEFAULT_USED = "default_used"
    FIELD_IGNORED = "field_ignored"
    FIELD_ORDER = "field_order"

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return _KINDS[self][0]

    @property
    def section(self) -> str:
        """The section of the Avro 1.12 specification that says so."""
        return _KINDS[self][1]


_RESOLUTION: Final = "Schema Resolution"
_KINDS: Final[Mapping[FindingKind, tuple[Severity, str]]] = {
    FindingKind.TYPE_MISMATCH: (Severity.ERROR, _RESOLUTION),
    FindingKind.NAME_MISMATCH: (Severity.ERROR, _RESOLUTION),
    FindingKind.FIXED_SIZE_MISMATCH: (Severity.ERROR, _RESOLUTION),
    FindingKind.MISSING_DEFAULT: (Severity.ERROR, _RESOLUTION),
    FindingKind.MISSING_SYMBOLS: (Severity.ERROR, _RESOLUTION),
    FindingKind.NO_UNION_BRANCH: (Severity.ERROR, _RESOLUTION),
    FindingKind.ALIAS_CONFLICT: (Severity.ERROR, "Aliases"),
    FindingKind.INVALID_SCHEMA: (Severity.ERROR, "Schema Declaration"),
    FindingKind.LOGICAL_TYPE_CHANGED: (Severity.SEMANTIC, "Logical Types"),
    FindingKind.DECIMAL_SCALE: (Severity.SEMANTIC, "Decimal"),
    FindingKind.DECIMAL_PRECISION: (Severity.SEMANTIC, "Decimal"),
    FindingKind.DECIMAL_WIDENED: (Severity.WARNING, "Decimal"),
    FindingKind.LOGICAL_TYPE_ADDED: (Severity.WARNING, "Logical Types"),
    FindingKind.LOGICAL_TYPE_REMOVED: (Severity.WARNING, "Logical Types"),
    FindingKind.LOSSY_PROMOTION: (Severity.WARNING, _RESOLUTION),
    FindingKind.SYMBOLS_DEFAULTED: (Severity.WARNING, _RESOLUTION),
    FindingKind.NAMESPACE_DIFFERS: (Severity.WARNING, _RESOLUTION),
    FindingKind.UNION_CHOICE: (Severity.WARNING, _RESOLUTION),
    FindingKind.ALIAS_AMBIGUOUS: (Severity.WARNING, "Aliases"),
    FindingKind.PROMOTION: (Severity.INFO, _RESOLUTION),
    FindingKind.RENAMED: (Severity.INFO, "Aliases"),
    FindingKind.DEFAULT_USED: (Severity.INFO, _RESOLUTION),
    FindingKind.FIELD_IGNORED: (Severity.INFO, _RESOLUTION),
    FindingKind.FIELD_ORDER: (Severity.INFO, _RESOLUTION),
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that there is to say, where, and what it means.

    The path goes by the reader's names from the root `$`: `.field`, `[]` for an array's items,
    `{}` for a map's values, `|Card` for a union's branch, `|int→double` where one branch of the
    writer's union is read as another of the reader's.
    """

    path: str
    kind: FindingKind
    severity: Severity
    message: str


class Report(msgspec.Struct, frozen=True):
    """All that there is to say of one reader and one writer."""

    findings: tuple[Finding, ...] = ()

    @property
    def compatible(self) -> bool:
        """Whether the reader can read every record of the writer."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity is severity)
