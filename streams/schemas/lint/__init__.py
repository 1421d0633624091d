"""Lint: what a schema should be like beyond being valid, as rules with ids and reasons.

`lint` looks at a folder's types and gives a report. One module per family of rules: `names`,
`docs`, `evolution`, `meaning`, `privacy`. What a type must break is waived in `subjects.toml`,
with a reason and a day after which the waiver holds no more.
"""

from streams.schemas.lint.linting import RULES, LintReport, Problem, lint
from streams.schemas.lint.rules import Breach, Linted, Rule

__all__ = ["RULES", "Breach", "LintReport", "Linted", "Problem", "Rule", "lint"]
