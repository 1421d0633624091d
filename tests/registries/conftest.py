"""One real Apicurio for all tests of registries: closed, so that they say who they are."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import SecretStr

from streams.brokers import EmbeddedRegistry
from streams.registries import RegistryClient
from streams.settings import Settings

USER, PASSWORD = "ada", "it's a secret: yes!"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class ClosedRegistry:
    url: str
    settings: Settings
    """Of one who may do everything, by name and password."""

    def client(self) -> RegistryClient:
        return RegistryClient.open(self.settings)


def token(lifetime_s: float = 3_600) -> str:
    """A bearer token for the registry: a JWT (RFC 7519), signed by RS256."""
    now_s = int(time.time())
    claims = {
        "iss": "https://tokens.example",
        "sub": "bob",
        "preferred_username": "bob",
        "iat": now_s,
        "exp": int(now_s + lifetime_s),
    }
    signed = b".".join(_part(json.dumps(part).encode()) for part in ({"alg": "RS256"}, claims))
    return b".".join(
        [signed, _part(KEY.sign(signed, padding.PKCS1v15(), hashes.SHA256()))]
    ).decode()


def _part(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def closed_settings(url: str, **more: Any) -> Settings:
    known = {"registry_user": USER, "registry_password": SecretStr(PASSWORD)}
    return Settings(registry_url=url, **{**known, **more})


@pytest.fixture(scope="session")
def registry() -> Iterator[ClosedRegistry]:
    """An Apicurio that asks for a name and a password, or for a bearer token."""
    public = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    more = {
        "quarkus.http.auth.basic": "true",
        "quarkus.security.users.embedded.plain-text": "true",
        f"quarkus.security.users.embedded.users.{USER}": PASSWORD,
        f"quarkus.security.users.embedded.roles.{USER}": "sr-admin",
        "quarkus.oidc.tenant-enabled": "true",
        "quarkus.oidc.application-type": "service",
        "quarkus.oidc.public-key": base64.b64encode(public).decode(),
    }
    with EmbeddedRegistry(more=more) as started:
        yield ClosedRegistry(started.url, closed_settings(started.url))


@pytest.fixture
def client(registry: ClosedRegistry) -> Iterator[RegistryClient]:
    with registry.client() as opened:
        yield opened


@pytest.fixture
def subject() -> str:
    """A subject of one test's own; its name needs quoting in a URL."""
    return f"test {secrets.token_hex(6)}/a.b-acme.Ü"


@pytest.fixture
def fresh_name() -> Callable[[], str]:
    """Names for records, each another one."""
    return lambda: f"R{secrets.token_hex(6)}"
