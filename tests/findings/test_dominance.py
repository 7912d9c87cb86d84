"""``dominance``: one agent above its share of the month's tokens."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.dominance import compute_findings, first_day
from tests.factories import NOON
from tests.findings.conftest import Fleet, amounts, body, build_query, window


def judged(greedy: int, modest: int, at: datetime = NOON) -> Any:
    """Return the findings for two agents with these tokens."""
    row = {"agent_id": str(UUID(int=1)), "agent_name": "greedy", "token_count": greedy, "all_tokens": greedy + modest}
    return compute_findings([SimpleNamespace(**row)], build_query(at))


@pytest.mark.parametrize(
    ("greedy", "modest", "is_reported"),
    [
        (801, 199, True),
        (800, 200, False),  # the maximum share
        (81, 18, False),  # too few tokens
        (81, 19, True),
        (5000, 0, False),  # the only agent with tokens
    ],
)
def test_reports_an_agent_above_the_maximum_share_only(greedy: int, modest: int, is_reported: bool) -> None:
    assert len(judged(greedy, modest)) == is_reported


def test_so_many_fewer_tokens_would_end_it() -> None:
    [finding] = judged(900, 100)
    assert finding.excess == 500
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
    [finding] = judged(90, 10, at=datetime(2026, 4, 2, 12, tzinfo=UTC))
    assert finding.summary == "greedy was issued 90 of the 100 tokens since Wednesday, 25 March 2026 (90 %)."


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
            **amounts(90, 80, "percent of the month's tokens", "the maximum share of one agent"),
            summary="greedy was issued 900 of the 1,000 tokens of this month (90 %).",
            causes="The agent probably requests a new token before each call instead of keeping its token.",
            next="Check whether the agent keeps its token for expires_in seconds, and how many instances it has.",
        )
    ]
