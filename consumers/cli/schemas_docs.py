"""`agentlog schemas docs`: the catalogue of payload types as a page to browse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumers.cli.asked import AsJson
from consumers.cli.output import emit, stderr
from consumers.cli.schemas_diff import Folder
from consumers.schema_catalogue import catalogue_page, entries_of
from consumers.schema_catalogue.entries import field_entries
from consumers.usage import builtin_readers, reader_of, writers_in
from streams.errors import ConfigurationError
from streams.schemas import Catalogue
from streams.schemas.folders import ENVELOPE_FILE, SchemaFolder, builtin_folder, read_avsc
from streams.session import read_settings


def docs(
    file: Annotated[Path, typer.Argument(metavar="FILE.html")],
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code",
            metavar="MODULE:NAME",
            help="An app, projection, read model or aggregate of yours: who reads, who writes.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Schemas",
    folder: Folder = None,
    json_: AsJson = False,
) -> None:
    """Write the catalogue of types as one page of HTML that needs nothing else.

    With versions and what changed in each, modes, owners, topics, and who writes and reads which
    field, as far as the source of agentlog and of --code says so.
    """
    own = folder or read_settings().schemas_dir
    extra = [own] if own is not None and own.resolve() != builtin_folder().resolve() else []
    asked = code or []
    catalogue = Catalogue.load(*extra)
    readers = [
        *builtin_readers(catalogue),
        *(reader for one in asked for reader in reader_of(one, catalogue)),
    ]
    writers = writers_in(one.partition(":")[0] for one in asked)
    types = entries_of(map(SchemaFolder, (builtin_folder(), *extra)), readers, writers)
    envelope = field_entries(read_avsc(builtin_folder() / ENVELOPE_FILE))
    page = catalogue_page(types, envelope, title=title, code=asked)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error}") from error
    if json_:
        emit({"file": str(file), "types": len(types), "bytes": len(page.encode())})
    else:
        stderr.print(f"wrote {file}: {len(types)} types", markup=False, soft_wrap=True)
