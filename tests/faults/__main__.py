"""`python -m tests.faults`: break things, and show that the log does not know.

Exit code 0 if every fault took place and every checker found nothing, else 1. A fault that this
machine does not allow is reported as not possible here; it is not counted as passed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from tests.faults import report
from tests.faults.cluster import Cluster
from tests.faults.run import Row, broken_row, run_fault
from tests.faults.stage import NothingWorks
from tests.faults.table import FAULTS

RECORDS: Final = 100_000
RECORDS_MIN: Final = 1_000
WIDTH: Final = 200
"""Columns of the table where no terminal says otherwise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line names; all of it, if nothing is named."""
    asked = _parser().parse_args(arguments)
    if asked.list:
        for fault in FAULTS.values():
            sys.stdout.write(f"{fault.name:<28} {fault.what}\n")
        return 0
    if asked.records < RECORDS_MIN:
        _say(f"--records takes at least {RECORDS_MIN}: less is over before anything breaks")
        return 2
    if asked.keep is not None:
        asked.keep.mkdir(parents=True, exist_ok=True)
    rows = asyncio.run(_run(asked.only or list(FAULTS), asked.records, asked.keep))
    if asked.json:
        sys.stdout.write(msgspec.json.encode(report.as_json(rows)).decode() + "\n")
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
        report.show(console, rows)
    return 0 if all(row.clean for row in rows) else 1


async def _run(names: Sequence[str], records: int, keep: Path | None) -> list[Row]:
    """Every fault, on one cluster; a fault that leaves it unusable costs the next ones nothing.

    Where nothing works even before the fault, the next cluster gets it too, and its row says so.
    """
    rows: list[Row] = []
    in_vain = ""
    began = time.monotonic()
    while len(rows) < len(names):
        with Cluster() as cluster:
            await cluster.warm_up()
            broken = False
            while len(rows) < len(names) and not broken:
                fault = FAULTS[names[len(rows)]]
                try:
                    row = await run_fault(fault, cluster, records, _say, keep=keep)
                except Exception as error:  # noqa: BLE001 - whatever it was is this row's
                    broken = True
                    if isinstance(error, NothingWorks) and not in_vain:
                        in_vain = str(error)
                        _say(f"{fault.name}: once more, on another cluster: {in_vain}")
                        continue
                    row = broken_row(fault, error)
                if in_vain:
                    row.notes["once in vain"], in_vain = in_vain, ""
                _say(f"{report.line(row)} ({time.monotonic() - began:.0f} s in all)")
                for finding in report.findings(row):
                    _say(finding)
                rows.append(row)
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=[*FAULTS], metavar="NAME", help="these faults (see --list)"
    )
    parser.add_argument(
        "--records", type=int, default=RECORDS, help=f"per fault (default {RECORDS:,})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the workers' logs there")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    return parser


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
