"""What the embedded Apicurio is told, as a pure function of where it lives.

Everything is a system property on its command line: those win over the environment and over any
`.env` or `config/` of the folder that it is started in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.brokers.embedded.node import HOST

API_PATH: Final = "/apis/ccompat/v7"
"""Where Apicurio speaks the Confluent Schema Registry's API."""

HEAP_MB: Final = 256


@dataclass(frozen=True, slots=True)
class RegistryLayout:
    """The folder that holds all of one registry, and its port on 127.0.0.1."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Where its Confluent API is: what `AGENTLOG_REGISTRY_URL` takes."""
        return f"http://{HOST}:{self.port}{API_PATH}"

    @property
    def server_log(self) -> Path:
        """Where Apicurio writes its log."""
        return self.folder / "logs" / "server.log"

    @property
    def console_log(self) -> Path:
        """Where its JVM writes what never reaches the log: its own last words."""
        return self.folder / "logs" / "console.log"

    @property
    def data(self) -> Path:
        """Its H2 database."""
        return self.folder / "data"

    @property
    def scratch(self) -> Path:
        """What it may lose: emptied at each start."""
        return self.folder / "tmp"


def registry_command(
    java: Path,
    app: Path,
    layout: RegistryLayout,
    jvm_flags: tuple[str, ...],
    more: Mapping[str, str],
) -> list[str]:
    """The argv of the registry's process. `more` are further settings of Apicurio's."""
    told = {**settings(layout), **more}
    return [
        str(java),
        f"-Xmx{HEAP_MB}m",
        "-XX:+UseSerialGC",
        *jvm_flags,
        f"-Djava.io.tmpdir={layout.scratch}",
        *(f"-D{key}={value}" for key, value in told.items()),
        "-jar",
        str(app / "quarkus-run.jar"),
    ]


def settings(layout: RegistryLayout) -> dict[str, str]:
    """What every embedded registry is told: loopback, one file of data, one quiet log."""
    database = _literal(layout.data / "registry")
    return {
        "quarkus.http.host": HOST,
        "quarkus.http.port": str(layout.port),
        # Health and metrics, which nobody asks here: any port, and on loopback, too.
        "quarkus.management.host": HOST,
        "quarkus.management.port": "0",
        "quarkus.http.access-log.enabled": "false",
        "quarkus.otel.sdk.disabled": "true",
        "quarkus.banner.enabled": "false",
        "quarkus.log.console.enabled": "false",
        "quarkus.log.file.enabled": "true",
        "quarkus.log.file.json.enabled": "false",
        "quarkus.log.file.path": _literal(layout.server_log),
        "quarkus.log.file.format": "%d{yyyy-MM-dd HH:mm:ss,SSS} %p %m (%c{1})%e%n",
        "quarkus.log.file.rotation.max-file-size": "10M",
        "quarkus.log.file.rotation.max-backup-index": "3",
        "quarkus.log.file.rotation.rotate-on-boot": "false",
        'quarkus.log.category."io.apicurio".level': "WARN",
        'quarkus.log.category."io.quarkus".level': "INFO",
        # It complains of settings of its own that this build does not know.
        'quarkus.log.category."io.quarkus.config".level': "ERROR",
        # WRITE_DELAY: what it said it registered is in the file, and a kill loses none of it.
        "apicurio.datasource.url": f"jdbc:h2:file:{database};WRITE_DELAY=0",
        "apicurio.datasource.jdbc.initial-size": "1",
        "apicurio.datasource.jdbc.min-size": "1",
        "apicurio.datasource.jdbc.max-size": "8",
        "apicurio.storage.snapshot.location": _literal(layout.scratch),
        "apicurio.import.work-dir": _literal(layout.scratch),
        "apicurio.usage.telemetry.enabled": "false",
        # Its own bound on `GET /subjects` is 1,000.
        "apicurio.ccompat.max-subjects": "100000",
    }


def _literal(path: Path) -> str:
    """A path in which nothing is taken for an expression of the configuration."""
    return str(path).replace("\\", "\\\\").replace("$", "\\$")
