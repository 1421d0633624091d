"""A folder as a revision of its git repository has it, to be compared with what it is now."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.errors import ConfigurationError

GIT_S_MAX: Final = 60
"""Seconds that one call of git may take."""


class NotThereYet(ConfigurationError):
    """The revision has no such folder."""


@contextmanager
def folder_at(folder: Path, revision: str) -> Iterator[Path]:
    """A copy of `folder` as it was, removed at the end; `revision` is a branch, a tag, a commit.

    Raises `ConfigurationError` where git is missing, the folder is in no repository or there is no
    such revision; of that, `NotThereYet` where the revision has no such folder.
    """
    folder = folder.resolve()
    top = Path(_git(folder, "rev-parse", "--show-toplevel", wrong="is in no git repository"))
    commit = _git(
        folder,
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{revision}^{{commit}}",
        wrong=f"has no revision {revision!r} to compare with; `git fetch` it, or name another",
    )
    inside = folder.relative_to(top.resolve())
    at = f"{revision} ({commit[:10]})"
    wrong = f"cannot be read at {at}; `git fsck` tells what is missing"
    # An archive that is refused does not tell whether it is for this.
    if not _run(top, "ls-tree", "-d", commit, "--", str(inside), wrong=wrong, of=folder):
        raise NotThereYet(f"{folder} was not there at {at}; name a later revision")
    raw = _run(top, "archive", "--format=tar", commit, "--", str(inside), wrong=wrong, of=folder)
    with tempfile.TemporaryDirectory(prefix="agentlog-") as copied:
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            archive.extractall(copied, filter="data")
        yield Path(copied) / inside


def _git(folder: Path, *arguments: str, wrong: str) -> str:
    return _run(folder, *arguments, wrong=wrong, of=folder).decode().strip()


def _run(where: Path, *arguments: str, wrong: str, of: Path) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - git, with arguments that it takes for no options
            ["git", "-C", str(where), *arguments],  # noqa: S607 - the one on the path
            capture_output=True,
            check=False,
            timeout=GIT_S_MAX,
        )
    except FileNotFoundError as error:
        raise ConfigurationError("there is no git on the path; install it") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"git {arguments[0]} took more than {GIT_S_MAX} s") from error
    if done.returncode:
        raise ConfigurationError(f"{of} {wrong}")
    return done.stdout
