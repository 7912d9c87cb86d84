"""``dominance``: one agent above its share of the month's tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet


def dominant(fleet: Fleet, **query: int) -> list[str]:
    """Who dominates, on its own account or because of a spike."""
    found = fleet.findings(**query)
    return [one["agentName"] for one in found if "dominance" in (one["kind"], *one["alsoSeenAs"])]


def test_names_the_agent_above_its_share_and_says_what_was_seen(fleet: Fleet) -> None:
    greedy, modest = fleet.agent("greedy"), fleet.agent("modest")
    fleet.count(greedy, datetime(2026, 4, 1, tzinfo=UTC), 450)
    fleet.count(greedy, datetime(2026, 4, 1, 5, tzinfo=UTC), 360)
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
            "agentCount": 1,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "greedy was issued 900 of the 1,000 tokens of this month.",
            "causes": "It probably asks for a new token before each call instead of keeping the one it has.",
            "next": "Check whether it keeps its token for expires_in seconds, and how many instances of it run.",
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
    assert dominant(fleet, dominance_percent=percent) == ["greedy"] * is_found


def test_another_organizations_tokens_change_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    fleet.count(fleet.agent("greedy"), NOON, 900)
    fleet.count(fleet.agent("modest"), NOON, 100)
    fleet.store()
    before = fleet.findings()
    outsiders.count(outsiders.agent("huge"), NOON, 1_000_000)
    outsiders.count(outsiders.agent("small"), NOON, 1)
    outsiders.store()
    assert fleet.findings() == before
    assert dominant(outsiders) == ["huge"]


@pytest.mark.parametrize(
    ("now", "is_found"),
    [
        (datetime(2026, 4, 1, 1, tzinfo=UTC), False),
        (datetime(2026, 4, 7, 23, tzinfo=UTC), False),
        (datetime(2026, 4, 8, tzinfo=UTC), True),
    ],
)
def test_the_first_job_of_a_month_does_not_dominate_it(
    fleet: Fleet, clock: Clock, now: datetime, is_found: bool
) -> None:
    clock.now = now
    nightly, office = fleet.agent("nightly"), fleet.agent("office")
    # Excluded from the eighth day on: the days before the month.
    fleet.count(office, datetime(2026, 3, 31, 12, tzinfo=UTC), 400)
    fleet.count(nightly, datetime(2026, 4, 1, 0, tzinfo=UTC), 150)
    fleet.count(office, datetime(2026, 4, 1, 0, tzinfo=UTC), 15)
    fleet.store()
    assert dominant(fleet) == ["nightly"] * is_found


def test_in_the_first_week_of_a_month_the_summary_names_the_day_since_which_tokens_count(
    fleet: Fleet, clock: Clock
) -> None:
    clock.now = datetime(2026, 4, 2, 12, tzinfo=UTC)
    fleet.count(fleet.agent("greedy"), clock.now, 90)
    fleet.count(fleet.agent("modest"), clock.now, 10)
    fleet.store()
    [one] = fleet.findings("dominance")
    assert one["summary"] == "greedy was issued 90 of the 100 tokens since Wednesday, 25 March 2026."
