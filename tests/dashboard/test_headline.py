"""The numbers at the top of the overview, and their comparisons."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.comparison import Comparison
from agentidp.dashboard.counts import DayUsage, HourUsage, Pair, match_days
from agentidp.dashboard.headline import (
    build_budget_figure,
    build_headline,
    compare_counts,
    decide_rejected_severity,
    pair_days,
)
from agentidp.dashboard.period import Period
from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read, with_session
from tests.factories import NOON, Agent, Clock
from tests.helpers.quotas import ask, put

TODAY = NOON.date()
WEEK = Period(TODAY - timedelta(days=6), TODAY, TODAY, "days=7")
A_WEEK_EARLIER = Comparison(WEEK, "weeks")
EARLIER_FIRST = WEEK.first - timedelta(days=7)


def compared(rows: Any, first_used: date) -> tuple[list[Pair], list[DayUsage]]:
    """Return the compared days and the days of the period, for the rows of the earlier week and of the period."""
    usage = [DayUsage(*row) for row in rows]
    return pair_days(WEEK, match_days(usage[:7], A_WEEK_EARLIER, first_used), usage[7:]), usage[7:]


@pytest.mark.parametrize(
    ("count", "earlier_count", "words"),
    [
        (110, 100, "110 after 100: 10 % more"),
        (90, 100, "90 after 100: 10 % fewer"),
        (100, 100, "100, as many as then"),
        (0, 0, "none, and none then"),
        (5, 0, "5 after 0"),
        (0, 5, "0 after 5: 100 % fewer"),
        (300, 100, "300 after 100: 200 % more"),
        # 3,233 % says less than the two counts.
        (400, 12, "400 after 12"),
        (1001, 1000, "1,001 after 1,000: less than 1 % more"),
    ],
)
def test_a_change_in_words(count: int, earlier_count: int, words: str) -> None:
    assert compare_counts(count, earlier_count) == words


def test_complete_days_are_compared_with_the_same_number_of_days_before() -> None:
    rows = [(EARLIER_FIRST + timedelta(days=n), n, 100 * n, [n] * 24) for n in range(14)]
    pairs, days = compared(rows, EARLIER_FIRST)
    # Today is not over.
    assert [(day.tokens, past.tokens) for day, past in pairs] == [(7, 0), (8, 1), (9, 2), (10, 3), (11, 4), (12, 5)]
    assert [day.tokens for day in days] == [7, 8, 9, 10, 11, 12, 13]
    hours = {"today": [HourUsage(h, h) for h in range(24)], "week_ago": [HourUsage(h, 2 * h) for h in range(24)]}
    figures = build_headline(WEEK, pairs, days, hours, NOON)
    assert [(figure.label, figure.value, figure.note) for figure in figures] == [
        # In hours 0 to 11, 66 tokens were issued today and 132 a week ago.
        ("Tokens today", "276", "66 until 12:00 after 132 on Wed 8 Apr: 50 % fewer"),
        ("Tokens in 7 days", "70", "57 after 15"),
        ("Requests in 7 days", "1,680", "1,368 after 360"),
        ("Rejected in 7 days", "7,000", "5,700 after 1,500"),
    ]


def test_the_page_of_a_past_period_has_no_figures_of_today(read: Read, acme: Agent) -> None:
    acme.count(NOON - timedelta(days=20), tokens=12)
    for query, is_running in (("?month=2026-04", True), ("?month=2026-03", False)):
        page = read(query)
        assert ("Tokens today" in page.text) == ("Budget of April" in page.text) == is_running


def test_nothing_is_compared_before_an_hour_or_a_day_is_over() -> None:
    day = DayUsage(TODAY, 7, 0, [0] * 24)
    hours = {"today": [HourUsage(0, 7)], "week_ago": [HourUsage(0, 70)]}
    figures = build_headline(Period(TODAY, TODAY, TODAY, ""), [], [day], hours, NOON.replace(hour=0, minute=59))
    assert [figure.note for figure in figures] == ["no complete hour yet", "", "", ""]
    assert figures[1].label == "Tokens in 1 day"


def test_tokens_of_the_current_hour_alone_are_compared_with_nothing() -> None:
    hours = {"today": [HourUsage(h, 5 * (h == 12)) for h in range(24)], "week_ago": [HourUsage(h) for h in range(24)]}
    rows = [(EARLIER_FIRST + timedelta(days=n), 5 * (n == 13), 0, [0] * 24) for n in range(14)]
    pairs, days = compared(rows, EARLIER_FIRST)
    figures = build_headline(WEEK, pairs, days, hours, NOON)
    assert (figures[0].value, figures[0].note) == ("5", "none until 12:00, and none on Wed 8 Apr")
    # "5, none a week earlier either" would contradict itself.
    assert [(figure.value, figure.note) for figure in figures[1:]] == [
        ("5", ""),
        ("0", "none, and none then"),
        ("0", "none, and none then"),
    ]


@pytest.mark.parametrize(
    ("first_used", "note"),
    [
        (0, "80 after 430: 81 % fewer"),
        (4, "80 after 30: 167 % more"),
        (5, "60 after 20: 200 % more"),
        # Only today has an earlier day with usage, and today is not over.
        (6, ""),
        (7, ""),
    ],
)
def test_only_days_are_compared_that_both_periods_have(first_used: int, note: str) -> None:
    tokens = [100, 100, 100, 100, 10, 20, 99, 0, 0, 0, 0, 20, 60, 9]
    rows = [(EARLIER_FIRST + timedelta(days=n), count, count, [1] * 24) for n, count in enumerate(tokens)]
    hours = {"today": [HourUsage(h, 1) for h in range(24)]}
    pairs, days = compared(rows, EARLIER_FIRST + timedelta(days=first_used))
    figures = build_headline(WEEK, pairs, days, hours, NOON)
    assert [figures[place].note for place in (0, 1, 3)] == ["", note, note]


def test_rejections_are_unusual_by_the_days_that_both_periods_have() -> None:
    many = thresholds.MIN_REJECTED
    # The compared days have equal counts. A day that is not compared has many more rejections.
    rejected = [0, 0, 0, 0, 0, many, 0, 100 * many, 0, 0, 0, 0, many, 0]
    rows = [(EARLIER_FIRST + timedelta(days=n), 0, count, [1] * 24) for n, count in enumerate(rejected)]
    hours = {"today": [HourUsage(0)]}
    *_, figure = build_headline(WEEK, *compared(rows, WEEK.first - timedelta(days=2)), hours, NOON)
    assert (figure.severity, figure.note) == (None, f"{many}, as many as then")


def test_a_new_organization_is_compared_with_nothing(read: Read, acme: Agent) -> None:
    acme.count(NOON - timedelta(hours=1), tokens=22)
    page = read()
    text = page.words.partition("Tokens issued")[0]
    assert "Tokens today 22 Tokens in 30 days 22 Requests in 30 days 22 Rejected in 30 days 0 Budget" in text
    assert "No complete day can be compared with usage 5 weeks earlier." in text


@pytest.mark.parametrize(
    ("budget", "tokens", "crosses_on", "value", "severity"),
    [
        (None, 5, None, "none", None),
        (1_000_000, 499, None, "less than 0.1 %", None),
        (100, 100, None, "100 %", None),
        (100, 100, TODAY, "100 %", Severity.warning),
        (100, 101, TODAY, "101 %", Severity.critical),
    ],
)
def test_the_budget(
    budget: int | None, tokens: int, crosses_on: date | None, value: str, severity: Severity | None
) -> None:
    month = SimpleNamespace(budget=budget, tokens=tokens, forecast=4000, crosses_on=crosses_on)
    figure = build_budget_figure(month, NOON)
    assert (figure.label, figure.value, figure.note) == ("Budget of April", value, "forecast 4,000 tokens")
    assert figure.severity == severity


@pytest.mark.parametrize(
    ("count", "earlier_count", "severity"),
    [
        (0, 0, None),
        (thresholds.MIN_REJECTED - 1, 0, None),
        (thresholds.MIN_REJECTED, 0, Severity.warning),
        (300, 100, None),
        (301, 100, Severity.warning),
    ],
)
def test_many_more_rejected_requests_have_the_severity_of_a_finding(
    count: int, earlier_count: int, severity: Severity | None
) -> None:
    assert decide_rejected_severity(count, earlier_count) == severity
    hours = {"today": [HourUsage(0)], "week_ago": [HourUsage(0)]}
    for requests in (0, 1):
        rows = [
            (EARLIER_FIRST + timedelta(days=n), 0, {0: earlier_count, 7: count}.get(n, 0), [requests] * 24)
            for n in range(14)
        ]
        figures = build_headline(WEEK, *compared(rows, EARLIER_FIRST), hours, NOON)
        assert [figure.severity for figure in figures] == [None, None, None, severity if requests else None]


def test_the_page_compares_today_with_the_same_time_last_week(read: Read, acme: Agent) -> None:
    for days_ago, hours_ago, tokens in ((0, 0, 5), (0, 1, 30), (7, 1, 10), (7, 0, 100)):
        acme.count(NOON - timedelta(days=days_ago, hours=hours_ago), tokens=tokens)
    text = read().words
    assert "Tokens today 35 30 until 12:00 after 10 on Wed 8 Apr: 200 % more" in text


def test_says_first_that_a_quota_refuses_every_token(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    agent = cast.acme
    clock.now = NOON - timedelta(hours=20)
    agent.count(clock.now, tokens=40)
    put(client, agent, "month", 40, own=False)
    refused = [ask(client, agent).status_code for _ in range(2)]
    clock.now = NOON
    assert [*refused, ask(client, agent).status_code] == [429] * 3
    used_up = "the organization\u2019s quota of 40 tokens per month is used up (3 requests refused)"
    until = "Agents get tokens again at Fri 1 May, 00:00 UTC."
    with_session(client, agent)
    for path in ("", "/month"):
        page = Page(client.get(f"/dashboard{path}"))
        assert f"All tokens have been refused since Tue 14 Apr, 16:00, because {used_up}. {until}" in page.words
        past_page = Page(client.get(f"/dashboard{path}?month=2026-03"))
        assert "All tokens have been refused since" not in past_page.words
    put(client, agent, "month", 50, own=False)
    assert "All tokens have been refused since" not in Page(client.get("/dashboard")).words
    assert "have been refused since" not in Page(with_session(client, cast.outsider).get("/dashboard?days=7")).words


def test_says_that_nothing_needs_attention(read: Read, acme: Agent) -> None:
    acme.count(NOON, tokens=40)
    assert "Nothing needs attention now." in read().words
