"""``dominance``: one agent above its share of the month's tokens."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.dominance import findings, first_day
from tests.factories import NOON
from tests.findings.conftest import Fleet, amounts, asked, body, window


def judged(greedy: int, modest: int, percent: int = 80, at: datetime = NOON) -> Any:
    """What is found of two agents."""
    row = {"agent_id": str(UUID(int=1)), "agent_name": "greedy", "token_count": greedy, "all_tokens": greedy + modest}
    query = asked(at, percent=percent)
    return findings([SimpleNamespace(**row)], query)


@pytest.mark.parametrize(
    ("greedy", "modest", "percent", "is_found"),
    [
        (801, 199, 80, True),
        (800, 200, 80, False),  # not above it
        (501, 499, 50, True),
        (81, 18, 80, False),  # too few to tell
        (81, 19, 80, True),
        (5000, 0, 80, False),  # the only one that works
    ],
)
def test_is_found_above_the_share_only(greedy: int, modest: int, percent: int, is_found: bool) -> None:
    assert len(judged(greedy, modest, percent)) == is_found


def test_so_many_fewer_tokens_would_end_it() -> None:
    [one] = judged(900, 100)
    assert one.excess == 500
    assert judged(900 - 500, 100) == []


@pytest.mark.parametrize(
    ("today", "begins"),
    [
        (date(2026, 4, 1), date(2026, 3, 25)),
        (date(2026, 4, 7), date(2026, 3, 25)),
        (date(2026, 4, 8), date(2026, 4, 1)),
    ],
)
def test_in_its_first_week_a_month_begins_a_week_before(today: date, begins: date) -> None:
    assert first_day(today) == begins


def test_the_summary_names_the_day_since_which_tokens_count() -> None:
    [one] = judged(90, 10, at=datetime(2026, 4, 2, 12, tzinfo=UTC))
    assert one.summary == "greedy was issued 90 of the 100 tokens since Wednesday, 25 March 2026 (90 %)."


def test_names_the_agent_above_its_share_and_says_what_was_seen(fleet: Fleet) -> None:
    greedy, modest = fleet.agent("greedy"), fleet.agent("modest")
    first = datetime(2026, 4, 1, tzinfo=UTC)
    fleet.count(greedy, first, 810)
    fleet.count(greedy, NOON, 90)
    fleet.count(modest, NOON, 100)
    # Excluded: the month before.
    fleet.count(modest, first - timedelta(hours=1), 9000)
    fleet.store()
    assert fleet.findings("dominance") == [
        body(
            "dominance",
            "warning",
            (greedy, "greedy"),
            window=window("2026-04-01T00:00", "2026-04-15T12:00"),
            **amounts(90, 80, "percent of the month's tokens", "the share that one agent may have, a parameter"),
            summary="greedy was issued 900 of the 1,000 tokens of this month (90 %).",
            causes="It probably asks for a new token before each call instead of keeping the one it has.",
            next="Check whether it keeps its token for expires_in seconds, and how many instances of it run.",
        )
    ]
