"""`python -m streams.brokers.apicurio.relock`: make `apicurio.lock.json` again.

Downloads the archive into a temporary folder, digests it and what it unpacks to, and writes the
lock next to this file. The same version must reproduce the committed file byte for byte.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from streams.brokers.apicurio.archive import NEED, unpack
from streams.brokers.apicurio.locking import (
    LOCK_NAME,
    RegistryLock,
    digest_of_tree,
    names_below,
    render_lock,
)
from streams.brokers.embedded.lock import LockedJar, sha256_of
from streams.brokers.embedded.maven import fetch_jar, open_repositories

APICURIO_VERSION = "3.3.3"
COORDINATES = f"io.apicurio:apicurio-registry-app:tar.gz:all:{APICURIO_VERSION}"


def make_lock(folder: Path) -> RegistryLock:
    """Download and unpack below `folder`, and say what came."""
    archive = fetch_jar(open_repositories(folder / "downloads", NEED), COORDINATES, NEED)
    unpack(archive, folder / "app")
    names = names_below(folder / "app")
    return RegistryLock(
        APICURIO_VERSION,
        LockedJar(COORDINATES, archive.stat().st_size, sha256_of(archive)),
        len(names),
        digest_of_tree(folder / "app", names),
    )


def main() -> None:
    """Write the lock and say what it holds."""
    with tempfile.TemporaryDirectory(prefix="agentlog-relock-") as folder:
        lock = make_lock(Path(folder))
    target = Path(__file__).with_name(LOCK_NAME)
    target.write_text(render_lock(lock), encoding="utf-8")
    sys.stderr.write(f"{target.name}: {lock.files} files, {lock.archive.size:,} bytes packed\n")


if __name__ == "__main__":
    main()
