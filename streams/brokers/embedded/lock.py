"""The lock: which jars make the embedded Kafka, and the SHA-256 of each.

`kafka.lock.json` is data that a person can review: Maven coordinates, sizes and digests, no hosts
and no paths. It is the only thing that decides what runs; a repository merely delivers bytes that
must match it. `python -m streams.brokers.embedded.relock` makes it again from its `roots`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from streams.errors import ConfigurationError

LOCK_NAME = "kafka.lock.json"
FULL_COORDINATES = 5
"""Parts of coordinates that also name a packaging and a classifier."""
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One jar or archive: its coordinates, its size in bytes and its SHA-256 in hex.

    Coordinates are `group:artifact:version`, or `group:artifact:packaging:classifier:version`.
    """

    coordinates: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """The name that Maven gives the file: `artifact-version.jar`."""
        parts = self.coordinates.split(":")
        if len(parts) == FULL_COORDINATES:
            _, artifact, packaging, classifier, version = parts
            return f"{artifact}-{version}-{classifier}.{packaging}"
        _, artifact, version = parts
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Root:
    """What was asked for. `managed` says whether its POM also manages the others' versions."""

    coordinates: str
    managed: bool
    excluded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KafkaLock:
    """The whole lock. Jars are sorted by coordinates, so that a new lock diffs line by line."""

    kafka_version: str
    roots: tuple[Root, ...]
    jars: tuple[LockedJar, ...]

    @property
    def digest(self) -> str:
        """Twelve hex digits that change whenever any jar does: names the installed folder."""
        listing = "\n".join(f"{jar.coordinates} {jar.sha256}" for jar in self.jars)
        return hashlib.sha256(listing.encode()).hexdigest()[:12]

    @property
    def size(self) -> int:
        """Bytes of all jars together."""
        return sum(jar.size for jar in self.jars)


def parse_lock(text: str) -> KafkaLock:
    """Read a lock file's text; a lock that is not one is a `ConfigurationError`."""
    try:
        raw: dict[str, Any] = json.loads(text)
        lock = KafkaLock(
            kafka_version=raw["kafka_version"],
            roots=tuple(
                Root(root["coordinates"], root["managed"], tuple(root["excluded"]))
                for root in raw["roots"]
            ),
            jars=tuple(
                LockedJar(jar["coordinates"], jar["size"], jar["sha256"]) for jar in raw["jars"]
            ),
        )
        names = {jar.filename for jar in lock.jars}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{LOCK_NAME} is not a lock ({error!r}); restore it from version control or run "
            "`python -m streams.brokers.embedded.relock`"
        ) from error
    if len(names) != len(lock.jars):
        raise ConfigurationError(f"{LOCK_NAME} names one jar twice; make it again with relock")
    return lock


def render_lock(lock: KafkaLock) -> str:
    """The text of a lock file: `parse_lock(render_lock(lock)) == lock`."""
    document = {
        "kafka_version": lock.kafka_version,
        "roots": [
            {"coordinates": r.coordinates, "managed": r.managed, "excluded": list(r.excluded)}
            for r in lock.roots
        ],
        "jars": [
            {"coordinates": jar.coordinates, "size": jar.size, "sha256": jar.sha256}
            for jar in sorted(lock.jars, key=lambda jar: jar.coordinates)
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def load_lock() -> KafkaLock:
    """The lock that ships with the package."""
    return parse_lock(files(__package__).joinpath(LOCK_NAME).read_text(encoding="utf-8"))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
