"""How findings name days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from agentidp.findings.dates import day_in_words, days_in_words, instant_in_words, number_of


def test_a_day_has_its_weekday_and_its_year() -> None:
    assert day_in_words(date(2026, 4, 5)) == "Sunday, 5 April 2026"
    assert days_in_words(date(2026, 4, 5), date(2026, 4, 5)) == "on Sunday, 5 April 2026"
    assert days_in_words(date(2025, 12, 31), date(2026, 1, 1)) == (
        "from Wednesday, 31 December 2025 to Thursday, 1 January 2026"
    )


def test_an_instant_is_in_utc() -> None:
    at = datetime(2026, 4, 6, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert instant_in_words(at) == instant_in_words(at.astimezone(UTC)) == "23:30 UTC on Sunday, 5 April 2026"


@pytest.mark.parametrize(("count", "text"), [(0, "0 tokens"), (1, "1 token"), (2, "2 tokens"), (1200, "1,200 tokens")])
def test_one_is_in_the_singular(count: int, text: str) -> None:
    assert number_of(count, "token") == text
