"""The AOT cache, for real: made after a first start, used by the next, harmless when broken."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.brokers.embedded import Instance, aot, java, process, training
from streams.brokers.probe import describe_cluster

pytestmark = pytest.mark.timeout(300)

TRAINING_S_MAX = 240.0
SPOILT_MAX = 6
"""Caches that are spoilt, each in other places, until a JVM crashes with one."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of jars of this module's own, with the cache that a first start brought about."""
    folder = _own_jars(tmp_path_factory.mktemp("trained"))
    one = Instance(tmp_path_factory.mktemp("first") / "broker")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(java, "kafka_jars", lambda **_: folder)
        started = one.start()
    try:
        assert started.running.flags == ()
        assert _wait(lambda: aot.find(folder) is not None), _told(folder)
    finally:
        one.stop()
    return folder


@pytest.fixture
def jars(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The trained folder, for one test to spoil: its cache is back afterwards."""
    cache = aot.find(trained)
    assert cache is not None
    kept = tmp_path / cache.name
    os.link(cache, kept)
    monkeypatch.setattr(java, "kafka_jars", lambda **_: trained)
    yield trained
    for left in (*trained.glob("*.aot"), *trained.glob("*.failed")):
        left.unlink()
    kept.replace(cache)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Instance]:
    """A broker's folder of its own; whatever runs there at the end is stopped."""
    one = Instance(tmp_path / "broker")
    yield one
    one.stop()


def _own_jars(folder: Path) -> Path:
    for jar in java.kafka_jars().glob("*.jar"):
        shutil.copy2(jar, folder)
    return folder


def _told(folder: Path) -> str:
    return "".join(path.read_text() for path in (*folder.glob("*.failed"), *folder.glob("*.log")))


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TRAINING_S_MAX
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.2)
    return True


def _answers(one: Instance) -> bool:
    state = one.find()
    return state is not None and describe_cluster(state.bootstrap_servers, timeout_s=10) is not None


def test_without_a_cache_there_are_no_flags(tmp_path: Path) -> None:
    """A first start is what it always was."""
    assert aot.flags(tmp_path) == ()


def test_the_next_start_takes_its_classes_from_the_cache(
    jars: Path, broker: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JVM says of each class where it came from; and nothing of the training is left behind."""
    loaded = broker.folder.with_name("loaded.txt")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"-Xlog:class+load=info:file={loaded}")
    cache = aot.find(jars)
    flags = broker.start().running.flags
    assert flags[:2] == (f"-XX:AOTCache={cache}", "-XX:AOTMode=auto")
    lines = loaded.read_text(encoding="utf-8").splitlines()
    ours = [line for line in lines if " kafka." in line or " org.apache.kafka." in line]
    shared = [line for line in ours if "shared objects file" in line]
    assert len(shared) > 0.8 * len(ours) > 500
    assert not (jars / "training").exists()


def _garbage() -> bytes:
    return random.Random(7).randbytes(1 << 20)


def test_a_damaged_cache_is_deleted_before_a_jvm_sees_it(jars: Path, broker: Instance) -> None:
    """One flipped bit can crash a JVM: the file is not what its name says."""
    cache = aot.find(jars)
    assert cache is not None
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 1
    cache.unlink()
    cache.write_bytes(content)
    started = broker.start()
    assert started.running.flags == ()
    assert not cache.exists()
    assert _answers(broker)


def test_a_cache_that_the_jvm_refuses_costs_nothing_but_time(jars: Path, broker: Instance) -> None:
    """Garbage under a name that fits it gets as far as the JVM, which starts without."""
    cache = aot.find(jars)
    assert cache is not None
    garbage = _garbage()
    binding = aot.binding_of(jars)
    cache.unlink()
    planted = jars / f"broker-{binding}-{zlib.crc32(garbage):08x}.aot"
    planted.write_bytes(garbage)
    started = broker.start()
    assert started.running.flags[0] == f"-XX:AOTCache={planted}"
    assert _answers(broker)
    assert "Unable to map" in (broker.folder / "node-1/logs/console.log").read_text()


def test_a_jvm_that_crashes_with_its_cache_is_started_without(jars: Path, broker: Instance) -> None:
    """Flipped bits under a name that fits: the second attempt succeeds; nobody trains again.

    Some flips the JVM notices or never looks at: then other ones are tried.
    """
    cache = aot.find(jars)
    assert cache is not None
    whole = cache.read_bytes()
    cache.unlink()
    for seed in range(SPOILT_MAX):
        planted = _plant_spoilt(jars, whole, seed)
        started = broker.start()
        assert _answers(broker)
        if started.running.flags == ():
            break
        broker.stop()
        planted.unlink()
    assert started.running.flags == ()
    assert not planted.exists()
    assert not aot.is_wanted(jars)


def test_a_jvm_that_ends_because_of_its_cache_says_so_or_crashes(tmp_path: Path) -> None:
    """Some damages it crashes on; of others it says that it cannot use the file, and ends."""
    using, without = ("-XX:AOTCache=x", "-XX:AOTMode=auto"), ()
    refused = ["Error occurred during initialization of VM", "Unable to use AOT cache."]
    crash_log = tmp_path / "crash.log"
    assert aot.is_to_blame(using, crash_log, refused)
    assert not aot.is_to_blame(without, crash_log, refused)
    assert not aot.is_to_blame(using, crash_log, ["the disk is full"])
    crash_log.touch()
    assert aot.is_to_blame(using, crash_log, [])
    assert not aot.is_to_blame(without, crash_log, [])


def _plant_spoilt(jars: Path, whole: bytes, seed: int) -> Path:
    content, chosen = bytearray(whole), random.Random(seed)
    for _ in range(2000):
        content[chosen.randrange(100_000, len(content))] ^= 0xFF
    planted = jars / f"broker-{aot.binding_of(jars)}-{zlib.crc32(content):08x}.aot"
    planted.write_bytes(content)
    return planted


def test_another_jar_means_another_cache(jars: Path) -> None:
    """The JVM would refuse the old one: it is not found, and a new one is wanted."""
    jar = next(jars.glob("kafka-clients-*.jar"))
    before = jar.stat()
    assert not aot.is_wanted(jars)
    os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        assert aot.find(jars) is None
        assert aot.is_wanted(jars)
    finally:
        os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_disk_is_bounded(jars: Path, tmp_path: Path) -> None:
    """The least recently used caches go; while too many are in daily use, none is made."""
    for n in range(aot.CACHES_MAX + 1):
        other = jars / f"broker-{n:016x}-00000000.aot"
        other.write_bytes(b"x")
        os.utime(other, (1_000 + n, 1_000 + n))
    draft = tmp_path / "draft"
    draft.write_bytes(b"new")
    assert aot.find(jars) is not None
    adopted = aot.adopt(jars, draft)
    left = sorted(path.name for path in jars.glob("*.aot"))
    assert len(left) == aot.CACHES_MAX
    assert adopted.name in left
    for path in jars.glob(f"broker-{aot.binding_of(jars)}-*.aot"):
        path.unlink()
    for n in range(aot.CACHES_MAX):
        (jars / f"broker-{n:016x}-00000000.aot").write_bytes(b"x")
    assert not aot.is_wanted(jars)


def test_two_never_train_at_once(jars: Path) -> None:
    """The second finds the lock held, and leaves it to the first."""
    with training.sole(jars) as first, training.sole(jars) as second:
        assert first
        assert not second


def test_a_training_ends_with_its_broker(tmp_path: Path) -> None:
    """Whoever stops the last broker finds nothing of ours running a moment later."""
    folder = _own_jars(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as broker:
        known = process.identify(broker.pid)
        assert known is not None
        training.start_in_background(folder, [known])
        assert _wait((folder / "training" / "broker").exists), _told(folder)
        broker.kill()
    assert _wait(lambda: str(folder) not in _processes())
    assert aot.find(folder) is None
    assert aot.is_wanted(folder), "being stopped is no failure: the next start tries again"


def _processes() -> str:
    return subprocess.run(
        ["/bin/ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True
    ).stdout
