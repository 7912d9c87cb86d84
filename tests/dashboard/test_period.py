"""The days that the pages show: the last days, a month or a range, the same in all parts of a page."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.dashboard.period import MONTHS, list_recent_months, parse_period
from tests.dashboard.conftest import Page, Read
from tests.factories import NOON, Agent

TODAY = NOON.date()


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("", date(2026, 3, 17), TODAY),
        # The form sends empty fields, too.
        ("days=&month=2026-04&from=", date(2026, 4, 1), TODAY),
        ("month=2026-03", date(2026, 3, 1), date(2026, 3, 31)),
        ("from=2026-04-01&to=2026-04-03", date(2026, 4, 1), date(2026, 4, 3)),
        ("from=2026-04-14", date(2026, 4, 14), TODAY),
    ],
)
def test_a_request_chooses_the_days(shared_app: Flask, query: str, first: date, last: date) -> None:
    with shared_app.test_request_context(f"/dashboard?{query}"):
        period = parse_period(NOON)
    assert (period.first, period.last, period.is_running) == (first, last, last == TODAY)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("days=91", "The period is not valid: days must be a whole number from 1 to 90."),
        ("from=2026-04-03&to=2026-04-02", "The period is not valid: from must not be after to."),
        ("month=2026-05", "The period is not valid: month must be a month as YYYY-MM"),
    ],
)
def test_refuses_the_periods_that_the_api_refuses(signed_in: FlaskClient, query: str, sentence: str) -> None:
    response = signed_in.get(f"/dashboard?{query}")
    assert response.status_code == 400
    assert sentence in Page(response).text


@pytest.mark.parametrize(
    ("query", "previous", "following"),
    [
        ("days=7", "from=2026-04-02&to=2026-04-08", ""),
        ("from=2026-04-02&to=2026-04-08", "from=2026-03-26&to=2026-04-01", "days=7"),
        # The next period would end tomorrow, so it begins a day earlier.
        ("from=2026-04-03&to=2026-04-09", "from=2026-03-27&to=2026-04-02", "days=7"),
        ("from=2026-04-01&to=2026-04-01", "from=2026-03-31&to=2026-03-31", "from=2026-04-02&to=2026-04-02"),
        ("from=2025-10-01&to=2025-12-31", "from=2025-07-01&to=2025-09-30", "from=2026-01-01&to=2026-04-02"),
        ("from=2025-12-02&to=2026-03-03", "from=2025-09-01&to=2025-12-01", "from=2026-01-14&to=2026-04-15"),
        ("month=2026-04", "month=2026-03", ""),
        ("month=2026-01", "month=2025-12", "month=2026-02"),
        ("month=2026-03", "month=2026-02", "month=2026-04"),
        ("month=2000-01", "", "month=2000-02"),
        ("from=2000-01-01&to=2000-01-07", "", "from=2000-01-08&to=2000-01-14"),
    ],
)
def test_the_period_before_and_the_next_one_have_the_same_length(
    shared_app: Flask, query: str, previous: str, following: str
) -> None:
    with shared_app.test_request_context(f"/dashboard?{query}"):
        period = parse_period(NOON)
    assert (period.previous_query, period.next_query) == (previous, following)


@pytest.mark.parametrize(
    ("query", "kept"), [("?month=2026-03", "?month=2026-03"), ("", ""), ("?days=91", ""), ("?days=", "")]
)
def test_the_navigation_keeps_the_period(signed_in: FlaskClient, query: str, kept: str) -> None:
    # Pages without a period keep the period in their links too.
    for path in ("/agents", "/audit", "/nothing"):
        page = Page(signed_in.get(f"/dashboard{path}{query}"))
        assert {f"/dashboard{place}{kept}" for place in ("", "/agents", "/findings", "/audit")} <= {*page.links}


def test_offers_this_month_and_a_year_before() -> None:
    months = list_recent_months(TODAY)
    assert (months[0], months[1], months[-1]) == (date(2026, 4, 1), date(2026, 3, 1), date(2025, 4, 1))
    assert len(months) == MONTHS


def test_all_parts_of_the_page_show_the_period(read: Read, acme: Agent) -> None:
    for days_ago, tokens in ((22, 20), (15, 40), (14, 80), (0, 1)):
        at = NOON - timedelta(days=days_ago)
        acme.count(at, tokens=tokens)
    # The period is 31 March and 1 April. The earlier days begin a week before 31 March.
    page = read("?from=2026-03-31&to=2026-04-01")
    text = page.words
    assert "Overview Tue 31 Mar to Wed 1 Apr" in text
    assert "Tokens issued 120 in 2 days" in text
    assert "Tokens in 2 days 120 120 after 20 " in text
    assert [row[:2] for row in page.table("Tokens issued")] == [["Wed 1 Apr", "80"], ["Tue 31 Mar", "40"]]
    week = page.table("Average requests")
    cells = {(row[0], cell) for row in week for cell in row[1:] if cell not in ("0", "\u2013")}
    assert cells == {("Tuesday", "40"), ("Wednesday", "80")}
    assert "not over yet" not in text
    assert [a["value"] for a in page.all("input") if a.get("name") in ("from", "to")] == ["2026-03-31", "2026-04-01"]
