"""Installation is all or nothing, and what is installed is what the lock says."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streams.brokers.embedded.jars import ATTEMPTS_MAX, Fetch, install, is_intact
from streams.brokers.embedded.lock import KafkaLock, LockedJar
from streams.errors import BrokerError

CONTENT = {f"org.example:part-{n}:1.0": f"jar {n}".encode() * (n + 1) for n in range(6)}
LOCK = KafkaLock(
    kafka_version="4.3.1",
    roots=(),
    jars=tuple(
        LockedJar(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in sorted(CONTENT.items())
    ),
)
VICTIM = "org.example:part-3:1.0"


def _fetch(spoil: Callable[[str, bytes], bytes] = lambda name, data: data) -> Fetch:
    def fetch(folder: Path, coordinates: str) -> Path:
        folder.mkdir(parents=True)
        path = folder / "some.jar"
        path.write_bytes(spoil(coordinates, CONTENT[coordinates]))
        return path

    return fetch


def _never(folder: Path, coordinates: str) -> Path:
    raise AssertionError(f"{coordinates} was downloaded again")


def _left(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if p.name != "install.lock")


def test_the_first_run_downloads_and_the_second_does_not(tmp_path: Path) -> None:
    """The folder holds exactly the lock's jars, progress ends at 100 %, and nothing comes twice."""
    seen: list[tuple[int, int]] = []
    folder = install(LOCK, tmp_path, fetch=_fetch(), progress=lambda *done: seen.append(done))
    assert sorted(p.name for p in folder.iterdir()) == [f"part-{n}-1.0.jar" for n in range(6)]
    assert seen[-1] == (LOCK.size, LOCK.size)
    assert install(LOCK, tmp_path, fetch=_never) == folder
    assert _left(tmp_path) == [folder.name]


def test_a_tampered_download_is_refused_and_removed(tmp_path: Path) -> None:
    """The error names the jar, what was expected and what came; nothing is left of it."""

    def spoil(name: str, data: bytes) -> bytes:
        return b"evil" if name == VICTIM else data

    with pytest.raises(BrokerError) as caught:
        install(LOCK, tmp_path, fetch=_fetch(spoil))
    expected = hashlib.sha256(CONTENT[VICTIM]).hexdigest()
    for part in (VICTIM, expected, hashlib.sha256(b"evil").hexdigest(), "Run again"):
        assert part in str(caught.value)
    assert _left(tmp_path) == []


def test_a_jar_exchanged_after_the_installation_is_brought_again(tmp_path: Path) -> None:
    """The installed folder is checked on every start, content and all."""
    folder = install(LOCK, tmp_path, fetch=_fetch())
    victim = folder / "part-3-1.0.jar"
    victim.write_bytes(b"x" * victim.stat().st_size)
    assert not is_intact(LOCK, folder)
    assert is_intact(LOCK, install(LOCK, tmp_path, fetch=_fetch()))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """ENOSPC in the middle names the place and the way out."""

    def full(folder: Path, coordinates: str) -> Path:
        if coordinates == VICTIM:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        return _fetch()(folder, coordinates)

    with pytest.raises(BrokerError, match=r"disk is full at .*make room"):
        install(LOCK, tmp_path, fetch=full)
    assert _left(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A read-only place names itself."""

    def read_only(folder: Path, coordinates: str) -> Path:
        raise OSError(errno.EROFS, "Read-only file system", str(folder))

    with pytest.raises(BrokerError, match="XDG_CACHE_HOME"):
        install(LOCK, tmp_path, fetch=read_only)


def test_what_a_killed_installation_left_is_cleared(tmp_path: Path) -> None:
    """A `.partial` folder of a run that was killed is neither used nor kept."""
    folder = tmp_path / f"kafka-{LOCK.kafka_version}-{LOCK.digest}"
    torn = folder.with_name(f"{folder.name}.partial") / "jars" / "part-0-1.0.jar"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"torn")
    assert is_intact(LOCK, install(LOCK, tmp_path, fetch=_fetch()))
    assert _left(tmp_path) == [folder.name]


def test_a_network_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    """A jar gets a few attempts before the installation gives up."""
    failed: list[str] = []

    def flaky(folder: Path, coordinates: str) -> Path:
        if coordinates == VICTIM and len(failed) < ATTEMPTS_MAX - 1:
            failed.append(coordinates)
            raise BrokerError("cannot download")
        return _fetch()(folder, coordinates)

    assert is_intact(LOCK, install(LOCK, tmp_path, fetch=flaky))
    assert len(failed) == ATTEMPTS_MAX - 1


def test_two_installations_at_once_download_once(tmp_path: Path) -> None:
    """The second waits for the first and finds its work."""
    fetched: list[str] = []

    def counting(folder: Path, coordinates: str) -> Path:
        fetched.append(coordinates)
        return _fetch()(folder, coordinates)

    threads = [
        threading.Thread(target=install, args=(LOCK, tmp_path), kwargs={"fetch": counting})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fetched) == sorted(CONTENT)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A Maven repository on loopback, chosen through jgo.conf as a user would; yields its files."""
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = served.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def _serve(repository: dict[str, bytes]) -> None:
    for name, data in CONTENT.items():
        artifact, version = name.split(":")[1:]
        repository[f"/org/example/{artifact}/{version}/{artifact}-{version}.jar"] = data


def test_jars_come_from_the_repository_that_jgo_is_told(
    tmp_path: Path, repository: dict[str, bytes]
) -> None:
    """A mirror named `central` in jgo.conf replaces the default one."""
    _serve(repository)
    assert is_intact(LOCK, install(LOCK, tmp_path / "cache"))


def test_a_mirror_that_changes_a_jar_is_refused(
    tmp_path: Path, repository: dict[str, bytes]
) -> None:
    """The same refusal through the real downloader."""
    _serve(repository)
    repository["/org/example/part-3/1.0/part-3-1.0.jar"] = b"evil"
    with pytest.raises(BrokerError, match=VICTIM):
        install(LOCK, tmp_path / "cache")
    assert _left(tmp_path / "cache") == []


def test_a_repository_without_the_jar_is_one_sentence(
    tmp_path: Path, repository: dict[str, bytes]
) -> None:
    """An incomplete mirror: which jar, and where to name another repository."""
    with pytest.raises(BrokerError, match=r"no Maven repository has org\.example.*jgo\.conf"):
        install(LOCK, tmp_path / "cache")
    assert _left(tmp_path / "cache") == []


def test_no_network_on_the_first_run_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers: what could not be downloaded, that nothing is installed, what to do."""
    settings = tmp_path / "jgo.conf"
    settings.write_text("[repositories]\ncentral = http://127.0.0.1:1\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(BrokerError, match=r"cannot download .*nothing was installed: check the"):
        install(LOCK, tmp_path / "cache")
    assert _left(tmp_path / "cache") == []
