"""Writes the golden files of versions that have none yet."""

from __future__ import annotations

import sys

from streams.schemas import Catalogue, Codec
from tests.golden import golden_envelope, golden_file


def main() -> None:
    """Write what is missing and say so."""
    codec = Codec(Catalogue.load())
    for event in codec.catalogue.types.values():
        path = golden_file(event.name, event.version)
        if not path.exists():
            path.write_bytes(codec.encode(golden_envelope(event.name, event.kind)))
            sys.stdout.write(f"wrote {path.name}\n")


if __name__ == "__main__":
    main()
