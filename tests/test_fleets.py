"""Fleets: whom registrations know together."""

from __future__ import annotations

import pytest

from streams.envelope import Envelope
from streams.fleets import ANSWERS_MAX, Fleet, Fleets, is_agent
from streams.schemas import Catalogue, Codec
from streams.topics.routing import Route, route

CODEC = Codec(Catalogue.load())
FLEET = Fleet(group="ns.fleet", agents=("planner", "reviewer-*"), topics=("ns.inbox",))


def test_names_are_known_as_they_are_and_patterns_by_what_fits_them() -> None:
    """Case counts, and a pattern is all of the name."""
    fleets = Fleets()
    assert not fleets.knows("planner")
    fleets.put("a", ("planner", "reviewer-*", "cell-[12]?"))
    known = ("planner", "reviewer-", "reviewer-7", "reviewer-a-b", "cell-1x", "reviewer-\n")
    strangers = ("Planner", "planner-1", "my-reviewer-7", "cell-3x", "cell-1", "")
    assert [fleets.knows(name) for name in known] == [True] * len(known)
    assert [fleets.knows(name) for name in strangers] == [False] * len(strangers)


def test_what_a_group_says_replaces_what_it_said_and_no_other_groups() -> None:
    fleets = Fleets()
    fleets.put("a", ("planner", "x-*"))
    fleets.put("b", ("planner",))
    fleets.put("a", ("other",))
    assert [fleets.knows(name) for name in ("planner", "x-1", "other")] == [True, False, True]
    fleets.put("b", ())
    fleets.put("nobody", ())
    assert [fleets.knows(name) for name in ("planner", "other")] == [False, True]


def test_the_memory_of_answers_is_bounded_and_the_answers_stay() -> None:
    fleets = Fleets()
    fleets.put("a", ("n-*5",))
    for n in range(ANSWERS_MAX + 10):
        fleets.knows(f"n-{n}")
    assert len(fleets._answers) <= ANSWERS_MAX
    assert [fleets.knows(f"n-{n}") for n in (5, 6)] == [True, False]


def test_a_registration_is_an_event_of_its_fleet_and_reads_back() -> None:
    """On `events` under the fleet's own stream, so that its history is in order."""
    event = FLEET.registered().with_(id="msg-1700000000000-aaaaaaaaa", created_at=1, sender="fleet")
    event = event.with_(kind=CODEC.catalogue.type(event.type).kind)
    assert route(event) == (Route("events", b"fleet/ns.fleet"),)
    assert Fleet.read(CODEC.decode(CODEC.encode(event))) == FLEET
    assert Fleet.read(Envelope(type="agentlog.Json", payload={"json": "{}"})) is None


@pytest.mark.parametrize("name", ["", "  ", "\ud800", 7, None])
def test_no_agent_can_be_called_so(name: object) -> None:
    assert not is_agent(name)
    assert is_agent("größe-1")
