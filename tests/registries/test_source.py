"""A registry as a source of schemas: an id that nobody else knows, and a registry that is down."""

from __future__ import annotations

import json
import logging
import secrets
from typing import Any

import pytest

from streams.envelope import Envelope
from streams.errors import BrokerError, DecodeError, RegistryError, UnknownSchema
from streams.registries import Reference, RegistryClient, RegistrySource
from streams.registries.source import ABSENT_S, DOWN_S
from streams.registries.transport import READER, Transport
from streams.schemas import Catalogue, Codec, frame
from streams.schemas.framing import PREFIX_LENGTH
from tests.registries.conftest import ClosedRegistry

pytestmark = pytest.mark.timeout(400)  # the first of them starts the registry

NOTE = Envelope(
    id="msg-1767225600000-abcdefghi",
    type="agentlog.Json",
    sender="ada",
    created_at=1,
    payload={"json": "{}"},
)


class _Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class _Counting(RegistryClient):
    """Counts how often an id was asked for."""

    asked = 0

    def schema(self, schema_id: int) -> Any:
        self.asked += 1
        return super().schema(schema_id)


def _own(name: str) -> dict[str, Any]:
    """The writer schema of `agentlog.Json`, as if another system had it for a type of its own."""
    schema = json.loads(json.dumps(Catalogue.load().type("agentlog.Json").writer.schema))
    schema |= {"name": f"{name}Envelope", "namespace": "acme"}
    schema["fields"][-1]["type"] |= {"name": name, "namespace": "acme"}
    found: dict[str, Any] = schema
    return found


def _reframed(schema_id: int) -> bytes:
    return frame(schema_id) + Codec(Catalogue.load()).encode(NOTE)[PREFIX_LENGTH:]


def test_a_record_of_an_unknown_id_is_read_through_the_registry(
    client: RegistryClient, subject: str
) -> None:
    """Whoever wrote it registered its schema; the type is that of the payload there."""
    name = f"R{secrets.token_hex(6)}"
    schema_id = client.register(subject, json.dumps(_own(name)))
    codec = Codec(Catalogue.load(), [RegistrySource(client)])
    envelope = codec.decode(_reframed(schema_id))
    assert envelope.sender == "ada"
    assert dict(envelope.payload) == {"json": "{}"}
    assert codec.writer_schema(schema_id).payload_name == f"acme.{name}"


def test_a_version_of_ours_under_the_registrys_id_is_ours(
    client: RegistryClient, subject: str
) -> None:
    """So its upcasters hold, and what was written is handed on without being decoded."""
    writer = Catalogue.load().type("agentlog.Json").writer
    schema_id = client.register(subject, writer.text)
    codec = Codec(Catalogue.load(), [RegistrySource(client)])
    assert codec.writer_schema(schema_id).id == writer.id
    assert codec.encode(codec.decode(_reframed(schema_id))) == codec.encode(NOTE)


def test_a_schema_that_refers_to_others_is_read_with_them_in_place(
    client: RegistryClient, subject: str
) -> None:
    """References of references, too; the registry keeps each of them apart."""
    inner, name = f"I{secrets.token_hex(6)}", f"R{secrets.token_hex(6)}"
    schema = _own(name)
    payload = schema["fields"][-1]["type"]
    payload["fields"] = [{"name": "inner", "type": f"acme.{inner}"}]
    kind = {"type": "enum", "name": f"{inner}Kind", "namespace": "acme", "symbols": ["a", "b"]}
    fields = [{"name": "json", "type": "string"}, {"name": "kind", "type": f"acme.{inner}Kind"}]
    middle = {"type": "record", "name": inner, "namespace": "acme", "fields": fields}
    client.register(f"{subject} kind", json.dumps(kind))
    to_kind = Reference(f"acme.{inner}Kind", f"{subject} kind", 1)
    client.register(f"{subject} inner", json.dumps(middle), [to_kind])
    to_inner = Reference(f"acme.{inner}", f"{subject} inner", 1)
    schema_id = client.register(subject, json.dumps(schema), [to_inner])
    codec = Codec(Catalogue.load(), [RegistrySource(client)])
    value = _reframed(schema_id) + b"\x02"  # the enum's second symbol, behind the string
    assert dict(codec.decode(value).payload) == {"inner": {"json": "{}", "kind": "b"}}


def test_an_id_that_the_registry_has_not_is_asked_for_once_in_a_while(
    registry: ClosedRegistry,
) -> None:
    """A flood of bad records costs one question, and another one later: it may have come."""
    clock = _Clock()
    with _Counting(Transport.of(registry.settings, patience=READER)) as client:
        source = RegistrySource(client, monotonic_s=clock)
        codec = Codec(Catalogue.load(), [source])
        for _ in range(3):
            with pytest.raises(UnknownSchema, match=r"schema id 99999999 .*AGENTLOG_REGISTRY_URL"):
                codec.decode(_reframed(99_999_999))
        assert client.asked == 1
        clock.now_s += ABSENT_S
        assert source.writer_schema(99_999_999) is None
        assert client.asked == 2


def test_ids_of_locks_are_not_asked_for() -> None:
    """No registry gives them: nothing is sent, so nothing fails where none is there."""
    source = RegistrySource(RegistryClient(Transport("http://127.0.0.1:1", patience=READER)))
    assert source.writer_schema(2**30) is None


def test_while_the_registry_is_down_what_is_known_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Known types are written and read; an unknown id is an outage, not a dead letter. It is said
    once, and nobody waits for a registry that did not answer a moment ago.
    """
    clock = _Clock()
    client = _Counting(Transport("http://127.0.0.1:1", patience=READER))
    codec = Codec(Catalogue.load(), [RegistrySource(client, monotonic_s=clock)])
    with caplog.at_level(logging.WARNING, "agentlog.registries"):
        for _ in range(3):
            with pytest.raises(RegistryError, match=r"no schema registry answers") as caught:
                codec.decode(_reframed(7))
            assert codec.decode(codec.encode(NOTE)).sender == "ada"
    assert isinstance(caught.value, BrokerError)
    assert not isinstance(caught.value, DecodeError)
    assert client.asked == 1
    assert len(caplog.records) == 1
    clock.now_s += DOWN_S
    with pytest.raises(RegistryError):
        codec.decode(_reframed(7))
    assert client.asked == 2
    assert len(caplog.records) == 1


def test_a_schema_that_is_no_envelope_is_a_dead_letter(
    client: RegistryClient, subject: str
) -> None:
    """A record of somebody else's that came to our topic: the id is known, and it is not ours."""
    name = f"R{secrets.token_hex(6)}"
    text = json.dumps({"type": "record", "name": name, "fields": [{"name": "a", "type": "int"}]})
    schema_id = client.register(subject, text)
    codec = Codec(Catalogue.load(), [RegistrySource(client)])
    with pytest.raises(DecodeError, match="is not an envelope's"):
        codec.decode(_reframed(schema_id))
