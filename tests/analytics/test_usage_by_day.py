"""``GET /api/v1/analytics/usage``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.day import DAY_RULE
from agentidp.http.schemas import MAX_DAYS_OF_USAGE
from agentidp.services import Services
from agentidp.usage import record_rejection
from tests.analytics.oracle import BAD_DAYS, HEATMAP, USAGE
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, count_usage, make_agent
from tests.wire import overheard

PATH = "/api/v1/analytics/usage"

BAD_DATES = (
    *("", "0", "today", "2026-04-16", "9999-01-01", "1999-12-31", "2026-02-30", "2026-4-1", "20260401"),
    *("2026-04-01T00:00:00Z", "%202026-04-01", "2026-04-01%00", "2026-04-01%0A", "%D9%A2026-04-01", "%ff"),
)
"""As they stand in a query string. Today is 2026-04-15."""


@ON_CITUS_TOO
def test_returns_each_day_of_all_agents_with_zeros(client: FlaskClient, services: Services, cast: Cast) -> None:
    organization_id = cast.acme.organization_id
    workers = [make_agent(services, organization_id, name).agent_id for name in ("one", "two")]
    last_moment = datetime(2026, 4, 13, 23, 59, 59, 999_999, tzinfo=UTC)
    for worker in workers:
        count_usage(services, organization_id, worker, datetime(2026, 4, 13, tzinfo=UTC), tokens=2, requests=1)
        count_usage(services, organization_id, worker, last_moment, tokens=3, requests=5)
        record_rejection(services.database.of(organization_id, last_moment), worker)
    # Excluded: the days before and after, and another organization.
    for moment in (datetime(2026, 4, 11, 23, 59, 59, tzinfo=UTC), datetime(2026, 4, 15, tzinfo=UTC)):
        count_usage(services, organization_id, workers[0], moment, tokens=9, requests=9)
    count_usage(services, cast.outsider.organization_id, cast.outsider.agent_id, NOON - timedelta(days=2), tokens=9)
    response = client.get(f"{PATH}?days=3&to=2026-04-14", headers=cast.acme.bearer())
    assert response.status_code == 200
    assert response.json == {
        "tenantId": organization_id,
        "days": 3,
        "to": "2026-04-14",
        "data": [
            {"date": "2026-04-12", "tokens": 0, "requests": 0, "rejected": 0, "refused": 0},
            # A token is a request too.
            {"date": "2026-04-13", "tokens": 10, "requests": 22, "rejected": 2, "refused": 0},
            {"date": "2026-04-14", "tokens": 0, "requests": 0, "rejected": 0, "refused": 0},
        ],
    }


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("", "2026-03-17", "2026-04-15"),
        ("?days=1", "2026-04-15", "2026-04-15"),
        (f"?days={MAX_DAYS_OF_USAGE}", "2026-01-14", "2026-04-15"),
        ("?days=92&to=2026-03-31", "2025-12-30", "2026-03-31"),
        ("?days=2&to=2024-03-01", "2024-02-29", "2024-03-01"),
        ("?to=2026-04-15&days=2", "2026-04-14", "2026-04-15"),
        ("?to=2000-01-01&days=2", "1999-12-31", "2000-01-01"),
    ],
)
def test_returns_as_many_days_as_asked_for(client: FlaskClient, cast: Cast, query: str, first: str, last: str) -> None:
    body = client.get(PATH + query, headers=cast.acme.bearer()).json
    dates = [item["date"] for item in body["data"]]
    assert (dates[0], dates[-1], body["to"]) == (first, last, last)
    assert len(set(dates)) == len(dates) == body["days"]


def test_a_quarter_is_the_longest(client: FlaskClient, cast: Cast) -> None:
    rule = f"must be a whole number from 1 to {MAX_DAYS_OF_USAGE}"
    others = [days for days in BAD_DAYS if days not in ("91", "091")]
    for days in (*others, str(MAX_DAYS_OF_USAGE + 1)):
        response = client.get(f"{PATH}?days={days}", headers=cast.acme.bearer())
        assert (response.status_code, response.json["details"]) == (400, {"days": [rule]}), days


@pytest.mark.parametrize("path", [PATH, HEATMAP, f"{USAGE}/{{}}"])
@pytest.mark.parametrize("to", BAD_DATES)
def test_refuses_what_is_no_past_day(client: FlaskClient, cast: Cast, path: str, to: str) -> None:
    response = client.get(f"{path.format(cast.acme.agent_id)}?to={to}", headers=cast.acme.bearer())
    assert (response.status_code, response.json["details"]) == (400, {"to": [DAY_RULE]})


def test_the_heatmap_and_an_agents_days_end_on_a_day_too(client: FlaskClient, services: Services, cast: Cast) -> None:
    acme = cast.acme
    for ago in (1, 2, 3):
        count_usage(services, acme.organization_id, acme.agent_id, NOON - timedelta(days=ago), requests=ago)
    query = "?days=1&to=2026-04-13"
    heatmap = client.get(HEATMAP + query, headers=acme.bearer()).json
    # A Monday.
    assert heatmap["data"] == [{"dow": 1, "hour": 12, "count": 2}]
    activity = client.get(f"{USAGE}/{acme.agent_id}{query}", headers=acme.bearer()).json
    assert activity["data"] == [{"date": "2026-04-13", "tokens": 0, "requests": 2, "rejected": 0}]


@COMPARES_STATEMENTS
def test_is_one_round_trip_of_four_statements(client: FlaskClient, services: Services, cast: Cast) -> None:
    bearer = cast.acme.bearer()
    with overheard(services.database) as conversation:
        assert client.get(PATH, headers=bearer).status_code == 200
    assert conversation.statements == [
        "database/enter_organization",
        "analytics/usage_by_day",
        "analytics/refusals_by_day",
        "usage/record_request",
    ]
    assert conversation.round_trips == 1
