"""A review as JSON. Pure."""

from __future__ import annotations

from typing import Any

from consumers.reviewing.blocking import Block
from consumers.reviewing.review import Review, TypeReview
from consumers.reviewing.verdict import Version
from streams.schemas.subjects import Waiver


def document(review: Review) -> dict[str, Any]:
    """The review as JSON."""
    gathered = review.gathered
    return {
        "fine": review.fine,
        "folder": review.folder,
        "base": review.base,
        "head": review.head,
        "is_first": review.is_first,
        "history": None
        if gathered is None
        else {
            "cut": gathered.cut.encode(),
            "positions": gathered.positions,
            "looked_at": gathered.looked_at,
            "sample": gathered.is_sample,
            "records": gathered.evidence.records,
            "passed": sum(gathered.evidence.passed.values()),
            "unknown": [
                {"why": why, "count": seen.count, "first": str(seen.first)}
                for why, seen in sorted(gathered.evidence.unknown.items())
            ],
            "seconds": round(gathered.seconds, 3),
        },
        "without_history": review.without or None,
        "types": [_type_document(one) for one in review.types],
        "folds": [one.document() for one in review.folds],
    }


def _type_document(one: TypeReview) -> dict[str, Any]:
    return {
        "type": one.change.name,
        "was": one.change.was or None,
        "state": one.state,
        "fine": not one.against,
        "mode": one.subject.mode if one.subject else None,
        "mode_before": one.mode_before,
        "promises": [
            {
                "what": it.what,
                "before": _said(it.before),
                "after": _said(it.after),
                "is_looser": it.is_looser,
            }
            for it in one.promises
        ],
        "owner": one.subject.owner if one.subject else None,
        "changes": [
            {"path": it.path, "kind": it.kind, "before": it.before, "after": it.after}
            for it in one.differences
        ],
        "modes": dict(one.modes),
        "deployment": one.deployment,
        "upcasters": one.needs,
        "versions": [
            _version_document(it, is_read=one.change.after is not None) for it in one.versions
        ],
        "lint": [{"rule": it.rule, "path": it.path, "message": it.message} for it in one.lint],
        "readers": [
            {
                "kind": it.kind,
                "owner": it.owner,
                "name": it.name,
                "place": it.place,
                "is_readable": it.is_readable,
                "reads": [read for read in it.reads if read.type in one.change[:2]],
            }
            for it in one.readers
        ],
        "groups": one.groups,
        "against": [_block(it) for it in one.blocks],
    }


def _version_document(version: Version, *, is_read: bool) -> dict[str, Any]:
    observed = version.observed
    return {
        "version": version.label,
        "schema_id": version.schema_id,
        "compatible": version.report.compatible if is_read else None,
        "findings": version.report.findings,
        "stored": version.stored,
        "first": str(observed.first) if observed and observed.first else None,
        "passed": version.passed,
        "decoded": version.passed + (observed.decoded if observed else 0),
        "failed": observed.failed if observed else 0,
        "failed_today": observed.failed_today if observed else 0,
        "happened": [
            {
                "what": happening,
                "path": path,
                "count": seen.count,
                "first": str(seen.first),
                "today": seen.first.today,
                "candidate": seen.first.candidate,
                "why": seen.first.why,
            }
            for happening, path, seen in version.seen()
        ],
    }


def _block(block: Block) -> dict[str, Any]:
    found: dict[str, Any] = {"rule": block.rule, "path": block.path, "message": block.message}
    if block.waiver is not None:
        found["waiver"] = _waiver(block.waiver)
    return found


def _said(said: str | Waiver | None) -> Any:
    if isinstance(said, Waiver):
        return {"rule": said.rule, "paths": said.paths, **_waiver(said)}
    return said


def _waiver(waiver: Waiver) -> dict[str, str]:
    return {
        "reason": waiver.reason,
        "owner": waiver.owner,
        "expires": waiver.expires.isoformat(),
    }
