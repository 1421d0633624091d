"""A plan adds versions at the end of what a side has, and refuses where both went on."""

from __future__ import annotations

import re
from typing import Any

import pytest

from streams.registries.plan import Ours, Subject, Theirs, plan
from streams.schemas.compatibility.modes import Mode


def _schema(mark: str) -> dict[str, Any]:
    fields = [{"name": mark, "type": "string"}]
    return {"type": "record", "name": "Placed", "namespace": "acme.order", "fields": fields}


def _subject(ours: str, theirs: str, name: str = "t-acme.order.Placed", **more: Any) -> Subject:
    return Subject(
        name=name,
        type="acme.order.Placed",
        ours=[Ours(n, _schema(mark)) for n, mark in enumerate(ours, 1)],
        theirs=[
            Theirs(n, 100 + n, _schema(mark), {"payload": mark}) for n, mark in enumerate(theirs, 1)
        ],
        **more,
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "pushed", "pulled"),
    [
        ("", "", [], []),
        ("ab", "ab", [], []),
        ("ab", "", [1, 2], []),
        ("ab", "a", [2], []),
        ("a", "abc", [], [2, 3]),
        ("", "ab", [], [1, 2]),
        # Their history begins later than ours, and ours later than theirs: only what follows moves.
        ("abc", "b", [3], []),
        ("b", "abc", [], [3]),
        # An old version that is registered again, late, is no step back.
        ("ab", "ba", [], []),
        ("ab", "bac", [], [3]),
        ("abc", "ba", [3], []),
    ],
)
def test_what_one_side_has_more_goes_to_the_other(
    ours: str, theirs: str, pushed: list[int], pulled: list[int]
) -> None:
    """After the newest version that both have; each letter is a version."""
    todo = plan([_subject(ours, theirs)])
    assert [one.version for one in todo.pushes] == pushed
    assert [one.version for one in todo.pulls] == pulled
    assert not todo.differ
    assert todo.in_sync == (not pushed and not pulled)


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        ("ab", "ac", "both sides went on: ours with v2 .* the registry with v2"),
        ("a", "b", r"none of its versions \(v1\) is one of ours"),
    ],
)
def test_where_both_went_on_nothing_is_done(ours: str, theirs: str, why: str) -> None:
    """The versions of both sides are named."""
    todo = plan([_subject(ours, theirs)])
    assert not todo.actions
    assert not todo.in_sync
    (said,) = todo.differ.values()
    assert re.search(why, said)


def test_a_type_that_differs_on_one_topic_moves_on_none() -> None:
    """Half a type in the registry would be a third truth."""
    todo = plan([_subject("ab", "ac", "one"), _subject("ab", "a", "two")])
    assert set(todo.differ) == {"one"}
    assert not todo.actions


def test_a_pull_that_several_subjects_ask_for_is_done_once() -> None:
    """The longest of them, if they agree as far as they go."""
    todo = plan([_subject("a", "ab", "one"), _subject("a", "abc", "two")])
    assert [(one.subject, one.version) for one in todo.pulls] == [("two", 2), ("two", 3)]
    assert not todo.differ


def test_pulls_that_contradict_each_other_differ() -> None:
    """Two subjects of one type that went different ways."""
    todo = plan([_subject("a", "ab", "one"), _subject("a", "ac", "two")])
    assert list(todo.differ) == ["two"]
    assert not todo.pulls


def test_what_the_registry_takes_for_ours_is_not_pushed_again() -> None:
    """It would never make a version of it; the plan says what stands for what."""
    todo = plan([_subject("ab", "a", taken={2: 1})])
    assert todo.in_sync
    assert "version 1 (id 101) stands for acme.order.Placed v2" in todo.notes[0]


def test_a_pull_needs_a_folder_and_our_envelope() -> None:
    """Else the way out is named: another folder, or a newer package."""
    (why,) = plan([_subject("a", "ab", pulls_into=False)]).differ.values()
    assert "not in this folder" in why
    foreign = Subject("s", "acme.order.Placed", theirs=[Theirs(1, 7, _schema("a"), None)])
    (why,) = plan([foreign]).differ.values()
    assert "upgrade the package" in why


def test_a_level_is_set_where_there_is_none_and_left_where_there_is_one() -> None:
    """A level that is another one than subjects.toml has is told of."""
    unset = _subject("a", "", mode=Mode.FULL)
    assert [one.mode for one in plan([unset]).levels] == [Mode.FULL]
    other = _subject("a", "a", mode=Mode.FULL, level=Mode.NONE)
    todo = plan([other])
    assert todo.in_sync
    assert "its level is NONE, subjects.toml says FULL" in todo.notes[0]
    assert not plan([_subject("a", "a", mode=Mode.FULL, level=Mode.FULL)]).notes
