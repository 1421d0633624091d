"""The report: what the demo measured and proved, for people and for machines."""

from __future__ import annotations

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consumers.demo.figures import Share
from consumers.demo.travel import Story

DIGEST_SHOWN = len("sha256:") + 16


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the demo found out. Times are seconds unless the name says ms."""

    namespace: str
    history: str
    imported: int
    live: int
    """Envelopes that the pods published and the workers produced."""
    published: int
    """imported + live"""
    first_envelope_s: float
    """From the start of the command to the first acknowledged envelope."""
    publish_per_s: float
    """The history, through one publisher."""
    throughput_per_s: float
    """Records that the workers handled while the fleet ran."""
    delivery_ms: dict[str, int | None]
    """Append to dispatch: p50, p90, p99, max."""
    work: list[Share]
    killed_pid: int | None
    recovered_s: float | None
    """From the kill to the first time that another began what the killed worker had begun."""

    lost: int
    duplicated: int
    reordered: int
    unhandled: int
    """Records that the pods' messages call for, less those that the fleet handled."""
    untiled: int
    """Faults of the journal: gaps, overlaps, phantoms, broken chains."""
    redelivered: int
    faults: list[str]

    state_digest_live: str
    state_digest_replayed: str
    metrics_digest_live: str
    metrics_digest_replayed: str
    fold_faults: list[str]
    """Where folds in other orders, other batches or another process came to something else."""
    oracle_equal: bool
    oracle_differences: list[str]
    rebuilt: int
    rebuild_per_s: float
    story: Story | None
    """What became of a record that the killed worker had, and its agent then and now."""
    total_s: float

    @property
    def proofs(self) -> dict[str, bool]:
        """Each proof by name, and whether it holds."""
        return {
            "all work done": self.unhandled == 0,
            "nothing lost": self.lost == 0,
            "nothing duplicated": self.duplicated == 0,
            "nothing reordered": self.reordered == 0,
            "every record ended exactly once": self.untiled == 0,
            "agent state: replayed = live": self.state_digest_live == self.state_digest_replayed,
            "metrics: replayed = live": self.metrics_digest_live == self.metrics_digest_replayed,
            "in any order, in any process": not self.fold_faults,
            "history = its oracle": self.oracle_equal,
        }

    @property
    def ok(self) -> bool:
        """Whether every proof holds."""
        return all(self.proofs.values())


def show(report: Report, console: Console, story: RenderableType | None = None) -> None:
    """Print the report for a person, with its story as it is to be shown."""
    console.print()
    console.print(_numbers(report))
    console.print(_work(report))
    if story is not None:
        console.print(story)
        console.print()
    console.print(_proofs(report))
    for fault in (*report.faults, *report.fold_faults, *report.oracle_differences):
        console.print(f"  [red]✗[/] {fault}")


def _numbers(report: Report) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, title="What ran", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    delivery = ", ".join(
        f"{name} {ms} ms" for name, ms in report.delivery_ms.items() if ms is not None
    )
    table.add_row(
        "history",
        f"{report.imported:,} messages from {report.history}, {report.publish_per_s:,.0f}/s",
    )
    table.add_row(
        "fleet", f"{report.live:,} envelopes live, {report.throughput_per_s:,.0f} records handled/s"
    )
    table.add_row("first envelope", f"after {report.first_envelope_s:.1f} s")
    table.add_row("delivery", f"{delivery}; the kill included")
    table.add_row("rebuilt", f"{report.rebuilt:,} records, {report.rebuild_per_s:,.0f}/s")
    table.add_row("in all", f"{report.total_s:.1f} s")
    return table


def _work(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Who did the work", title_justify="left")
    table.add_column("worker")
    table.add_column("before the kill", justify="right")
    table.add_column("after", justify="right")
    table.add_column("")
    for share in report.work:
        note = Text("SIGKILL", style="red") if share.killed else Text("")
        table.add_row(f"pid {share.pid}", f"{share.before_kill:,}", f"{share.after_kill:,}", note)
    if report.recovered_s is not None:
        table.caption = f"what it had begun was begun again from {report.recovered_s:.1f} s on"
    return table


def _proofs(report: Report) -> Panel:
    table = Table.grid(padding=(0, 2))
    for name, holds in report.proofs.items():
        table.add_row(
            Text("✓" if holds else "✗", style="green" if holds else "bold red"),
            name,
            Text(_evidence(report, name), style="dim"),
        )
    title = "[green]Proven[/]" if report.ok else "[bold red]Not proven[/]"
    return Panel(table, title=title, title_align="left", expand=False, padding=(1, 2))


def _evidence(report: Report, proof: str) -> str:
    return {
        "all work done": f"{report.unhandled} records left unhandled",
        "nothing lost": f"{report.lost} lost",
        "nothing duplicated": f"{report.duplicated} on the log twice, "
        f"though {report.redelivered} handler runs were repeated",
        "nothing reordered": f"{report.reordered} out of order within their key",
        "every record ended exactly once": f"{report.untiled} faults in the journal",
        "agent state: replayed = live": report.state_digest_replayed[:DIGEST_SHOWN],
        "metrics: replayed = live": report.metrics_digest_replayed[:DIGEST_SHOWN],
        "in any order, in any process": "each folded three times, under two hash seeds"
        if not report.fold_faults
        else f"{len(report.fold_faults)} folds differ",
        "history = its oracle": f"{len(report.oracle_differences)} keys differ",
    }[proof]
