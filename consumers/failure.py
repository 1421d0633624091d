"""How an attempt of a handler fails, and what ends the worker instead."""

from __future__ import annotations

import msgspec

from streams.errors import AgentlogError


class Failure(msgspec.Struct, frozen=True):
    """How an attempt of a handler failed."""

    handler: str
    error: BaseException
    stack: str
    failed_at_ms: int

    @property
    def name(self) -> str:
        """Class of the error."""
        return type(self.error).__name__

    @property
    def message(self) -> str:
        """The error in words that can be written down, whatever it says of itself."""
        try:
            text = str(self.error)
        except Exception as error:  # noqa: BLE001 - its own __str__ may raise anything
            text = f"<{self.name}, which has no words: {type(error).__name__}>"
        return text.encode("utf-8", "replace").decode()


class EndsWorker(BaseException):
    """For runtimes built on handlers to raise: what the worker needs is not there, for any record.

    The record keeps its place, and `cause` ends the worker.
    """

    def __init__(self, cause: AgentlogError) -> None:
        super().__init__(str(cause))
        self.cause = cause
