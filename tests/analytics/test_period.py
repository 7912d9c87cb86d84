"""The days of a request: one way to name them, for every operation that returns days or sums of days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.analytics.period import DAY_RULE, MAX_PERIOD_DAYS, MONTH_RULE, Period, PeriodArguments, read_period
from agentidp.http.errors import ValidationError
from agentidp.services import Services
from tests.analytics.oracle import HEATMAP, TREND, USAGE
from tests.conftest import Cast
from tests.factories import NOON, Clock, make_agent
from tests.routes import ROUTES, Route

OPERATIONS = [route for route in ROUTES if route.rule.startswith("/api/v1/analytics/") and "findings" not in route.rule]
SUMS = [route for route in OPERATIONS if not route.rule.endswith(("/delegations", "/rejections"))]
"""Operations that return all tokens."""

DAYS_RULE = "must be a whole number from 1 to 90"
TODAY = NOON.date()


def requested(query: str, at: datetime = NOON) -> Period:
    return read_period(PeriodArguments().load(dict(parse_qsl(query))), at)


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("", "2026-03-17", "2026-04-15"),
        ("days=1", "2026-04-15", "2026-04-15"),
        ("days=007", "2026-04-09", "2026-04-15"),
        ("days=90", "2026-01-16", "2026-04-15"),
        ("month=2026-04", "2026-04-01", "2026-04-15"),
        ("month=2026-03", "2026-03-01", "2026-03-31"),
        ("month=2024-02", "2024-02-01", "2024-02-29"),
        ("month=2025-12", "2025-12-01", "2025-12-31"),
        ("month=2000-01", "2000-01-01", "2000-01-31"),
        ("from=2026-03-31&to=2026-04-01", "2026-03-31", "2026-04-01"),
        ("from=2026-04-15&to=2026-04-15", "2026-04-15", "2026-04-15"),
        ("from=2026-04-14", "2026-04-14", "2026-04-15"),
        ("from=2026-01-14", "2026-01-14", "2026-04-15"),
        ("from=2025-12-31&to=2026-04-01", "2025-12-31", "2026-04-01"),
    ],
)
def test_days_a_month_or_a_first_and_a_last_day(query: str, first: str, last: str) -> None:
    assert requested(query) == Period(date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("days=7&month=2026-03", {"month": "must not be given with days"}),
        ("days=7&to=2026-04-01", {"to": "must not be given with days"}),
        ("month=2026-03&from=2026-04-01&to=2026-04-02", dict.fromkeys(("from", "to"), "must not be given with month")),
        ("month=2026-03&from=2026-03-01", {"from": "must not be given with month"}),
        ("to=2026-04-01", {"to": "must not be given without from"}),
        ("from=2026-04-02&to=2026-04-01", {"from": "must not be after to"}),
        ("from=2026-01-13", {"from": f"must not begin a period of more than {MAX_PERIOD_DAYS} days"}),
        ("from=2025-12-30&to=2026-04-01", {"from": f"must not begin a period of more than {MAX_PERIOD_DAYS} days"}),
        ("from=2026-04-16", {"from": DAY_RULE}),
        ("from=2026-04-15&to=2026-04-16", {"to": DAY_RULE}),
        ("from=2026-04-16&to=2026-04-17", {"from": DAY_RULE, "to": DAY_RULE}),
        ("month=2026-05", {"month": MONTH_RULE}),
        ("month=2999-12", {"month": MONTH_RULE}),
    ],
)  # fmt: skip
def test_refuses_two_periods_and_one_that_cannot_be(query: str, details: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        requested(query)
    assert refused.value.details == {name: [rule] for name, rule in details.items()}


def test_today_is_that_of_utc() -> None:
    midnight = datetime(2026, 5, 1, tzinfo=UTC)
    for at, last in ((midnight - timedelta(microseconds=1), date(2026, 4, 30)), (midnight, date(2026, 5, 1))):
        # It is still April there.
        there = at.astimezone(tz=datetime.fromisoformat("2026-05-01T00:00:00-09:30").tzinfo)
        assert requested("days=1", there) == Period(last, last)
        assert requested(f"month={last:%Y-%m}", there) == Period(last.replace(day=1), last)


BAD_DATES = (
    *("", "0", "today", "1999-12-31", "2026-02-30", "2026-4-1", "20260401", "2026-04-01T00:00:00Z"),
    *(" 2026-04-01", "2026-04-01\0", "2026-04-01\n", "\u0662026-04-01", "\ufffd"),
)
BAD_MONTHS = ("", "2026", "2026-4", "2026-00", "2026-13", "2026-04-01", "1999-12", "26-04", "2026-04\0", "april")


@pytest.mark.parametrize(
    ("name", "rule", "values"),
    [("from", DAY_RULE, BAD_DATES), ("to", DAY_RULE, BAD_DATES), ("month", MONTH_RULE, BAD_MONTHS)],
)
def test_what_is_no_day_and_no_month(name: str, rule: str, values: tuple[str, ...]) -> None:
    for value in values:
        assert PeriodArguments().validate({name: value}) == {name: [rule]}, repr(value)


COUNTED = {
    date(2025, 12, 31): 1,
    # The first of 92 days, and of 90.
    date(2026, 1, 14): 2,
    date(2026, 1, 16): 4,
    date(2026, 2, 28): 8,
    date(2026, 3, 1): 16,
    date(2026, 3, 31): 32,
    date(2026, 4, 1): 64,
    TODAY: 128,
    # A server whose clock is ahead may have counted a token tomorrow.
    date(2026, 4, 16): 256,
}
"""Day -> tokens, so that a sum says which days are in it."""

PERIODS = {
    "days=1": ("2026-04-15", "2026-04-15", 128),
    "days=30": ("2026-03-17", "2026-04-15", 32 + 64 + 128),
    "days=90": ("2026-01-16", "2026-04-15", 4 + 8 + 16 + 32 + 64 + 128),
    "from=2026-01-14": ("2026-01-14", "2026-04-15", 2 + 4 + 8 + 16 + 32 + 64 + 128),
    "month=2026-04": ("2026-04-01", "2026-04-15", 64 + 128),
    "month=2026-03": ("2026-03-01", "2026-03-31", 16 + 32),
    "month=2025-12": ("2025-12-01", "2025-12-31", 1),
    "month=2025-11": ("2025-11-01", "2025-11-30", 0),
    "from=2026-02-28&to=2026-02-28": ("2026-02-28", "2026-02-28", 8),
    "from=2026-03-01&to=2026-04-01": ("2026-03-01", "2026-04-01", 16 + 32 + 64),
    "from=2026-03-31&to=2026-04-14": ("2026-03-31", "2026-04-14", 32 + 64),
}
"""Query -> the first and the last day, and the tokens."""

DEFAULTS = {
    HEATMAP: "days=90",
    USAGE: "month=2026-04",
    "/api/v1/analytics/owners": "month=2026-04",
    "/api/v1/analytics/usage/hours": "days=1",
    f"{USAGE}/<uuid:agent_id>/hours": "days=1",
}
"""Operation -> the period of a request that names none; of all others it is ``days=30``."""


@pytest.mark.parametrize("route", SUMS, ids=str)
def test_every_operation_sums_the_days_that_are_asked_for(
    client: FlaskClient, services: Services, cast: Cast, route: Route
) -> None:
    worker = make_agent(services, cast.acme.organization_id, "worker")
    with psycopg.connect(str(services.settings.database_url), autocommit=True) as other:
        for parts in (1, 0):
            for day, tokens in COUNTED.items():
                for agent in (worker, cast.outsider):
                    at = datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, tzinfo=UTC)
                    half = (tokens + parts) // 2
                    agent.count(at, tokens=half)
            # The second half is counted while the first slot is taken, so in the next one.
            other.execute("select pg_advisory_lock(hashtext(%s), 0)", [worker.organization_id])
    path = route.path(worker.agent_id)
    by_default = {"": PERIODS[DEFAULTS.get(route.rule, "days=30")]}
    for number, (query, (first, last, tokens)) in enumerate((PERIODS | by_default).items()):
        response = client.get(f"{path}?{query}", headers=cast.acme.bearer())
        assert response.status_code == 200, query
        body = response.json
        total = sum(item.get("tokens", item.get("tokenCount", item.get("count"))) for item in body["data"])
        # The heatmap has the requests, and these have been counted today.
        own = number if route.rule == HEATMAP and last == "2026-04-15" else 0
        assert total == tokens + own, query
        days = Period(date.fromisoformat(first), date.fromisoformat(last)).days
        if route.rule == TREND:
            assert (body["days"], body["data"][0]["date"], body["data"][-1]["date"]) == (days, first, last)
        elif route.rule == USAGE and (not query or query.startswith("month")):
            assert body["month"] == first[:7]
        elif route.rule != HEATMAP:
            assert (body["from"], body["to"]) == (first, last)
        if "tokensByDay" in (body["data"] or [{}])[0]:
            assert len(body["data"][0]["tokensByDay"]) == days
        # Rows by day of every agent, credential or resource have no zeros.
        if "date" in (body["data"] or [{}])[0] and not route.rule.endswith("/days"):
            assert [item["date"] for item in body["data"]] == [
                (date.fromisoformat(first) + timedelta(since)).isoformat() for since in range(days)
            ]


@pytest.mark.parametrize("route", OPERATIONS, ids=str)
def test_every_operation_refuses_what_is_no_period(shared_client: FlaskClient, shared_cast: Cast, route: Route) -> None:
    for query, details in (
        ("from=2026-04-02&to=2026-04-01", {"from": ["must not be after to"]}),
        ("days=91", {"days": [DAYS_RULE]}),
        ("days=7&month=x", {"month": [MONTH_RULE]}),
    ):
        path = f"{route.path(shared_cast.acme.agent_id)}?{query}"
        response = shared_client.get(path, headers=shared_cast.acme.bearer())
        assert (response.status_code, response.json) == (
            400,
            {"code": "VALIDATION_ERROR", "message": "The request is not valid.", "details": details},
        )


def test_a_query_that_is_remembered_is_about_the_day_of_each_request(
    client: FlaskClient, cast: Cast, clock: Clock
) -> None:
    for now, month in (("2026-04-30T23:59:59.999999Z", "2026-04"), ("2026-05-01T00:00:00Z", "2026-05")):
        clock.now = datetime.fromisoformat(now)
        body: Any = client.get(USAGE, headers=cast.acme.bearer()).json
        assert body["month"] == month
        body = client.get(f"{TREND}?days=1", headers=cast.acme.bearer()).json
        assert body["data"] == [{"date": now[:10], "count": 0}]
