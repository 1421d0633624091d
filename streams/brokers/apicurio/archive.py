"""Install the locked archive, unpacked: as the lock says, or not at all."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Final

from streams.brokers.apicurio.locking import RegistryLock, digest_of_tree, load_lock, names_below
from streams.brokers.embedded.disk import cache_home
from streams.brokers.embedded.installing import Progress, install_folder, silent
from streams.brokers.embedded.jars import Fetch, fetch_verified
from streams.brokers.embedded.maven import fetch_jar, open_repositories
from streams.brokers.embedded.need import Need
from streams.errors import BrokerError

NEED: Final = Need("the embedded registry", "point AGENTLOG_REGISTRY_URL at a schema registry")


def registry_app(*, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder of the locked Apicurio, downloaded on first use."""
    return install(load_lock(), cache or cache_home(), progress=progress)


def install(
    lock: RegistryLock,
    cache: Path,
    *,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder below `cache` that holds exactly the files of the lock's archive.

    Raises `BrokerError` if they cannot be had: no network, an archive that is not what the lock
    says, a full disk. Nothing of a failed installation stays.
    """
    target = cache / f"apicurio-{lock.apicurio_version}-{lock.sha256[:12]}"
    report = progress or silent
    return install_folder(
        target,
        intact=lambda folder: is_intact(lock, folder),
        bring=lambda partial: _bring(
            lock, partial, fetch or _maven_fetch(lock.archive.size, report), report
        ),
    )


def is_intact(lock: RegistryLock, folder: Path) -> bool:
    """Whether the folder holds the lock's files and no others, byte for byte."""
    if not folder.is_dir():
        return False
    names = names_below(folder)
    return len(names) == lock.files and digest_of_tree(folder, names) == lock.sha256


def _bring(lock: RegistryLock, partial: Path, fetch: Fetch, report: Progress) -> Path:
    report(0, lock.archive.size)
    archive = fetch_verified(lock.archive, partial / "downloads", fetch)
    report(lock.archive.size, lock.archive.size)
    app = partial / "app"
    unpack(archive, app)
    if not is_intact(lock, app):
        raise BrokerError(
            f"{lock.archive.coordinates} did not unpack to what the lock says, and nothing was "
            "installed: make the lock again with `python -m streams.brokers.apicurio.relock`"
        )
    return app


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar.gz; nothing of it may land outside `folder`."""
    folder.mkdir()
    with tarfile.open(archive) as tar:
        # The documented way to ask for the filter where this Python has it (3.11.4 and later).
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        tar.extractall(folder)  # noqa: S202 (its bytes are the lock's)


def _maven_fetch(size: int, report: Progress) -> Fetch:
    open_repositories(Path(), NEED)  # a missing extra is an error before anything is made

    def fetch(folder: Path, coordinates: str) -> Path:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            report(done, size)

        return fetch_jar(open_repositories(folder, NEED, count), coordinates, NEED)

    return fetch
