"""`python -m benchmarks`: the figures, measured now.

Exit code 0 if every bar is met, 1 if one is missed (not in a quick run, which is too short to
judge by).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import (
    cancels,
    codec,
    compatibility,
    dispatch,
    footprint,
    frameworks,
    lanes,
    latency,
    memory,
    publish,
    questions,
    rebuild,
    replay,
    report,
    review,
    scaling,
)
from benchmarks.elsewhere import log_warnings_only
from benchmarks.figures import Results
from benchmarks.machine import this_machine
from benchmarks.stage import Stage
from streams.brokers import open_broker
from streams.errors import ConfigurationError
from streams.settings import Settings

BENCHES: Final[Mapping[str, Callable[[Stage], Results]]] = {
    "publish": publish.bench,
    "dispatch": dispatch.bench,
    "frameworks": frameworks.bench,
    "lanes": lanes.bench,
    "latency": latency.bench,
    "footprint": footprint.bench,
    "cancels": cancels.bench,
    "memory": memory.bench,
    "replay": replay.bench,
    "codec": codec.bench,
}
LARGE: Final[Mapping[str, Callable[[Stage], Results]]] = {
    "rebuild": rebuild.bench,
    "questions": questions.bench,
    "review": review.bench,
    "scaling": scaling.bench,
    "compatibility": compatibility.bench,
}
"""Those of the whole: an hour together, with a page of their own."""
PROFILES: Final[Mapping[str, Callable[[Stage], Sequence[str]]]] = {
    "dispatch": dispatch.profile,
    "rebuild": rebuild.profile,
}

_HERE: Final = Path(__file__).parent
_LARGE: Final = "-large"
"""What the names of the large page and of its notes end with."""


def main() -> int:
    """Run what the command line names; if nothing is named, all of one page."""
    asked = _parser().parse_args()
    if asked.write and (asked.names or asked.quick or asked.profile):
        _say("--write takes a full run: no names, no --quick, no --profile")
        return 2
    page = LARGE if asked.large else BENCHES
    names = asked.names or [name for name in page if not asked.profile or name in PROFILES]
    if asked.profile and not set(names) <= set(PROFILES):
        _say(f"--profile is there for: {', '.join(PROFILES)}")
        return 2
    try:
        return _run(asked, names)
    except ConfigurationError as error:
        _say(str(error))
        return 2


def _run(asked: argparse.Namespace, names: Sequence[str]) -> int:
    if "frameworks" in names:
        frameworks.require_peers()  # before anything is measured
    log_warnings_only()
    machine = this_machine()
    with open_broker(Settings(), temporary=True) as broker:
        stage = Stage(bootstrap_servers=broker.bootstrap_servers, quick=asked.quick, say=_say)
        if asked.profile:
            for name in names:
                print("\n\n".join(PROFILES[name](stage)))
            return 0
        results = _measured(stage, names)
        shown = PROFILES.keys() & names if asked.write else ()
        profiles = [text for name in sorted(shown) for text in PROFILES[name](stage)]
    which = _LARGE if asked.large else ""
    notes = f"notes{which}.md"
    page = report.markdown(
        machine,
        results,
        _command(large=asked.large),
        report.Notes(f"benchmarks/{notes}", (_HERE / notes).read_text(encoding="utf-8")),
        profiles,
    )
    if asked.write:
        (_HERE / f"results{which}.md").write_text(page, encoding="utf-8")
    if asked.json:
        print(msgspec.json.encode(report.as_json(machine, results)).decode())
    else:
        print(page)
    missed = any(figure.met is False for found in results for figure in found.figures)
    return int(missed and not asked.quick)


def _measured(stage: Stage, names: Sequence[str]) -> list[Results]:
    """All of these; if one breaks off, what was measured before it is on stdout."""
    results: list[Results] = []
    try:
        for name in names:
            _say(name)
            results.append({**BENCHES, **LARGE}[name](stage))
    except Exception:
        print("\n\n".join(map(report.section, results)))
        raise
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        choices=[*BENCHES, *LARGE, []],
        metavar="name",
        help=f"which benches: {', '.join(BENCHES)} (default: all of these), "
        f"or {', '.join(LARGE)} (large)",
    )
    parser.add_argument("--large", action="store_true", help="the large ones instead: an hour")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument(
        "--profile",
        action="store_true",
        help=f"instead: where the time goes ({', '.join(PROFILES)})",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"write benchmarks/results.md, with --large results{_LARGE}.md",
    )
    return parser


def _command(*, large: bool) -> str:
    return f'make bench ARGS="{"--large " * large}--write"'


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
