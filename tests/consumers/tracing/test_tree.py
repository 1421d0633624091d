"""The causal tree, from envelopes alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.tracing import Message, Sighting, build_tree
from streams.envelope import Envelope
from streams.record import Partition, Place


def message(id_: str, cause: str | None = None, *, at: int = 0, outside: bool = False) -> Message:
    place = Place(Partition("ns.tasks", 0), at)
    return Message(
        envelope=Envelope(type="agentlog.Json", payload={}, id=id_, causation_id=cause),
        sightings=(Sighting(place, at, "k"),),
        is_outside=outside,
    )


def shown(*messages: Message) -> list[tuple[str, int, str]]:
    return [(node.id, node.depth, node.note) for node in build_tree(messages)]


def test_a_cause_stands_before_what_it_caused_and_siblings_in_order_of_time() -> None:
    """However the messages were found."""
    found = shown(
        message("d", "b", at=4),
        message("c", "a", at=3),
        message("b", "a", at=2),
        message("a", at=1),
        message("e", "c", at=5),
    )
    assert found == [("a", 0, ""), ("b", 1, ""), ("d", 2, ""), ("c", 1, ""), ("e", 2, "")]


def test_a_cause_that_is_not_on_the_log_is_shown_as_missing() -> None:
    """Once, with all that it caused below it."""
    found = build_tree([message("b", "gone", at=1), message("c", "gone", at=2), message("d", at=3)])
    assert [(node.id, node.depth, node.note) for node in found] == [
        ("gone", 0, "missing"),
        ("b", 1, ""),
        ("c", 1, ""),
        ("d", 0, ""),
    ]
    assert found[0].message is None
    assert found[1].cause == "gone"


def test_a_cause_of_another_correlation_is_a_root_that_goes_no_further_up() -> None:
    """Its own cause is another trace."""
    assert shown(message("a", "elsewhere", at=1, outside=True), message("b", "a", at=2)) == [
        ("a", 0, "outside"),
        ("b", 1, ""),
    ]


def test_a_circle_begins_at_its_earliest_message_and_ends() -> None:
    """Also where a message says that it caused itself, and with a tail that hangs on the circle."""
    found = shown(
        message("a", "c", at=1),
        message("b", "a", at=2),
        message("c", "b", at=3),
        message("d", "c", at=4),
        message("self", "self", at=5),
    )
    assert found == [
        ("a", 0, "circle"),
        ("b", 1, ""),
        ("c", 2, ""),
        ("d", 3, ""),
        ("self", 0, "circle"),
    ]


def test_a_very_long_chain_needs_no_stack() -> None:
    """Each caused by the one before."""
    long = [message(str(n), str(n - 1) if n else None, at=n) for n in range(20_000)]
    assert [node.depth for node in build_tree(long)] == list(range(20_000))


@given(st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 40)), max_size=40))
def test_every_message_is_in_the_tree_once_whatever_the_edges(
    edges: list[tuple[int, int | None]],
) -> None:
    """Any graph of causes; depths go down one at a time, and every cause is above."""
    messages = [
        message(f"m{n}", f"m{cause}" if cause is not None else None, at=at)
        for at, (n, cause) in enumerate(edges)
    ]
    nodes = build_tree(messages)
    ids = [node.id for node in nodes]
    assert len(ids) == len(set(ids))
    assert {node.id for node in nodes if node.message} == {one.envelope.id for one in messages}
    seen: dict[str, int] = {}
    for node in nodes:
        assert node.depth == (0 if node.cause is None else seen[node.cause] + 1)
        seen[node.id] = node.depth
