"""Install the locked jars: all of them as the lock says, or none.

1. Under a file lock (one process installs, the others wait), clear what a killed run left behind.
2. Download into `<name>.partial`, a few jars at a time; each is checked against the lock at once.
3. Rename the folder to its name. A crash before this line leaves only a `.partial` folder.

The installed folder is checked against the lock on every start (40 ms for 45 MB): a jar that rotted
or was exchanged since makes the whole folder go, and step 2 brings it again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from streams.brokers.embedded.disk import disk_errors, locked
from streams.brokers.embedded.lock import KafkaLock, LockedJar, sha256_of
from streams.brokers.embedded.maven import fetch_jar, open_repositories
from streams.errors import BrokerError

DOWNLOADS_MAX = 8
ATTEMPTS_MAX = 3

Fetch = Callable[[Path, str], Path]
"""`fetch(folder, coordinates)`: bring one jar below `folder`, return where it is."""

Progress = Callable[[int, int], None]
"""`progress(done_bytes, total_bytes)`, called by the installing thread: at 0, then per jar."""


def install(
    lock: KafkaLock,
    cache: Path,
    *,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder below `cache` that holds exactly the lock's jars, downloaded if need be.

    Raises `BrokerError` if they cannot be had: no network, a jar that is not what the lock says, a
    full disk. Nothing of a failed installation stays.
    """
    target = cache / f"kafka-{lock.kafka_version}-{lock.digest}"
    with disk_errors(cache):
        if is_intact(lock, target):
            return target
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "install.lock"):
            if is_intact(lock, target):
                return target
            shutil.rmtree(target, ignore_errors=True)
            _install(lock, target, fetch or _maven_fetch(target), progress)
    return target


def is_intact(lock: KafkaLock, folder: Path) -> bool:
    """Whether every jar of the lock is in `folder`, byte for byte."""
    try:
        return all(
            (folder / jar.filename).stat().st_size == jar.size
            and sha256_of(folder / jar.filename) == jar.sha256
            for jar in lock.jars
        )
    except FileNotFoundError:
        return False


def _install(lock: KafkaLock, target: Path, fetch: Fetch, progress: Progress | None) -> None:
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    jars, downloads = partial / "jars", partial / "downloads"
    try:
        jars.mkdir(parents=True)

        def bring(jar: LockedJar) -> int:
            _fetch_verified(jar, downloads, fetch).replace(jars / jar.filename)
            return jar.size

        done = 0
        report = progress or _silent
        report(0, lock.size)
        with ThreadPoolExecutor(max_workers=DOWNLOADS_MAX) as pool:
            largest_first = sorted(lock.jars, key=lambda jar: -jar.size)
            brought = [pool.submit(bring, jar) for jar in largest_first]
            try:
                for one in as_completed(brought):
                    done += one.result()
                    report(done, lock.size)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        jars.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _silent(done_bytes: int, total_bytes: int) -> None:
    """Nobody watches."""


def _fetch_verified(jar: LockedJar, downloads: Path, fetch: Fetch) -> Path:
    """One jar, checked. A network failure is tried again; a wrong digest never is."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        folder = downloads / f"{jar.filename}.{attempt}"
        try:
            path = fetch(folder, jar.coordinates)
            break
        except BrokerError:
            shutil.rmtree(folder, ignore_errors=True)
            if attempt == ATTEMPTS_MAX:
                raise
    got = sha256_of(path)
    if got != jar.sha256:
        path.unlink()
        raise BrokerError(
            f"the download of {jar.coordinates} is not what the lock says: expected SHA-256 "
            f"{jar.sha256}, got {got}; it was deleted and nothing was installed. Run again; if it "
            "stays, the Maven mirror or proxy in use changes files: use another one"
        )
    return path


def _maven_fetch(target: Path) -> Fetch:
    open_repositories(target)  # a missing extra is an error before any thread starts
    return lambda folder, coordinates: fetch_jar(open_repositories(folder), coordinates)
