"""A replay that was stopped goes on where it was, and comes to the same state; in memory."""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers import replay as replay_module
from consumers.folds import range_fold
from consumers.folds.kept import GAVE_UP, KEPT_DAYS_MAX
from consumers.projections import AgentState, Filters, Metrics, Projection
from consumers.replay import Replayed, replay
from streams.cuts import Cut
from streams.errors import AgentlogError, LogError
from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition
from streams.topics import EVENTS, TASKS
from tests.consumers.folds.stopping import NAMESPACE, Killed, StoppingReader, append, filled
from tests.consumers.projections.strategies import CODEC


@pytest.fixture(autouse=True)
def kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every batch, from the first on."""
    monkeypatch.setattr(replay_module, "KEEP_AFTER_S", 0.0)
    monkeypatch.setattr(range_fold, "KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(range_fold, "KEEP_SHARE_MAX", float("inf"))


class Run:
    """One replay: what it read, said, and came to."""

    def __init__(
        self,
        log: MemoryLog,
        home: Path | None,
        projection: Projection[Any] | None = None,
        *,
        killed_after: int | None = None,
        **options: Any,
    ) -> None:
        self.notes: list[str] = []
        self.passed: list[tuple[int, int]] = []
        self.done: Replayed[Any] | None = None
        reader = StoppingReader(log, killed_after)
        try:
            self.done = replay(
                projection or AgentState(),
                reader=reader,
                namespace=NAMESPACE,
                codec=CODEC,
                keep_in=home,
                on_progress=lambda *passed: self.passed.append(passed),
                on_note=self.notes.append,
                **options,
            )
        except Killed:
            assert killed_after is not None
        self.read = reader.records

    @property
    def result(self) -> tuple[str, Any]:
        assert self.done is not None
        return self.done.digest, self.done.tally


def files(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*.*"))


@pytest.mark.parametrize("killed_after", [1, 4, 13, 20])
@pytest.mark.parametrize("projection", [AgentState(), Metrics()], ids=lambda it: it.name)
@pytest.mark.parametrize("columnar", [True, False])
def test_a_stopped_replay_goes_on_where_it_was(
    tmp_path: Path, killed_after: int, projection: Projection[Any], columnar: bool
) -> None:
    """It reads the rest alone, says so, comes to the same, and leaves nothing behind."""
    log = filled()
    whole = Run(log, None, projection, workers=1, columnar=columnar)
    Run(log, tmp_path, projection, killed_after=killed_after, workers=1, columnar=columnar)
    assert len(files(tmp_path)) in {1, 2, 3}
    again = Run(log, tmp_path, projection, workers=1, columnar=columnar)
    assert again.result == whole.result
    assert whole.read - again.read == 5 * killed_after
    assert again.done is not None
    assert again.done.kept_records == 5 * killed_after
    assert "going on where an earlier replay was stopped" in again.notes[0]
    assert again.passed[-1] == (101, 101)
    assert files(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_it_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    """Each time a few records more."""
    log = filled()
    whole = Run(log, None)
    runs = 0
    while (run := Run(log, tmp_path, killed_after=3)).done is None:
        runs += 1
        assert runs < 20
    assert run.result == whole.result
    assert runs == 6  # 21 batches


def test_a_log_that_grew_meanwhile_is_folded_from_there(tmp_path: Path) -> None:
    """The state below a position is the same at every cut above: `--at now` goes on, too."""
    log = filled()
    Run(log, tmp_path, killed_after=15)
    append(log, range(100, 140))
    again = Run(log, tmp_path)
    assert again.result == Run(log, None).result
    assert again.read == 141 - 75


def test_an_earlier_cut_uses_nothing_from_beyond_it(tmp_path: Path) -> None:
    """And leaves it to the later one."""
    log = filled()
    reader = MemoryLogReader(log)
    now = reader.ends(NAMESPACE.topics(AgentState().topics))
    tasks = {Partition(NAMESPACE.topic(TASKS), index): 20 for index in (0, 1)}
    early = Cut(cluster_id=now.cluster_id, topic_ids=now.topic_ids, ends={**now.ends, **tasks})
    Run(log, tmp_path, killed_after=15)
    before = files(tmp_path)
    run = Run(log, tmp_path, cut=early)
    assert run.result == Run(log, None, cut=early).result
    assert run.read == 41
    assert files(tmp_path) == before
    assert Run(log, tmp_path, cut=now).read == 101 - 75


@pytest.mark.parametrize("change", ["filters", "version", "settings", "log", "since", "fresh"])
def test_another_replay_begins_anew(tmp_path: Path, change: str) -> None:
    """Whatever its state depends on: none goes on with another's; nor does a fresh one."""
    log = filled()
    Run(log, tmp_path, killed_after=15)
    options: dict[str, Any] = {}
    match change:
        case "filters":
            options["filters"] = Filters(agent="a1")
        case "version":
            options["projection"] = AgentState(version=2)
        case "settings":
            options["projection"] = AgentState(topics=(TASKS, EVENTS))
        case "log":
            log = filled()
            log.create_topic(NAMESPACE.topic(EVENTS), 1)
        case "since":
            options["since"] = _nothing(log)
        case "fresh":
            options["fresh"] = True
    run = Run(log, tmp_path, **options)
    assert run.read >= 100
    assert not run.notes
    assert run.result == Run(log, None, **options).result


def test_other_code_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same name and version; a change to what folds, or to what that imports, is enough."""
    log = filled()
    Run(log, tmp_path, killed_after=15)
    monkeypatch.setattr(
        "consumers.source_code._source_of", lambda module: f"# changed {module.__name__}"
    )
    assert Run(log, tmp_path).read == 101


def _nothing(log: MemoryLog) -> Cut:
    now = MemoryLogReader(log).ends(NAMESPACE.topics(AgentState().topics))
    ends = dict.fromkeys(now.ends, 0)
    return Cut(cluster_id=now.cluster_id, topic_ids=now.topic_ids, ends=ends)


def test_since_a_cut_only_what_came_later_is_folded() -> None:
    """What is folded before and after it is merged to what is folded at once."""
    log = filled(60)
    before = Run(log, None)
    assert before.done is not None
    append(log, range(60, 100))
    after, whole = Run(log, None, since=before.done.cut), Run(log, None)
    assert after.done is not None
    assert whole.done is not None
    assert after.read == 40
    assert AgentState().merge(before.done.state, after.done.state) == whole.done.state


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty", "of another"])
def test_a_damaged_file_is_passed_over_with_a_warning(tmp_path: Path, damage: str) -> None:
    """Its records are folded again: never a wrong state."""
    log = filled()
    Run(log, tmp_path, killed_after=15)
    path, other = sorted(tmp_path.rglob("*.state"))[-2:]
    raw = path.read_bytes()
    match damage:
        case "cut short":
            path.write_bytes(raw[:-7])
        case "one bit":
            path.write_bytes(raw[:100] + bytes([raw[100] ^ 4]) + raw[101:])
        case "empty":
            path.write_bytes(b"")
        case "of another":
            path.write_bytes(other.read_bytes())
    again = Run(log, tmp_path)
    assert again.result == Run(log, None).result
    warnings = [note for note in again.notes if "passed over" in note]
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert files(tmp_path) == []


class Tupled(AgentState, frozen=True):
    """Its state does not go into CBOR and back."""

    def initial(self) -> Any:
        return {"": (1, 2)}

    def apply(self, state: Any, record: Any, envelope: Any) -> Any:
        return {"": (1, state[""][1] + 1)}

    def merge(self, a: Any, b: Any) -> Any:
        return {"": (1, a[""][1] + b[""][1] - 2)}


def test_a_state_that_would_come_back_otherwise_is_not_kept(tmp_path: Path) -> None:
    """One warning, and the replay goes on."""
    log = filled()
    run = Run(log, tmp_path, Tupled())
    assert run.result == Run(log, None, Tupled()).result
    assert [note for note in run.notes if "as a tuple does" in note] == run.notes
    assert len(run.notes) == 1
    assert files(tmp_path) == []


def test_what_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    """An unwritable folder: here a file stands where it should be."""
    log = filled()
    home = tmp_path / "replays"
    home.write_text("")
    run = Run(log, home)
    assert run.result == Run(log, None).result
    assert len(run.notes) == 1
    assert run.notes[0].startswith(GAVE_UP)
    assert str(home) in run.notes[0]


def test_what_a_killed_process_was_just_writing_is_removed(tmp_path: Path) -> None:
    """Nobody reads it; what a running one writes is let be."""
    log = filled()
    Run(log, tmp_path, killed_after=15)
    (folder,) = tmp_path.iterdir()
    own_pid = [sys.executable, "-c", "import os; print(os.getpid())"]
    dead = subprocess.run(own_pid, capture_output=True, check=True, text=True)
    torn, writing = (folder / f"ns.tasks-0-9.state-{pid}-1.new" for pid in (int(dead.stdout), 1))
    torn.write_bytes(b"?")
    writing.write_bytes(b"?")
    assert Run(log, tmp_path).result == Run(log, None).result
    assert list(folder.iterdir()) == [writing]


def test_a_full_disk_is_one_warning_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """What was kept before stays; the replay goes on to the same state."""
    log = filled()
    Run(log, tmp_path, killed_after=15)
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        run = Run(log, tmp_path, killed_after=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before
    assert run.done is None
    limited = Run(log, tmp_path)
    assert limited.result == Run(log, None).result


def test_a_disk_that_fills_up_is_told_once(tmp_path: Path) -> None:
    """With the folder and what the system says."""
    log = filled()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        run = Run(log, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.result == Run(log, None).result
    (note,) = run.notes
    assert note.startswith(GAVE_UP)
    assert "File too large" in note
    assert list(tmp_path.rglob("*.*")) == []


def test_a_short_replay_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before its seconds have gone by: it costs no file, whether it ends or is killed."""
    monkeypatch.setattr(replay_module, "KEEP_AFTER_S", 60.0)
    log = filled()
    Run(log, tmp_path / "home", killed_after=15)
    assert not (tmp_path / "home").exists()


def test_what_nobody_goes_on_with_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some days; what is younger stays."""
    log = filled()
    Run(log, tmp_path, killed_after=15)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + (KEPT_DAYS_MAX - 1) * 86_400)
    Run(log, tmp_path, Metrics())
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(time, "time", lambda: now_s + (KEPT_DAYS_MAX + 1) * 86_400)
    Run(log, tmp_path, Metrics())
    assert list(tmp_path.iterdir()) == []


def test_a_projection_that_cannot_be_passed_on_is_folded_here(tmp_path: Path) -> None:
    """Not kept, and in no process: nobody could tell it from another."""

    class Local(AgentState, frozen=True):
        """Nobody else can import it."""

    log = filled()
    with pytest.raises(Exception, match="Local"):
        pickle.dumps(Local())
    Run(log, tmp_path, Local(), killed_after=15)
    assert files(tmp_path) == []
    run = Run(log, tmp_path, Local(), open_codec=lambda: CODEC)
    assert run.result == Run(log, None).result


class Unmergeable(AgentState, frozen=True):
    """A mistake in its merge."""

    def merge(self, a: Any, b: Any) -> Any:
        raise KeyError("nothing there")


def test_a_merge_that_raises_is_named() -> None:
    """One sentence, with the line."""
    with pytest.raises(AgentlogError, match=r"state failed on a merge of .*KeyError.*\.py:\d+\)"):
        Run(filled(), None, Unmergeable())


def test_a_history_that_lost_its_beginning_is_refused() -> None:
    """The partition, where it begins now, and the way out."""
    log = filled()
    source = Partition(NAMESPACE.topic(TASKS), 1)
    cut = MemoryLogReader(log).ends(NAMESPACE.topics(AgentState().topics))
    since = msgspec.structs.replace(cut, ends={**dict.fromkeys(cut.ends, 0), source: 30})
    log.remove_before(source, 30)
    with pytest.raises(LogError, match=r"tasks\[1\] begins at 30: .* from 0 on were removed.*=-1"):
        Run(log, None)
    assert Run(log, None, since=since).done is not None
