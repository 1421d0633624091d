"""Records under the registry's ids, which any tool with the registry reads; else the lock's."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Sequence

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from streams.cuts import Cut
from streams.envelope import Envelope
from streams.errors import RegistryRefused
from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.kafka.schema_topic import SchemaTopic
from streams.registries import Reference, RegisteredSchema, RegistryClient
from streams.registries.numbering import numbered
from streams.registries.plan import plan
from streams.registries.syncing import carry_out, read_sides
from streams.registries.transport import READER, Transport
from streams.schemas import Catalogue, Codec, unframe
from streams.session import session_on
from streams.topics import EVENTS, Namespace
from tests.registries.conftest import PASSWORD, USER, ClosedRegistry, closed_settings

pytestmark = pytest.mark.timeout(400)  # the first of them starts the registry

JSON = "agentlog.Json"
NOTE = Envelope(
    id="msg-1767225600000-abcdefghi",
    type=JSON,
    sender="ada",
    created_at=1_767_225_600_000_000,
    correlation_id="c-1",
    payload={"json": '{"a": 1}'},
)


class _Announced:
    """What a log has on its `schemas` topic."""

    def __init__(self, **texts: str) -> None:
        self.texts = {int(name.removeprefix("id")): text for name, text in texts.items()}

    def writer_schema(self, schema_id: int) -> str | None:
        return self.texts.get(schema_id)


@pytest.fixture
def synced(client: RegistryClient, namespace: str) -> Namespace:
    """A namespace whose types are in the registry."""
    found = Namespace(namespace)
    carry_out(plan(read_sides(client, None, found)), client, None, lambda action, schema_id: None)
    return found


def test_a_tool_that_has_the_registry_alone_reads_our_records(
    registry: ClosedRegistry, client: RegistryClient, synced: Namespace
) -> None:
    """Confluent's own deserializer, envelope and payload, from the bytes that we write."""
    codec = Codec(numbered(Catalogue.load(), client, synced, _Announced()))
    value = codec.encode(NOTE)
    schema_id, _ = unframe(value)
    assert schema_id < 2**30
    peer = SchemaRegistryClient({"url": registry.url, "basic.auth.user.info": f"{USER}:{PASSWORD}"})
    context = SerializationContext(synced.topic(EVENTS), MessageField.VALUE)
    read = AvroDeserializer(peer)(value, context)
    assert read["sender"] == "ada"
    assert read["payload"] == {"json": '{"a": 1}'}


def test_both_kinds_of_ids_are_read_as_one_version(
    client: RegistryClient, synced: Namespace
) -> None:
    """What was written before the registry, and what without it, are the type of today."""
    plain = Codec(Catalogue.load())
    codec = Codec(numbered(Catalogue.load(), client, synced, _Announced()))
    ours, theirs = plain.encode(NOTE), codec.encode(NOTE)
    assert ours != theirs
    assert codec.decode(ours) == codec.decode(theirs) == NOTE
    assert codec.encode(codec.decode(ours)) == theirs
    writers = {name: event.writer.id for name, event in codec.catalogue.types.items()}
    assert writers == {name: event.writer.id for name, event in plain.catalogue.types.items()}


def test_types_that_the_registry_has_not_keep_the_ids_of_the_lock(
    client: RegistryClient, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A fresh namespace, never synced: said once, with the command that helps."""
    with caplog.at_level(logging.WARNING, "agentlog.registries"):
        catalogue = numbered(Catalogue.load(), client, Namespace(namespace), _Announced())
    assert all(event.registered is None for event in catalogue.types.values())
    assert "and 27 more" in caplog.text
    assert "agentlog schemas sync" in caplog.text
    assert len(caplog.records) == 1


class _Choosy(RegistryClient):
    """Takes one type's schema for none, and has all others."""

    def find(
        self, subject: str, text: str, references: Sequence[Reference] = ()
    ) -> RegisteredSchema | None:
        if f"-{JSON}" in subject:
            raise RegistryRefused(subject, "failed to discover artifact type")
        return RegisteredSchema(subject, 1, 7, text)


def test_a_type_that_the_registry_takes_for_no_schema_keeps_its_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others have theirs; nothing is raised, and the warning names the type."""
    caplog.set_level(logging.WARNING, "agentlog.registries")
    ours = Catalogue.load()
    found = numbered(ours, _Choosy(Transport("http://127.0.0.1:1")), Namespace("t"), _Announced())
    kept = [name for name, event in found.types.items() if event.schema_id != 7]
    assert kept == [JSON]
    assert JSON in caplog.text


def test_an_id_that_stood_for_something_else_on_this_log_is_not_used_again(
    client: RegistryClient, synced: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry that was made anew counts from 1 again: old records would change their schema."""
    first = numbered(Catalogue.load(), client, synced, _Announced()).type(JSON).schema_id
    other = Catalogue.load().type("agentlog.task.AssignTask").writer.text
    same = Catalogue.load().type(JSON).writer.text
    with caplog.at_level(logging.WARNING, "agentlog.registries"):
        again = numbered(Catalogue.load(), client, synced, _Announced(**{f"id{first}": same}))
        assert again.type(JSON).schema_id == first
        assert not caplog.records
        anew = numbered(Catalogue.load(), client, synced, _Announced(**{f"id{first}": other}))
    assert anew.type(JSON).schema_id >= 2**30
    assert "was the registry made anew?" in caplog.text


def test_while_the_registry_is_down_producers_write_under_the_locks_ids(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And say so once."""
    client = RegistryClient(Transport("http://127.0.0.1:1", patience=READER))
    known = Catalogue.load()
    with caplog.at_level(logging.WARNING, "agentlog.registries"):
        catalogue = numbered(known, client, Namespace("agentlog"), _Announced())
    assert catalogue is known
    assert len(caplog.records) == 1
    assert "written under the ids of the lock: no schema registry answers" in caplog.text


@pytest.mark.parametrize("up", [True, False], ids=["registry up", "registry down"])
async def test_a_producer_goes_on_with_and_without_the_registry(
    kafka: str, registry: ClosedRegistry, synced: Namespace, up: bool
) -> None:
    """On real Kafka; what it wrote is read by one who has never heard of a registry, since the log
    describes itself.
    """
    url = registry.url if up else "http://127.0.0.1:1"
    settings = closed_settings(url, namespace=synced.name)
    TopicAdmin(kafka).provision(synced)
    session = session_on(kafka, settings)
    async with session.publisher("ada") as publisher:
        published = await publisher.publish(NOTE)
    reader = KafkaLogReader(kafka)
    cut: Cut = reader.ends([published.topic])
    records = [
        record
        for partition, end in cut
        for batch in reader.read(partition, 0, end)
        for record in batch
    ]
    (record,) = [one for one in records if one.value is not None]
    assert record.value is not None
    schema_id = struct.unpack(">I", record.value[1:5])[0]
    assert (schema_id < 2**30) is up
    stranger = Codec(Catalogue.load(), [SchemaTopic(kafka, synced)])
    assert stranger.decode(record.value).payload == {"json": '{"a": 1}'}
    text = SchemaTopic(kafka, synced).writer_schema(schema_id)
    assert json.loads(text or "") == stranger.catalogue.type(JSON).writer.schema
