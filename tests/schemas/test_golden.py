"""The wire format does not change unnoticed, and is not ours alone."""

from __future__ import annotations

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from streams.schemas import Catalogue, Codec, EventType, StoredPayload, frame
from streams.schemas.framing import PREFIX_LENGTH
from tests.golden import golden_envelope, golden_file

CODEC = Codec(Catalogue.load())
TYPES = sorted(CODEC.catalogue.types.values(), key=lambda event: event.name)


@pytest.mark.parametrize("event", TYPES, ids=lambda event: event.name)
def test_bytes_are_the_golden_ones(event: EventType) -> None:
    """Encoding yields, byte for byte, what the first release of this version wrote."""
    path = golden_file(event.name, event.version)
    assert path.exists(), "run `python -m tests.golden` and commit the file"
    assert CODEC.encode(golden_envelope(event.name, event.kind)) == path.read_bytes()


@pytest.mark.parametrize("event", TYPES, ids=lambda event: event.name)
def test_golden_bytes_decode_to_the_envelope(event: EventType) -> None:
    """Decoding yields every field that was set, and encoding the result the same bytes."""
    expected = golden_envelope(event.name, event.kind)
    value = golden_file(event.name, event.version).read_bytes()
    found = CODEC.decode(value)
    assert isinstance(found.payload, StoredPayload)
    assert found.with_(payload=expected.payload) == expected
    assert found.payload.fields.keys() == expected.payload.keys()
    assert CODEC.encode(found) == value
    assert CODEC.encode(found.with_(payload=found.payload.fields)) == value


@pytest.mark.parametrize("event", TYPES, ids=lambda event: event.name)
def test_confluents_own_deserializer_reads_the_same_bytes(event: EventType) -> None:
    """A registry that holds our writer schema is all that other Kafka tools need."""
    registry = SchemaRegistryClient.new_client({"url": "mock://golden"})
    registry_id = registry.register_schema(event.subject, Schema(event.writer.text, "AVRO"))
    value = golden_file(event.name, event.version).read_bytes()
    # A registry hands out ids of its own; only these 4 bytes differ from file mode's.
    framed = frame(registry_id, value[PREFIX_LENGTH:])
    context = SerializationContext("agentlog.any", MessageField.VALUE)
    row = AvroDeserializer(registry)(framed, context)
    expected = golden_envelope(event.name, event.kind)
    assert row["id"] == expected.id
    assert row["recipients"] == list(expected.recipients)
    assert row["created_at"] == expected.created_at_utc
    assert row["payload"] == dict(CODEC.decode(value).payload)
