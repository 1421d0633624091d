"""`agentlog schemas sync` between a folder and a real Apicurio: adds, and never overwrites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from typer.testing import CliRunner, Result

from consumers.cli.schemas import app
from streams.errors import ConfigurationError, ProofFailed, RegistryRefused
from streams.registries import RegistryClient
from streams.registries.subjects import subjects_of
from streams.schemas import Catalogue
from streams.schemas.catalogue import update_lock
from streams.schemas.compatibility.modes import Mode
from streams.schemas.lock import read_lock
from streams.topics import Namespace
from tests.registries.conftest import PASSWORD, USER, ClosedRegistry
from tests.schemas.folder import field, record, write_folder, write_type

pytestmark = pytest.mark.timeout(400)  # the first of them starts the registry

PLACED = "acme.order.OrderPlaced"


@pytest.fixture(autouse=True)
def _environment(registry: ClosedRegistry, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTLOG_NAMESPACE", namespace)
    monkeypatch.setenv("AGENTLOG_REGISTRY_URL", registry.url)
    monkeypatch.setenv("AGENTLOG_REGISTRY_USER", USER)
    monkeypatch.setenv("AGENTLOG_REGISTRY_PASSWORD", PASSWORD)


def _run(*args: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["sync", *args], input=answer, catch_exceptions=False)


def _sync(folder: Path, *args: str) -> dict[str, Any]:
    result = _run("--folder", str(folder), "--json", "--yes", *args)
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "mine", record("OrderPlaced", field("order_id")))


def _change(folder: Path, *fields: dict[str, Any]) -> None:
    """A further version."""
    write_type(folder, record("OrderPlaced", field("order_id"), *fields))
    update_lock(folder)


def _subject(folder: Path, namespace: str) -> str:
    (subject,) = subjects_of(Catalogue.load(folder).type(PLACED), Namespace(namespace))
    return subject


def test_a_fresh_registry_gets_every_type_of_the_package_and_the_folder(
    client: RegistryClient, folder: Path, namespace: str
) -> None:
    """Each under TopicRecordName, at the level of its subjects.toml; then both sides are the same,
    and a second sync does nothing.
    """
    done = _sync(folder)
    subject = _subject(folder, namespace)
    assert subject == f"{namespace}.events-acme.order.OrderPlacedEnvelope"
    assert {"type": PLACED, "subject": subject, "version": 1} in [
        {key: one[key] for key in ("type", "subject", "version")} for one in done["registered"]
    ]
    assert client.level(subject) is Mode.FULL_TRANSITIVE
    again = _sync(folder)
    assert again["in_sync"] is True
    assert again["registered"] == []
    assert again["subjects"] == done["subjects"] >= len(Catalogue.load(folder).types)


def test_what_confluents_deserializer_reads_with_the_registry_alone(
    registry: ClosedRegistry, client: RegistryClient, folder: Path, namespace: str
) -> None:
    """A tool that knows nothing of us has the schema it needs, by subject."""
    _sync(folder)
    peer = SchemaRegistryClient({"url": registry.url, "basic.auth.user.info": f"{USER}:{PASSWORD}"})
    found = peer.get_latest_version(_subject(folder, namespace))
    assert json.loads(found.schema.schema_str or "")["name"] == "OrderPlacedEnvelope"
    AvroDeserializer(peer, found.schema.schema_str)


def test_a_new_version_is_pushed_and_a_dry_run_pushes_nothing(
    client: RegistryClient, folder: Path, namespace: str
) -> None:
    """The plan names it; with --dry-run the registry stays as it is."""
    _sync(folder)
    _change(folder, field("note", default=""))
    planned = _sync(folder, "--dry-run")
    assert [one["version"] for one in planned["push"]] == [2]
    assert planned["applied"] is False
    assert client.versions(_subject(folder, namespace)) == [1]
    assert [one["version"] for one in _sync(folder)["registered"]] == [2]
    assert client.versions(_subject(folder, namespace)) == [1, 2]


def test_without_yes_it_asks(client: RegistryClient, folder: Path, namespace: str) -> None:
    """The plan is shown on stderr, and "no" changes nothing."""
    result = _run("--folder", str(folder), answer="n\n")
    assert result.exit_code == 1
    assert f"push {PLACED} v1" in result.stderr
    assert client.versions(_subject(folder, namespace)) == []


def test_what_the_registry_has_more_is_pulled(folder: Path, tmp_path: Path, namespace: str) -> None:
    """A new version and a new type come into the folder, locked, with ids of the lock."""
    other = write_folder(tmp_path / "other", record("OrderPlaced", field("order_id")))
    _change(other, field("note", default=""))
    write_type(other, record("OrderSent", field("order_id")), "shipping")
    update_lock(other)
    _sync(other)
    pulled = _sync(folder)["pull"]
    assert {one["type"] for one in pulled} == {PLACED, "acme.order.OrderSent"}
    lock, theirs = read_lock(folder), read_lock(other)
    assert {(one.type, one.version, one.sha256) for one in lock.schemas} == {
        (one.type, one.version, one.sha256) for one in theirs.schemas
    }
    assert (folder / "order" / "OrderSent.avsc").exists()
    assert Catalogue.load(folder).type(PLACED).version == 2
    assert _sync(folder)["in_sync"] is True


def test_where_both_went_on_nothing_is_overwritten(
    client: RegistryClient, folder: Path, tmp_path: Path, namespace: str
) -> None:
    """Exit code 1 names the subject and both versions; either side keeps what it has."""
    other = write_folder(tmp_path / "other", record("OrderPlaced", field("order_id")))
    _sync(other)
    _change(other, field("theirs", default=""))
    _sync(other)
    _change(folder, field("ours", default=""))
    before = (folder / "lock.json").read_bytes()
    with pytest.raises(ProofFailed, match="1 subjects are not the same"):
        _run("--folder", str(folder), "--yes")
    result = CliRunner().invoke(app, ["sync", "--folder", str(folder), "--yes", "--json"])
    (differs,) = json.loads(result.stdout)["differ"]
    assert differs["subject"] == _subject(folder, namespace)
    assert "both sides went on" in differs["why"]
    assert client.versions(_subject(folder, namespace)) == [1, 2]
    assert (folder / "lock.json").read_bytes() == before


def test_what_breaks_the_subjects_level_is_refused_by_the_registry(
    client: RegistryClient, tmp_path: Path, namespace: str
) -> None:
    """In one sentence with the registry's reason; what was there stays."""
    both = record("OrderPlaced", field("order_id"), field("note"))
    folder = write_folder(tmp_path / "mine", both)
    _sync(folder)
    _change(folder)  # without `note`, which readers of version 1 want
    with pytest.raises(RegistryRefused, match=r"refuses .*OrderPlacedEnvelope: .*ncompatible"):
        _run("--folder", str(folder), "--yes")
    assert client.versions(_subject(folder, namespace)) == [1]


def test_what_was_registered_before_a_refusal_is_told(
    client: RegistryClient, tmp_path: Path, namespace: str
) -> None:
    """With its id, beside what was refused and why; exit code 1 as without --json."""
    both = record("OrderPlaced", field("order_id"), field("note"))
    folder = write_folder(tmp_path / "mine", both)
    _sync(folder)
    write_type(folder, record("OrderPaid", field("order_id")))
    _change(folder)  # without `note`, which readers of version 1 want
    result = CliRunner().invoke(app, ["sync", "--folder", str(folder), "--yes", "--json"])
    assert isinstance(result.exception, RegistryRefused)
    assert result.exception.exit_code == 1
    said = json.loads(result.stdout)
    assert [(one["type"], one["version"]) for one in said["registered"]] == [
        ("acme.order.OrderPaid", 1)
    ]
    paid = said["registered"][0]
    assert client.version(paid["subject"], 1) is not None
    assert said["applied"] is False
    assert said["stopped"]["at"] == f"push {PLACED} v2 → {_subject(folder, namespace)}"
    assert "ncompatible" in said["stopped"]["why"]
    assert (said["stopped"]["carried_out"], said["stopped"]["left"]) == (1, 2)
    again = _sync(folder, "--dry-run")
    assert again["stopped"] is None


def test_a_level_that_somebody_set_stays(
    client: RegistryClient, folder: Path, namespace: str
) -> None:
    """It is told of, and left."""
    _sync(folder)
    client.set_level(_subject(folder, namespace), Mode.NONE)
    notes = _sync(folder)["notes"]
    assert any("its level is NONE, subjects.toml says FULL_TRANSITIVE" in note for note in notes)
    assert client.level(_subject(folder, namespace)) is Mode.NONE


def test_what_apicurio_does_not_tell_apart_is_said_and_not_pushed_for_ever(folder: Path) -> None:
    """It takes a version that differs in docs or aliases for the one before."""
    _sync(folder)
    write_type(folder, record("OrderPlaced", field("order_id", doc="Another word."), doc="New."))
    update_lock(folder)
    done = _sync(folder)
    assert done["in_sync"] is True
    assert any(f"stands for {PLACED} v2" in note for note in done["notes"])


def test_a_folder_that_is_not_locked_is_not_synced(folder: Path) -> None:
    """What nobody released goes nowhere."""
    write_type(folder, record("OrderPlaced", field("order_id"), field("note", default="")))
    with pytest.raises(ConfigurationError, match="agentlog schemas lock"):
        _run("--folder", str(folder), "--yes")
