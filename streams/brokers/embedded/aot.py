"""The AOT cache: Kafka's classes as a first start left them, loaded and linked (JEP 514, JDK 25).

It is one file beside the jars, `broker-<binding>-<crc32>.aot`, about 70 MB. It speeds a start up
and nothing else: without it, or if the JVM refuses it (`AOTMode=auto`), Kafka starts as ever.

- `binding` names all that the JVM compares (the JVM, the class path, the jars' sizes and times)
  and our flags, so that a cache which would be refused is not even found.
- `crc32` is that of the file: the JVM does not look, and crashes on a flipped bit. A file that is
  not what its name says is deleted.
- `CACHES_MAX` bounds the disk: the least recently used ones go. While so many are used every day
  (many virtual environments, each with a JVM of its own), no further one is made.
- `broker-<binding>.failed` says that one could not be made, or that a JVM crashed with it: for
  `FAILED_S` seconds nobody tries again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from streams.brokers.embedded import java
from streams.errors import BrokerError

JAVA_MIN = 25
CACHES_MAX = 3
UNUSED_S = 86_400.0
FAILED_S = 86_400.0
FREE_BYTES_MIN = 1_000_000_000
_READ_BYTES = 1 << 20
_JAVA_VERSION = re.compile(r'^JAVA_VERSION="(\d+)', re.MULTILINE)
# What a refusal says, and no warnings about single classes.
_QUIET = "-Xlog:aot*=error"


# What the JVM says of some damages before it ends, though it should go on without (`auto`).
_UNUSABLE = "Unable to use AOT cache"


class CacheCrash(BrokerError):
    """The JVM itself ended because of its cache: worth another try without."""


def flags(jars: Path) -> tuple[str, ...]:
    """The JVM flags that use the cache of these jars; none if there is none."""
    cache = find(jars)
    return () if cache is None else (f"-XX:AOTCache={cache}", "-XX:AOTMode=auto", _QUIET)


def uses_cache(flags: Sequence[str]) -> bool:
    """Whether a JVM with these flags uses a cache, rather than to make one or none."""
    return "-XX:AOTMode=auto" in flags


def is_to_blame(flags: Sequence[str], crash_log: Path, lines: Sequence[str]) -> bool:
    """Whether a JVM with these flags, that ended with these words, did so because of its cache."""
    return uses_cache(flags) and (crash_log.exists() or any(_UNUSABLE in line for line in lines))


def recording_flags(configuration: Path) -> tuple[str, ...]:
    """The JVM flags of a broker that notes at its end what a cache needs."""
    return ("-XX:AOTMode=record", f"-XX:AOTConfiguration={configuration}", _QUIET)


def creation_flags(configuration: Path, cache: Path) -> tuple[str, ...]:
    """The JVM flags that make `cache` of what a broker noted, and run nothing."""
    return ("-XX:AOTMode=create", f"-XX:AOTConfiguration={configuration}", f"-XX:AOTCache={cache}")


def proof_flags(cache: Path) -> tuple[str, ...]:
    """The JVM flags that fail unless `cache` can be used."""
    return ("-XX:AOTMode=on", f"-XX:AOTCache={cache}", _QUIET)


def find(jars: Path) -> Path | None:
    """The sound cache of these jars and this JVM. One that is damaged is deleted."""
    binding = binding_of(jars)
    if binding is None or _failed(jars, binding).exists():
        return None
    for cache in jars.glob(f"broker-{binding}-*.aot"):
        with suppress(FileNotFoundError):  # evicted a moment ago
            if cache == _named(jars, binding, cache):
                os.utime(cache)
                return cache
            cache.unlink()
    return None


def is_wanted(jars: Path) -> bool:
    """Whether a cache should be made: there is none, and nothing speaks against it."""
    binding = binding_of(jars)
    if binding is None or any(jars.glob(f"broker-{binding}-*.aot")):
        return False
    now = time.time()
    if _age_s(_failed(jars, binding), now) < FAILED_S:
        return False
    in_use = sum(_age_s(cache, now) < UNUSED_S for cache in _caches(jars))
    return in_use < CACHES_MAX and shutil.disk_usage(jars).free >= FREE_BYTES_MIN


def adopt(jars: Path, draft: Path) -> Path:
    """Make `draft`, on the same disk, the cache of these jars, in one step; evict old ones."""
    binding = binding_of(jars)
    assert binding is not None
    cache = _named(jars, binding, draft)
    draft.replace(cache)
    _failed(jars, binding).unlink(missing_ok=True)
    by_age = sorted(_caches(jars), key=lambda one: _age_s(one, time.time()))
    for old in by_age[CACHES_MAX:]:
        old.unlink(missing_ok=True)
    return cache


def distrust(jars: Path, reason: str) -> None:
    """Do without a cache for `FAILED_S` seconds; what there is goes."""
    binding = binding_of(jars)
    if binding is not None:
        _failed(jars, binding).write_text(reason + "\n", encoding="utf-8")
        for cache in jars.glob(f"broker-{binding}-*.aot"):
            cache.unlink(missing_ok=True)


def binding_of(jars: Path) -> str | None:
    """Sixteen hex digits for this JVM, these jars and our flags; None if this JVM has no cache."""
    home = java.java_path().parent.parent
    try:
        release = (home / "release").read_text(encoding="utf-8")
        version = _JAVA_VERSION.search(release)
        if version is None or int(version.group(1)) < JAVA_MIN:
            return None
        bound = [home / "lib" / "modules", *sorted(jars.glob("*.jar"))]
        stats = [(str(path), path.stat()) for path in bound]
    except OSError:
        return None
    facts: list[Sequence[object]] = [
        (release, platform.machine()),
        java.BROKER_FLAGS,
        *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _named(jars: Path, binding: str, cache: Path) -> Path:
    """The name that a file with this content must have."""
    checksum = 0
    with cache.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return jars / f"broker-{binding}-{checksum:08x}.aot"


def _failed(jars: Path, binding: str) -> Path:
    return jars / f"broker-{binding}.failed"


def _caches(jars: Path) -> list[Path]:
    return list(jars.glob("broker-*.aot"))


def _age_s(path: Path, now_s: float) -> float:
    """How long ago a file was used; for ever if it is not there."""
    try:
        return now_s - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
