"""Settings: what the environment may say, with `AGENTLOG_` in front of each name.

Read once, by whoever composes the process (the CLI, a test, a user's `main`), and handed down as
values; nothing below that reads the environment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def _namespace(value: str) -> str:
    if not _NAMESPACE.fullmatch(value):
        raise ValueError(f"namespace {value!r} must be 1 to 63 of a-z, 0-9 and '-', not '-' first")
    return value


class Settings(BaseSettings):
    """One process's settings. Environment variables win over defaults, arguments over both.

    A variable that is empty counts as unset.
    """

    model_config = SettingsConfigDict(
        env_prefix="AGENTLOG_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    namespace: Annotated[str, AfterValidator(_namespace)] = "agentlog"
    """Prefix of every topic, group and transactional id, so that fleets can share one cluster."""

    bootstrap_servers: str | None = None
    """`host:port,…` of a Kafka that is already there; unset means the embedded one."""

    broker: Literal["embedded", "testcontainers"] = "embedded"
    """Which broker to start where `bootstrap_servers` is unset."""

    schemas_dir: Path | None = None
    """Another `schemas-avro/` folder; unset means the one that ships with the package."""

    registry_url: str | None = None
    """Confluent API of a schema registry (Apicurio's is `…/apis/ccompat/v7`); unset means none."""

    registry_user: str | None = None
    """For a registry that asks for a name and a password (HTTP basic)."""

    registry_password: SecretStr | None = None
    """Its password."""

    registry_token: SecretStr | None = None
    """For a registry that asks for a bearer token, instead of a name and a password."""

    record_bytes_max: int = Field(default=1_000_000, gt=0, le=64 * 1024 * 1024)
    """Largest record (key + value + headers) a publisher accepts, in bytes (Kafka's default)."""

    publish_pending_max: int = Field(default=10_000, gt=0)
    """Records a publisher holds unacknowledged before `publish` waits (back-pressure)."""

    publish_pending_bytes_max: int = Field(default=32 * 1024 * 1024, gt=0)
    """Bytes of unacknowledged values before `publish` waits, too."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Level of the structured log on stderr."""
