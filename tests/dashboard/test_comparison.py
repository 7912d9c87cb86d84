"""The earlier days that a period is compared with, and the sentences about them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.dashboard.comparison import Comparison, read_comparison
from agentidp.dashboard.period import parse_period
from tests.dashboard.conftest import Page, Read
from tests.factories import NOON, Agent, Api

TODAY = NOON.date()


def requested(app: Flask, query: str) -> Comparison:
    """Return the comparison for a request."""
    with app.test_request_context(f"/dashboard?{query}"):
        return read_comparison(parse_period(NOON))


@pytest.mark.parametrize(
    ("query", "first", "last", "words"),
    [
        ("", date(2026, 2, 10), date(2026, 3, 11), "5 weeks earlier"),
        ("days=7", date(2026, 4, 2), date(2026, 4, 8), "a week earlier"),
        ("days=90", date(2025, 10, 17), date(2026, 1, 14), "13 weeks earlier"),
        ("month=2026-03", date(2026, 1, 25), date(2026, 2, 24), "5 weeks earlier"),
        ("from=2026-04-01&to=2026-04-03", date(2026, 3, 25), date(2026, 3, 27), "a week earlier"),
        ("compare=days", date(2026, 2, 15), date(2026, 3, 16), "30 days earlier"),
        ("from=2026-04-15&compare=days", date(2026, 4, 14), date(2026, 4, 14), "a day earlier"),
        ("month=2026-04&compare=month", date(2026, 3, 1), date(2026, 3, 15), "a month earlier"),
        ("days=7&compare=year", date(2025, 4, 10), date(2025, 4, 16), "52 weeks earlier"),
    ],
)
def test_a_period_is_compared_with_as_many_days(
    shared_app: Flask, query: str, first: date, last: date, words: str
) -> None:
    comparison = requested(shared_app, query)
    assert (comparison.days[0], comparison.days[-1], comparison.words) == (first, last, words)
    assert comparison.bounds == {"first": first, "last": last}
    assert len(comparison.days) == comparison.period.days
    if comparison.name in ("weeks", "year"):
        assert first.weekday() == comparison.period.first.weekday()


def test_a_day_that_the_month_before_does_not_have_is_compared_with_none(shared_app: Flask) -> None:
    days = requested(shared_app, "month=2026-03&compare=month").days
    assert (days[27], days[28:], len(days)) == (date(2026, 2, 28), [None] * 3, 31)
    comparison = requested(shared_app, "from=2026-03-31&to=2026-03-31&compare=month")
    assert (comparison.days, comparison.bounds["first"]) == ([None], date(2026, 3, 31))


def test_refuses_a_comparison_that_is_not_offered(signed_in: FlaskClient) -> None:
    for query, names in (
        ("?compare=decade", "weeks, days, month, year"),
        ("?days=7&compare=days", "weeks, month, year"),
    ):
        response = signed_in.get(f"/dashboard{query}")
        assert response.status_code == 400
        assert f"compare must be one of {names}." in Page(response).text


def test_the_two_numbers_are_those_of_the_api_for_the_two_periods(read: Read, acme: Agent, client: FlaskClient) -> None:
    for days_ago in (0, 1, 5, 6, 7, 8, 12, 13, 40):
        acme.count(NOON - timedelta(days=days_ago), tokens=10 + days_ago)
    api = Api(client, acme)
    for compare, words, earlier_from, earlier_to in (
        ("weeks", "Thu 2 Apr to Tue 7 Apr, a week earlier", "2026-04-02", "2026-04-07"),
        ("month", "Mon 9 Mar to Sat 14 Mar, a month earlier", "2026-03-09", "2026-03-14"),
    ):
        page = read(f"?days=7&compare={compare}")
        count, earlier_count = (
            sum(day["count"] for day in api.get(f"analytics/tokens?from={first}&to={last}").json["data"])
            for first, last in (("2026-04-09", "2026-04-14"), (earlier_from, earlier_to))
        )
        assert f"Tokens in 7 days {count + 10} {count} after {earlier_count}" in page.words
        assert f"Thu 9 Apr to Tue 14 Apr is compared with {words}: 6 complete days each." in page.words
    assert "/dashboard?days=7&compare=year" in page.links
    page = read("?days=7&compare=year")
    assert "No complete day can be compared with usage 52 weeks earlier." in page.words
