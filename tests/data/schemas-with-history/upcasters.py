"""Upcasters of the tests: a ref becomes a branch, seconds become milliseconds."""

from __future__ import annotations

from typing import Any

from streams.schemas import Upcasters

upcasters = Upcasters()


@upcasters.step("acme.build.BuildBroke", from_version=1)
def ref_to_branch(fields: dict[str, Any]) -> dict[str, Any]:
    """A branch was said by its whole ref."""
    return {"branch": fields["ref"].removeprefix("refs/heads/"), "seconds": fields["seconds"]}


@upcasters.step("acme.build.BuildBroke", from_version=3)
def seconds_to_ms(fields: dict[str, Any]) -> dict[str, Any]:
    """Times are in milliseconds now."""
    return {
        "branch": fields["branch"],
        "author": fields["author"],
        "duration_ms": fields["seconds"] * 1000,
    }
