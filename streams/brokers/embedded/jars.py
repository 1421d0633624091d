"""Install the locked jars: all of them as the lock says, or none (`installing.py`).

They are downloaded a few at a time; each is checked against the lock at once. Checking the
installed folder on every start takes 40 ms for 45 MB.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from streams.brokers.embedded.installing import Progress, install_folder, silent
from streams.brokers.embedded.lock import KafkaLock, LockedJar, sha256_of
from streams.brokers.embedded.maven import fetch_jar, open_repositories
from streams.errors import BrokerError

DOWNLOADS_MAX = 8
ATTEMPTS_MAX = 3

Fetch = Callable[[Path, str], Path]
"""`fetch(folder, coordinates)`: bring one jar below `folder`, return where it is."""


def install(
    lock: KafkaLock,
    cache: Path,
    *,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder below `cache` that holds exactly the lock's jars, downloaded if need be.

    `progress` is told at 0, then per jar. Raises `BrokerError` if they cannot be had: no network, a
    jar that is not what the lock says, a full disk. Nothing of a failed installation stays.
    """
    target = cache / f"kafka-{lock.kafka_version}-{lock.digest}"
    return install_folder(
        target,
        intact=lambda folder: is_intact(lock, folder),
        bring=lambda partial: _bring(lock, partial, fetch or _maven_fetch(target), progress),
    )


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


def _bring(lock: KafkaLock, partial: Path, fetch: Fetch, progress: Progress | None) -> Path:
    jars, downloads = partial / "jars", partial / "downloads"
    jars.mkdir()

    def bring(jar: LockedJar) -> int:
        fetch_verified(jar, downloads, fetch).replace(jars / jar.filename)
        return jar.size

    done = 0
    report = progress or silent
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
    return jars


def fetch_verified(jar: LockedJar, downloads: Path, fetch: Fetch) -> Path:
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
