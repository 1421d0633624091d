"""The tables, for people and for `results.md`: one rendering, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from benchmarks.figures import Figure, Measured, Results
from benchmarks.machine import Machine

PROFILES_SAY: Final = (
    "The event loop's thread under cProfile, by module and by function, in the same run. It makes "
    "every Python call dearer and calls into C hardly, so it says where to look, not what is to be "
    "gained; the consumer's and the commits' threads have the interpreter for the rest of the time."
)


class Notes(NamedTuple):
    """Prose at a page's end, and the file that it is kept in."""

    file: str
    text: str


def markdown(
    machine: Machine,
    results: Iterable[Results],
    command: str,
    notes: Notes,
    profiles: Sequence[str] = (),
) -> str:
    """The whole page. `profiles` say where time went."""
    parts = [
        "# Benchmarks",
        f"Measured, and written here, by `{command}`; nothing on this page is typed by hand but "
        f"the notes at its end (`{notes.file}`). Every figure is the median of several "
        "rounds in which the contenders took turns, with the lowest and the highest round beside "
        "it; every ratio is taken within each round, against a baseline that ran in the same "
        "minute, on the same data and the same broker; what has a unit is what this machine did. "
        "One round before them warmed everybody.",
        _machine(machine),
        *(section(found) for found in results),
        *(["## Where the worker's time goes", PROFILES_SAY] if profiles else []),
        *(f"```text\n{profile}\n```" for profile in profiles),
        notes.text.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(machine: Machine, results: Iterable[Results]) -> dict[str, Any]:
    """The same for machines, every round included."""
    return {"machine": machine, "results": [found.as_json() for found in results]}


def _machine(machine: Machine) -> str:
    rows = [
        ("date", machine.date),
        ("processor", f"{machine.cpu}, {machine.cores} cores"),
        ("memory", f"{machine.memory_gib} GiB"),
        ("system", machine.system),
        ("load before", ", ".join(f"{load:.2f}" for load in machine.load_before)),
        ("broker", f"Apache Kafka {machine.kafka}, embedded, one node on the same machine"),
        ("Python", machine.python),
        ("libraries", ", ".join(f"{name} {found}" for name, found in machine.libraries.items())),
    ]
    return _table(("machine", ""), rows)


def section(found: Results) -> str:
    """What one bench measured, as a part of the page."""
    parts = [f"## {found.bench}", f"{found.workload}{_others(found)}"]
    if found.measured:
        parts.append(
            _table(("contender", "records/s", "lowest to highest"), map(_rates, found.measured))
        )
    parts.append(
        _table(("figure", "median", "lowest to highest", "bar", "met"), map(_figure, found.figures))
    )
    return "\n\n".join(parts)


def _others(found: Results) -> str:
    most = found.others_most
    if most is None:
        return ""
    return f" Others used at most {most:.0%} of the processors' time when a run began."


def _rates(measured: Measured) -> tuple[str, ...]:
    return (
        measured.name,
        f"{measured.median_per_s:,.0f}",
        f"{min(measured.rates):,.0f} to {max(measured.rates):,.0f}",
    )


def _figure(found: Figure) -> tuple[str, ...]:
    lowest, highest = (_number(found, value) for value in (min(found.rounds), max(found.rounds)))
    return (
        found.meaning,
        _number(found, found.median),
        f"{lowest} to {highest}" if len(found.rounds) > 1 else "one run",
        "" if found.bar is None else f"{found.bar.sign} {found.bar.limit:g} {found.unit}".rstrip(),
        {None: "", True: "yes", False: "**no**"}[found.met],
    )


def _number(found: Figure, value: float) -> str:
    """Ratios with two digits; values with three that count."""
    if not found.unit:
        return f"{value:.2f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {found.unit}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
