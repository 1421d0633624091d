"""Moments: what `--at` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.cuts import Cut
from streams.errors import ConfigurationError
from streams.moments import At, Moment, Named, Now, parse_moment, read_named_cut
from streams.record import Partition

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
CUT = Cut(cluster_id="c", topic_ids={"ns.tasks": "t"}, ends={Partition("ns.tasks", 0): 3})


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", Now()),
        ("2026-01-01T00:00:00Z", At(NOW_MS)),
        ("2026-01-01T02:00:00.250+02:00", At(NOW_MS + 250)),
        ("-15m", At(NOW_MS - 900_000)),
        ("-1h30m", At(NOW_MS - 5_400_000)),
        ("-2d", At(NOW_MS - 172_800_000)),
        ("-250ms", At(NOW_MS - 250)),
        ("@before-release", Named("before-release")),
        (CUT.encode(), CUT),
    ],
)
def test_the_grammar(text: str, moment: Moment) -> None:
    """Each form names its moment."""
    assert parse_moment(text, NOW_MS) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "-",
        "15m",
        "-15",
        "-15x",
        "@",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "cut1:?",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """And a time without an offset, which would depend on the machine."""
    with pytest.raises(ConfigurationError):
        parse_moment(text, NOW_MS)


def test_a_missing_name_says_how_to_make_one(tmp_path: Path) -> None:
    """`@NAME` reads a file."""
    (tmp_path / "mine").write_text(CUT.encode() + "\n", encoding="utf-8")
    assert Cut.decode(read_named_cut(str(tmp_path / "mine"))) == CUT
    with pytest.raises(ConfigurationError, match="replay --json"):
        read_named_cut(str(tmp_path / "other"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="it is no text"):
        read_named_cut(str(tmp_path / "bytes"))
