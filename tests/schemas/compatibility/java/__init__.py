"""Avro Java as a judge: its checker and its decoder, in one JVM that is fed pairs over a pipe.

Avro and the compiler that builds `AvroJudge.java` (Eclipse's, which runs on a plain JRE) come as
the embedded Kafka's jars do: by locked SHA-256, `jars.json`. Jackson and slf4j are Kafka's.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from streams.brokers.embedded.disk import cache_home
from streams.brokers.embedded.jars import install
from streams.brokers.embedded.java import class_path, java_path, kafka_jars
from streams.brokers.embedded.lock import parse_lock

_HERE: Final = Path(__file__).parent
_FLAGS: Final = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData")
_COMPILER: Final = "org.eclipse.jdt.internal.compiler.batch.Main"
COMPATIBLE: Final = "COMPATIBLE"
REFUSED: Final = "refused: "
"""What a verdict begins with where Java takes a schema for none."""


class Verdict(NamedTuple):
    """What Avro Java's checker says, and for each value what its decoder does: "" or its error."""

    checker: str
    decoded: list[str]


class Judge:
    """A running JVM."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def judge(self, pairs: Iterable[tuple[Any, Any, list[bytes]]]) -> list[Verdict]:
        """A verdict for each (writer, reader, data), in order; read while more are being sent."""
        asked = list(pairs)
        writing = threading.Thread(target=self._send, args=(asked,), daemon=True)
        writing.start()
        answers = [json.loads(_open(self._process.stdout).readline()) for _ in asked]
        writing.join()
        return [Verdict(answer["checker"], answer["decoded"]) for answer in answers]

    def _send(self, asked: list[tuple[Any, Any, list[bytes]]]) -> None:
        pipe = _open(self._process.stdin)
        for writer, reader, data in asked:
            values = [base64.b64encode(value).decode() for value in data]
            pipe.write(json.dumps({"writer": writer, "reader": reader, "data": values}) + "\n")
        pipe.flush()


@contextmanager
def running_judge(folder: Path) -> Iterator[Judge]:
    """A judge, built from its source below `folder`."""
    lock = parse_lock((_HERE / "jars.json").read_text(encoding="utf-8"))
    path = f"{class_path(install(lock, cache_home()))}:{class_path(kafka_jars())}"
    java = [str(java_path()), *_FLAGS, "-cp"]
    subprocess.run(
        [*java, path, _COMPILER, "-21", "-cp", path, "-d", str(folder), _HERE / "AvroJudge.java"],
        check=True,
    )
    command = [*java, f"{folder}:{path}", "AvroJudge"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield Judge(process)
        finally:
            process.kill()


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
