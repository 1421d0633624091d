"""The registry's archive is installed as its lock says, or not at all."""

from __future__ import annotations

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.brokers.apicurio.archive import install, is_intact, unpack
from streams.brokers.apicurio.configuration import RegistryLayout, settings
from streams.brokers.apicurio.launch import explain_death
from streams.brokers.apicurio.locking import (
    RegistryLock,
    digest_of_tree,
    load_lock,
    names_below,
    parse_lock,
    render_lock,
)
from streams.brokers.apicurio.relock import APICURIO_VERSION, COORDINATES
from streams.brokers.apicurio.state import RegistryState, parse_state, render_state
from streams.brokers.embedded.jars import Fetch
from streams.brokers.embedded.lock import LockedJar, sha256_of
from streams.brokers.embedded.state import ProcessId
from streams.errors import BrokerError, ConfigurationError

FILES = {"quarkus-run.jar": b"run", "lib/a.jar": b"a", "app/b.jar": b"b" * 1000}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "app.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in FILES.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def lock(archive: Path, tmp_path: Path) -> RegistryLock:
    unpack(archive, tmp_path / "once")
    names = names_below(tmp_path / "once")
    jar = LockedJar("org.example:app:tar.gz:all:1.0", archive.stat().st_size, sha256_of(archive))
    return RegistryLock("1.0", jar, len(names), digest_of_tree(tmp_path / "once", names))


def _fetch(archive: Path) -> Fetch:
    def fetch(folder: Path, coordinates: str) -> Path:
        folder.mkdir(parents=True)
        path = folder / "x"
        path.write_bytes(archive.read_bytes())
        return path

    return fetch


def _never(folder: Path, coordinates: str) -> Path:
    raise AssertionError(f"{coordinates} was downloaded again")


def test_the_committed_lock_is_what_relock_would_write() -> None:
    """Its text is canonical, and names no host."""
    lock = load_lock()
    assert parse_lock(render_lock(lock)) == lock
    assert (lock.apicurio_version, lock.archive.coordinates) == (APICURIO_VERSION, COORDINATES)
    assert lock.archive.filename == "apicurio-registry-app-3.3.3-all.tar.gz"
    assert "://" not in render_lock(lock)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"archive": 1}'])
def test_a_broken_lock_says_how_to_get_it_back(text: str) -> None:
    """A lock that is none is a configuration error that names the command."""
    with pytest.raises(ConfigurationError, match="relock"):
        parse_lock(text)


def test_it_is_unpacked_once_and_checked_every_time(
    lock: RegistryLock, archive: Path, tmp_path: Path
) -> None:
    """A file that was changed, added or lost makes the whole folder come again."""
    cache = tmp_path / "cache"
    folder = install(lock, cache, fetch=_fetch(archive))
    assert names_below(folder) == sorted(FILES)
    assert install(lock, cache, fetch=_never) == folder
    for spoil in (
        lambda: (folder / "lib/a.jar").write_bytes(b"z"),
        lambda: (folder / "lib/c.jar").write_bytes(b"c"),
        (folder / "app/b.jar").unlink,
    ):
        spoil()
        assert not is_intact(lock, folder)
        assert is_intact(lock, install(lock, cache, fetch=_fetch(archive)))
    assert sorted(path.name for path in cache.iterdir()) == [folder.name, "install.lock"]


def test_an_archive_that_is_not_the_locks_is_refused(
    lock: RegistryLock, archive: Path, tmp_path: Path
) -> None:
    """Nothing of it is unpacked, and nothing is left."""
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(BrokerError, match="is not what the lock says"):
        install(lock, tmp_path / "cache", fetch=_fetch(archive))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["install.lock"]


def test_nothing_lands_outside_of_the_folder(tmp_path: Path) -> None:
    """A name that climbs out is refused by tarfile's own filter."""
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("../evil")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(tarfile.TarError):
        unpack(path, tmp_path / "here")
    assert not (tmp_path / "evil").exists()


def test_everything_it_is_told_is_loopback_and_below_its_folder() -> None:
    """No telemetry, no console; a path with a dollar is no expression."""
    told = settings(RegistryLayout(Path("/data/a $b"), 18_080))
    assert told["quarkus.http.host"] == told["quarkus.management.host"] == "127.0.0.1"
    assert told["quarkus.otel.sdk.disabled"] == "true"
    assert told["quarkus.log.console.enabled"] == "false"
    assert told["quarkus.log.file.path"] == "/data/a \\$b/logs/server.log"


def test_a_state_file_is_read_back_and_a_torn_one_is_none(tmp_path: Path) -> None:
    """Whoever finds it knows the process by more than its pid."""
    state = RegistryState("3.3.3", tmp_path, 1, ProcessId(7, "b"), datetime.now(UTC), keep=True)
    assert parse_state(render_state(state), tmp_path) == state
    assert str(tmp_path) not in render_state(state)
    assert parse_state(render_state(state)[:-9], tmp_path) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("QuarkusBindException: Port already bound: 18080: Address already in use", "port 18080"),
        ('Database may be already in use: "registry.mv.db"', "another registry already runs"),
        ("java.io.IOException: No space left on device", "disk is full"),
        ("ERROR something else", "its last words: ERROR something else"),
    ],
)
def test_why_it_did_not_start_is_one_sentence(line: str, why: str) -> None:
    """From its last words, with the log's place."""
    said = explain_death(RegistryLayout(Path("/data"), 18_080), ["   at frame", line])
    assert why in said
    assert "server.log" in said
