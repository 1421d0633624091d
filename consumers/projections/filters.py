"""Filters: which envelopes a replay folds."""

from __future__ import annotations

from typing import Final

import msgspec

from streams.envelope import Envelope


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """All that are set must hold."""

    agent: str | None = None
    """It sent the envelope, or is a named recipient."""
    origin: str | None = None
    """The envelope's origin begins with this, as in `import:large`."""

    @property
    def is_empty(self) -> bool:
        """True if everything passes."""
        return self == EVERYTHING

    def accept(self, envelope: Envelope) -> bool:
        """Whether the envelope is folded."""
        if self.agent is not None and not (
            envelope.sender == self.agent or self.agent in envelope.recipients
        ):
            return False
        return self.origin is None or (envelope.origin or "").startswith(self.origin)


EVERYTHING: Final = Filters()
