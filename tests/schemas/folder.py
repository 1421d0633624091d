"""Schemas folders for tests: some types, a lock, a `subjects.toml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streams.schemas.catalogue import update_lock

SUBJECTS = '[default]\nmode = "FULL_TRANSITIVE"\nowner = "orders"\n'


def field(name: str, kind: Any = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "doc": f"The {name}.", **more}


def record(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "namespace": "acme.order",
        "doc": f"A {name}.",
        **more,
        "fields": list(fields),
    }


def write_type(folder: Path, schema: dict[str, Any], family: str = "order") -> Path:
    """One type's file."""
    path = folder / family / f"{schema['name']}.avsc"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema, indent=2))
    return path


def write_folder(folder: Path, *schemas: dict[str, Any], subjects: str = SUBJECTS) -> Path:
    """A locked folder of these types."""
    for schema in schemas:
        write_type(folder, schema)
    (folder / "subjects.toml").write_text(subjects)
    update_lock(folder)
    return folder
