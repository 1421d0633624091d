"""Opening: both sides of a review, out of git, and refused where no review can be made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from consumers.reviewing.sides import Sides, is_bare
from consumers.revisions import NotThereYet, folder_at
from streams.errors import AgentlogError
from streams.schemas.compatibility import parse_text
from streams.schemas.folders import ENVELOPE_FILE, SchemaFolder
from streams.schemas.lock import LOCK_FILE, read_lock, require_kept
from streams.schemas.upcasting import load_upcasters, require_known


@contextmanager
def open_sides(folder: Path, base: str, head: str | None) -> Iterator[Sides]:
    """The folder at a revision of git and at another one; without `head` as it is now.

    A base that has no such folder is one without types.
    Raises `ConfigurationError` for a revision that there is not, for what is no schema, where the
    candidate's lock does not keep what the base's gave, and for an upcaster that begins nowhere.
    Errors inside say which revision a file is of, not where its copy is.
    """
    with ExitStack() as held:
        before = Path(held.enter_context(TemporaryDirectory(prefix="agentlog-")))
        with suppress(NotThereYet):
            before = held.enter_context(folder_at(folder, base))
        held.enter_context(_named(before, f"{base}:{folder}"))
        after = folder
        if head is not None:
            after = held.enter_context(folder_at(folder, head))
            held.enter_context(_named(after, f"{head}:{folder}"))
        for one in (after,) if is_bare(before) else (before, after):
            SchemaFolder(one).require_avro()
            if (path := one / ENVELOPE_FILE).exists():
                parse_text(path.read_text(encoding="utf-8"), str(path))
        require_kept(folder / LOCK_FILE, read_lock(after), read_lock(before))
        sides = Sides(before, after)
        require_known(load_upcasters(after), sides.ladders)
        yield sides


@contextmanager
def _named(copy: Path, name: str) -> Iterator[None]:
    try:
        yield
    except AgentlogError as error:
        error.args = (str(error).replace(str(copy), name),)
        raise
