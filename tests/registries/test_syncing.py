"""What is read of both sides of a sync. Pure: the registry is one in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from streams.registries import Reference, RegisteredSchema, RegistryClient
from streams.registries.plan import plan
from streams.registries.syncing import carry_out, read_sides
from streams.registries.transport import Transport
from streams.schemas.compatibility.modes import Mode
from streams.schemas.folders import ENVELOPE_FILE, builtin_folder, payload_files, read_avsc
from streams.schemas.writer_schema import composite
from streams.topics import Namespace
from tests.schemas.folder import field, record, write_folder

SUBJECT: Final = "t.events-acme.order.PaidEnvelope"


class _One(RegistryClient):
    """A registry with one version of one subject."""

    def __init__(self, text: str) -> None:
        super().__init__(Transport("http://127.0.0.1:1"))
        self._text = text

    def subjects(self) -> list[str]:
        return [SUBJECT]

    def versions(self, subject: str) -> list[int]:
        return [1]

    def version(self, subject: str, version: int) -> RegisteredSchema | None:
        return RegisteredSchema(subject, version, 7, self._text)

    def find(
        self, subject: str, text: str, references: Sequence[Reference] = ()
    ) -> RegisteredSchema | None:
        return None

    def level(self, subject: str) -> Mode | None:
        return None


def registered(payload: dict[str, Any]) -> _One:
    """With a type in our envelope."""
    return _One(json.dumps(composite(read_avsc(builtin_folder() / ENVELOPE_FILE), payload)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "schemas", record("Placed"))


def test_a_type_that_only_the_registry_has_is_pulled(folder: Path) -> None:
    client = registered(record("Paid", field("sum_cents", "long")))
    made = plan(read_sides(client, folder, Namespace("t")))
    pulls = [one for one in made.actions if one in made.pulls]
    assert [str(one) for one in pulls] == [f"pull {SUBJECT} version 1 → acme.order.Paid"]
    only = type(made)(pulls=made.pulls)
    carry_out(only, client, folder, lambda action, schema_id: None)
    assert set(payload_files(folder)) == {"acme.order.Placed", "acme.order.Paid"}


@pytest.mark.parametrize(
    "payload",
    [
        record("Other", field("sum_cents", "long")),
        record("Paid", field("sum_cents", "long", default="none")),
        record("Paid", field("sum cents", "long")),
    ],
    ids=["another name", "a default that is none", "a field that has no name"],
)
def test_what_would_spoil_the_folder_is_not_pulled(folder: Path, payload: dict[str, Any]) -> None:
    """A schema is what its subject says, and one at all; else they differ, and somebody decides."""
    made = plan(read_sides(registered(payload), folder, Namespace("t")))
    assert not made.pulls
    assert "are not acme.order.Paid in the envelope" in made.differ[SUBJECT]
