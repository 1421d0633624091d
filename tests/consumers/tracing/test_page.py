"""A trace as a page, as JSON and as text: everything in it comes from anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from consumers.cli.trace_views import trace_tree
from consumers.databases import Database
from consumers.tracing import Trace, words
from consumers.tracing.document import trace_document
from consumers.tracing.page import trace_page
from streams.envelope import Kind
from tests.consumers.tracing.stage import TraceStage, envelope
from tests.html_pages import Page

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202eevil\x1b[2J\n]]>"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[TraceStage]:
    database = Database(f"sqlite:///{tmp_path / 'index.sqlite'}")
    yield TraceStage(database)
    database.close()


def hostile(stage: TraceStage) -> Trace:
    """Every text that a sender chooses."""
    one = envelope(
        1,
        sender=HOSTILE,
        recipients=(HOSTILE, "b"),
        correlation_id=HOSTILE,
        causation_id=HOSTILE,
        channel_id=HOSTILE,
        session_id=HOSTILE,
        payload={"json": msgspec.json.encode({HOSTILE: HOSTILE}).decode()},
    )
    places = stage.append(one)
    stage.bury(places[0], group=HOSTILE.replace("\n", ""))
    return stage.trace(HOSTILE)


def printed(trace: Trace) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(trace_tree(trace))
    return console.export_text()


def test_nothing_of_a_page_is_what_somebody_sent(stage: TraceStage) -> None:
    """No tag, no attribute, no text that turns what stands around it."""
    page = trace_page(hostile(stage))
    parsed = Page(page)
    assert not parsed.open
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "img", "link", "iframe", "a"})
    assert not [name for _, found in parsed.tags for name in found if name.startswith("on")]
    assert "alert(1)" in parsed.text
    assert "\u202e" not in page.replace(HOSTILE, "").split("<pre>")[0]
    assert "\x1b" not in page


def test_a_page_needs_nothing_from_elsewhere(stage: TraceStage) -> None:
    """And forbids itself to fetch or run anything."""
    stage.append(envelope(1, correlation_id="c"))
    page = trace_page(stage.trace("c"))
    assert not re.findall(r"(?:src|href)=|url\(|@import|https?://", page)
    policy = next(found for tag, found in Page(page).tags if tag == "meta" and "content" in found)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_nothing_that_somebody_sent_moves_the_terminal(stage: TraceStage) -> None:
    """Control characters are replaced, markup is text."""
    text = printed(hostile(stage))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "alert(1)" in text


def test_a_page_says_who_told_whom_and_how_it_ended(stage: TraceStage) -> None:
    """With causes above what they caused, and what is missing."""
    (place,) = stage.append(envelope(1, correlation_id="c", sender="planner"))
    stage.settle(place, waited_ms=3, after_ms=20)
    answer = envelope(2, correlation_id="c", causation_id=envelope(1).id, sender="worker")
    (place,) = stage.append(answer, after_ms=5)
    stage.bury(place)
    stage.append(envelope(3, correlation_id="c", causation_id="msg-gone"), after_ms=5)
    trace = stage.trace("c")
    for text in (Page(trace_page(trace)).text, printed(trace)):
        assert text.index("planner") < text.index("no such thing") < text.index("msg-gone")
        assert "not on the log" in text
        assert "ValueError" in text
        assert "5" in text
        assert "waited 3 ms" in text or "3 ms" in text
    document = trace_document(trace)
    assert [node["depth"] for node in document["nodes"]] == [0, 1, 0, 1]
    assert document["nodes"][0]["endings"][0]["waited_ms_max"] == 3
    assert document["nodes"][2] == {
        "id": "msg-gone",
        "cause": None,
        "depth": 0,
        "note": "missing",
    }
    msgspec.json.encode(document)


def test_two_hundred_messages_and_a_chain_of_them_make_a_page(stage: TraceStage) -> None:
    """Deep levels are told in words: the page stays as wide as it is."""
    for n in range(1, 201):
        cause = envelope(n - 1).id if n > 1 else None
        one = envelope(n, correlation_id="c", causation_id=cause, kind=Kind.NOTIFICATION)
        stage.append(one, after_ms=7)
    trace = stage.trace("c")
    page = trace_page(trace)
    parsed = Page(page)
    assert sum(tag == "details" for tag, _ in parsed.tags) == 200
    assert "level 199" in parsed.text
    assert len(page) < 600_000
    assert "level 199" in printed(trace)


def test_durations_are_said_as_people_say_them() -> None:
    """From milliseconds to days."""
    said = [words.duration(ms) for ms in (0, 12, 999, 1_240, 192_000, 5.2 * 3_600_000, 2.7e8)]
    assert said == ["0 ms", "12 ms", "999 ms", "1.24 s", "3 min 12 s", "5.2 h", "3.1 d"]


def test_the_scale_of_a_moment_counts_whole_milliseconds(stage: TraceStage) -> None:
    """One record took no time at all: the marks are still told apart."""
    stage.append(envelope(1, correlation_id="c"))
    page = trace_page(stage.trace("c"))
    [scale] = re.findall(r'<span class="axis">((?:<span>[^<]*</span>)+)', page)
    assert re.findall(r"<span>([^<]*)", scale) == ["0 ms", "1 ms", "2 ms", "3 ms", "4 ms"]
