"""The client speaks the Confluent API, shown on a real Apicurio."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from pydantic import SecretStr

from streams.errors import ConfigurationError, RegistryError, RegistryRefused
from streams.registries import Reference, RegistryClient
from streams.registries.transport import READER, Patience, Transport
from streams.schemas.compatibility.modes import Mode
from streams.settings import Settings
from tests.registries.conftest import (
    PASSWORD,
    USER,
    ClosedRegistry,
    closed_settings,
    token,
)

pytestmark = pytest.mark.timeout(400)  # the first of them starts the registry

Names = Callable[[], str]


def _record(name: str, *fields: tuple[str, Any], **more: Any) -> str:
    kinds = [{"name": field, "type": kind} for field, kind in fields]
    return json.dumps(
        {"type": "record", "name": name, "namespace": "acme", **more, "fields": kinds}
    )


def test_what_is_registered_is_found_by_id_by_version_and_by_its_text(
    client: RegistryClient, subject: str, fresh_name: Names
) -> None:
    """Registered twice it is one version; white space makes no other one of it."""
    text = _record(fresh_name(), ("a", "int"))
    schema_id = client.register(subject, text)
    assert client.register(subject, json.dumps(json.loads(text), indent=4)) == schema_id
    assert client.versions(subject) == [1]
    assert subject in client.subjects()
    stored, version = client.schema(schema_id), client.version(subject, 1)
    assert stored is not None
    assert version is not None
    assert json.loads(stored.text) == json.loads(version.text) == json.loads(text)
    assert version.id == schema_id
    assert client.find(subject, text) is not None


def test_what_is_not_there_is_none(client: RegistryClient, subject: str, fresh_name: Names) -> None:
    """A subject, a version, an id, a text, a level: no error, and nothing is kept of it."""
    text = _record(fresh_name(), ("a", "int"))
    assert client.versions(subject) == []
    assert client.version(subject, 1) is None
    assert client.schema(2**30 - 1) is None
    assert client.find(subject, text) is None
    assert client.level(subject) is None
    assert client.is_compatible(subject, text) in {None, True}
    schema_id = client.register(subject, text)
    found = client.version(subject, 1)
    assert found is not None
    assert found.id == schema_id
    assert client.find(subject, _record(fresh_name(), ("a", "int"))) is None


def test_a_level_holds_for_what_is_registered_next(
    client: RegistryClient, subject: str, fresh_name: Names
) -> None:
    """Every mode is a level; what breaks it is refused with the registry's reason."""
    name = fresh_name()
    client.register(subject, _record(name, ("a", "int")))
    for mode in Mode:
        client.set_level(subject, mode)
        assert client.level(subject) is mode
    client.set_level(subject, Mode.BACKWARD)
    changed = _record(name, ("a", "string"))
    assert client.is_compatible(subject, changed) is False
    with pytest.raises(RegistryRefused, match=r"refuses test .*Incompatible") as refused:
        client.register(subject, changed)
    assert refused.value.subject == subject
    assert client.versions(subject) == [1]


def test_references_are_registered_and_told(
    client: RegistryClient, subject: str, fresh_name: Names
) -> None:
    """A schema that names a type of another subject; without the reference it is none."""
    name = fresh_name()
    client.register(f"{subject} used", _record(name, ("a", "int")))
    text = _record(fresh_name(), ("used", f"acme.{name}"))
    with pytest.raises(RegistryRefused):
        client.register(subject, text)
    reference = Reference(f"acme.{name}", f"{subject} used", 1)
    schema_id = client.register(subject, text, [reference])
    stored = client.schema(schema_id)
    assert stored is not None
    assert stored.references == (reference,)
    found = client.find(subject, text, [reference])
    assert found is not None
    assert found.id == schema_id


@pytest.mark.parametrize("text", ["{", '{"type": "record", "name": "Half"}', '"acme.Nowhere"'])
def test_what_is_no_schema_is_refused(client: RegistryClient, subject: str, text: str) -> None:
    """In the registry's own words, and nothing is registered."""
    with pytest.raises(RegistryRefused):
        client.register(subject, text)
    assert client.versions(subject) == []


def test_what_confluents_own_client_registers_we_read_and_the_other_way(
    registry: ClosedRegistry, client: RegistryClient, subject: str, fresh_name: Names
) -> None:
    """Same ids, same texts, same levels."""
    peer = SchemaRegistryClient({"url": registry.url, "basic.auth.user.info": f"{USER}:{PASSWORD}"})
    subject = subject.replace("/", ".")
    text = _record(fresh_name(), ("a", "int"))
    theirs = peer.register_schema(subject, Schema(text, "AVRO"))
    assert client.register(subject, text) == theirs
    more = _record(fresh_name(), ("b", "int"))
    ours = client.register(subject, more)
    assert json.loads(peer.get_schema(ours).schema_str or "") == json.loads(more)
    assert peer.get_versions(subject) == client.versions(subject) == [1, 2]


def test_a_bearer_token_lets_in(registry: ClosedRegistry) -> None:
    """In place of a name and a password, which are not sent then."""
    settings = closed_settings(registry.url, registry_token=SecretStr(token()))
    with RegistryClient.open(settings) as client:
        assert isinstance(client.subjects(), list)


@pytest.mark.parametrize(
    "who",
    [
        {"registry_user": None, "registry_password": None},
        {"registry_password": SecretStr("wrong")},
        {"registry_token": SecretStr("no.such.token")},
        {"registry_token": SecretStr(token(-3_600))},
    ],
    ids=["nobody", "wrong password", "no token", "token of yesterday"],
)
def test_who_is_not_known_is_told_what_to_set(
    registry: ClosedRegistry, who: dict[str, Any]
) -> None:
    """One sentence, exit code 3, at once, and no secret in it."""
    with (
        RegistryClient.open(closed_settings(registry.url, **who)) as client,
        pytest.raises(RegistryError, match=r"does not let us in .*_USER") as caught,
    ):
        client.subjects()
    assert caught.value.exit_code == 3
    assert "secret" not in str(caught.value)


def test_what_is_kept_is_asked_for_once(
    registry: ClosedRegistry, subject: str, fresh_name: Names
) -> None:
    """Ids and versions never change; after the first answer the registry may go."""
    with registry.client() as client:
        schema_id = client.register(subject, _record(fresh_name(), ("a", "int")))
        first = client.schema(schema_id), client.version(subject, 1)
    # (closed: a further request would fail)
    assert (client.schema(schema_id), client.version(subject, 1)) == first


def test_the_path_of_the_api_is_part_of_the_url(registry: ClosedRegistry) -> None:
    """Apicurio's own root is told apart from a schema registry, and the path is named."""
    root = registry.url.removesuffix("/apis/ccompat/v7")
    with (
        RegistryClient.open(closed_settings(root)) as client,
        pytest.raises(RegistryError, match=r"no schema registry .*ends with /apis/ccompat/v7"),
    ):
        client.subjects()


def test_nobody_there_is_one_sentence() -> None:
    """After a few attempts within the bounds; the waits grow."""
    waits: list[float] = []
    transport = Transport(
        "http://127.0.0.1:1", patience=Patience(4, 1, 1, 60), sleep_s=waits.append
    )
    with pytest.raises(
        RegistryError, match=r"no schema registry answers at http://127\.0\.0\.1:1 "
    ):
        RegistryClient(transport).subjects()
    assert len(waits) == 3
    assert waits[0] < 0.11 < waits[2] < 0.41


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("registry:8081", "is no URL"),
        ("ftp://registry", "is no URL"),
        ("", "is no URL"),
        ("http://", "is no URL"),
        ("http://registry:port", "is none"),
        ("http://☃.example", "Invalid IDNA"),
        ("http://registry/apis v7", "no space"),
        ("http://registry/v7?tenant=1", "ends with the API's path"),
        ("http://ada:lovelace@registry", "AGENTLOG_REGISTRY_PASSWORD"),
    ],
)
def test_a_url_that_is_none_is_said_before_anything_is_asked(url: str, why: str) -> None:
    """And one that carries a password never shows it."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        Transport(url)
    assert "lovelace" not in str(caught.value)


def test_no_registry_at_all_is_a_setting_to_be_made() -> None:
    """Neither an option nor the environment names one."""
    with pytest.raises(ConfigurationError, match="AGENTLOG_REGISTRY_URL"):
        RegistryClient.open(Settings(registry_url=None))


class _Scripted:
    """A server of loopback that gives the answers it is told, in order; the last one for ever."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.asked: list[str] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.asked.append(self.path)
                status, headers, body = answers[min(len(script.asked), len(answers)) - 1]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> _Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment that would swallow everything."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.mark.usefixtures("no_proxy")
def test_an_overloaded_registry_is_asked_again_when_it_says() -> None:
    """429 and 5xx are not answers; `Retry-After` is heeded. No proxy stands before loopback."""
    waits: list[float] = []
    with _Scripted((429, {"Retry-After": "2"}, b""), (503, {}, b""), (200, {}, b'["s"]')) as there:
        transport = Transport(there.url, sleep_s=waits.append)
        assert RegistryClient(transport).subjects() == ["s"]
    assert waits[0] == 2.0
    assert waits[1] < 0.21
    assert len(there.asked) == 3


def test_a_registry_that_asks_for_more_patience_than_there_is_is_given_up() -> None:
    """Nobody is made to wait longer than `total_s`."""
    with (
        _Scripted((503, {"Retry-After": "3600"}, b"busy")) as there,
        pytest.raises(RegistryError, match="HTTP 503: busy, 1 attempts"),
    ):
        RegistryClient(Transport(there.url, patience=READER)).subjects()


@pytest.mark.parametrize(
    ("status", "headers", "body", "why"),
    [
        (200, {}, b"<html>hello</html>", "HTTP 200: <html>hello"),
        (404, {}, b'{"detail": "no such page"}', "HTTP 404"),
        (302, {"Location": "/login"}, b"", "HTTP 302 to /login"),
        (200, {}, b'{"subjects": []}', "Expected `array`"),
        (418, {}, b"", "HTTP 418"),
        (200, {"Content-Encoding": "gzip"}, b"not gzip", "Error -3"),
        (200, {}, b"[" * 100_000, "HTTP 200"),
    ],
)
def test_something_else_that_answers_is_told_from_a_registry(
    status: int, headers: dict[str, str], body: bytes, why: str
) -> None:
    """The sentence quotes what it said."""
    with (
        _Scripted((status, headers, body)) as there,
        pytest.raises(RegistryError, match=f"is no schema registry .*{why}"),
    ):
        RegistryClient(Transport(there.url)).subjects()
    assert len(there.asked) == 1


def test_a_wait_that_is_no_number_is_none() -> None:
    """`²` is a digit to Python."""
    waits: list[float] = []
    with _Scripted((503, {"Retry-After": "²"}, b""), (200, {}, b"[]")) as there:
        assert RegistryClient(Transport(there.url, sleep_s=waits.append)).subjects() == []
    assert waits[0] < 0.11


def test_a_token_from_a_file_ends_with_its_line() -> None:
    """The line's end is no part of it; what no header can have is told, and not repeated."""
    with _Scripted((200, {}, b"[]")) as there:
        assert RegistryClient(Transport(there.url, token="abc\n")).subjects() == []  # noqa: S106
        for token in ("", "a\nb", "tök"):
            with pytest.raises(ConfigurationError, match="AGENTLOG_REGISTRY_TOKEN") as refused:
                Transport(there.url, token=token)
            assert not token or token not in str(refused.value)


def test_a_trickle_is_no_answer() -> None:
    """Each piece comes in time, and the whole of it does not."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not ended.wait(0.02):
                    self.wfile.write(b" ")
                    self.wfile.flush()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    patience = Patience(attempts_max=2, connect_s=0.1, answer_s=0.3, total_s=0.5)
    client = RegistryClient(Transport(f"http://127.0.0.1:{server.server_port}", patience=patience))
    try:
        with pytest.raises(RegistryError, match="ReadTimeout"):
            client.subjects()
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is bounded."""
    monkeypatch.setattr("streams.registries.transport.ANSWER_BYTES_MAX", 1_000)
    with (
        _Scripted((200, {}, b'"' + b"x" * 2_000 + b'"')) as there,
        pytest.raises(RegistryError, match="larger than 1000 bytes"),
    ):
        RegistryClient(Transport(there.url)).subjects()
