"""``dominance``: one agent above its share of the month's tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.factories import NOON
from tests.findings.conftest import Fleet


def test_names_the_agent_above_its_share_and_says_what_was_seen(fleet: Fleet) -> None:
    greedy, modest = fleet.agent("greedy"), fleet.agent("modest")
    fleet.count(greedy, datetime(2026, 4, 1, tzinfo=UTC), 810)
    fleet.count(greedy, NOON, 90)
    fleet.count(modest, NOON, 100)
    # Excluded: the month before.
    fleet.count(modest, datetime(2026, 3, 31, 23, tzinfo=UTC), 9000)
    fleet.store()
    assert fleet.findings("dominance") == [
        {
            "kind": "dominance",
            "severity": "warning",
            "agentId": str(greedy),
            "agentName": "greedy",
            "window": {"from": "2026-04-01T00:00:00.000000Z", "to": "2026-04-15T12:00:00.000000Z"},
            "observed": {"value": 90, "unit": "percent of the month's tokens"},
            "expected": {
                "value": 80,
                "unit": "percent of the month's tokens",
                "baseline": "the share that one agent may have, a parameter",
            },
            "agents": [],
            "summary": "greedy was issued 900 of the 1,000 tokens of this month.",
            "causes": "It probably asks for a new token before each call instead of keeping the one it has.",
            "next": "See whether it keeps its token for expires_in seconds, and how many instances of it run.",
        }
    ]


@pytest.mark.parametrize(
    ("greedy", "modest", "percent", "is_found"),
    [
        (801, 199, 80, True),
        (800, 200, 80, False),  # not above it
        (501, 499, 50, True),
        (99, 0, 80, False),  # too few to tell
        (81, 18, 80, False),  # too few to tell
        (81, 19, 80, True),
        (5000, 0, 80, False),  # the only one that works
    ],
)
def test_is_found_above_the_share_only(fleet: Fleet, greedy: int, modest: int, percent: int, is_found: bool) -> None:
    fleet.count(fleet.agent("greedy"), NOON, greedy)
    fleet.count(fleet.agent("modest"), NOON, modest)
    fleet.store()
    assert [one["agentName"] for one in fleet.findings("dominance", dominancePercent=percent)] == ["greedy"] * is_found


def test_another_organizations_tokens_change_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    fleet.count(fleet.agent("greedy"), NOON, 900)
    fleet.count(fleet.agent("modest"), NOON, 100)
    fleet.store()
    before = fleet.findings()
    outsiders.count(outsiders.agent("huge"), NOON, 1_000_000)
    outsiders.count(outsiders.agent("small"), NOON, 1)
    outsiders.store()
    assert fleet.findings() == before
    assert [one["agentName"] for one in outsiders.findings("dominance")] == ["huge"]
