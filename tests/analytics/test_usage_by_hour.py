"""``GET /api/v1/analytics/usage/hours`` and ``GET /api/v1/analytics/agents/{agentId}/hours``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.day import DAY_RULE
from agentidp.services import Services
from agentidp.usage import record_rejection
from tests.analytics.oracle import USAGE
from tests.analytics.test_usage_by_day import BAD_DATES
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import Agent, count_usage, make_agent
from tests.routes import NOWHERE

HOURS = "/api/v1/analytics/usage/hours"

FIRST, LAST = datetime(2026, 4, 14, tzinfo=UTC), datetime(2026, 4, 14, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.fixture
def worker(services: Services, cast: Cast) -> Agent:
    """An agent of Acme's with usage in the first and the last hour of a day, and on the days around it."""
    acme = cast.acme
    worker = make_agent(services, acme.organization_id, "worker")
    count_usage(services, acme.organization_id, worker.agent_id, FIRST, tokens=2, requests=1)
    count_usage(services, acme.organization_id, worker.agent_id, LAST, requests=4)
    record_rejection(services.database.of(acme.organization_id, LAST), worker.agent_id)
    for at in (datetime(2026, 4, 13, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2026, 4, 15, tzinfo=UTC)):
        count_usage(services, acme.organization_id, worker.agent_id, at, tokens=9, requests=9)
    count_usage(services, acme.organization_id, acme.agent_id, FIRST, tokens=5)
    count_usage(services, cast.outsider.organization_id, cast.outsider.agent_id, FIRST, tokens=7)
    return worker


def hours(**used: tuple[int, int, int]) -> list[dict[str, Any]]:
    """All hours of the day; of those that are named ``h00`` to ``h23``, the tokens, requests and rejections."""
    return [
        {
            "hour": f"2026-04-14T{hour:02}:00:00.000000Z",
            **dict(zip(("tokens", "requests", "rejected"), used.get(f"h{hour:02}", (0, 0, 0)), strict=True)),
        }
        for hour in range(24)
    ]


@ON_CITUS_TOO
def test_returns_the_hours_of_all_agents_and_of_one(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    acme = cast.acme
    of_all = client.get(f"{HOURS}?date=2026-04-14", headers=acme.bearer())
    assert of_all.status_code == 200
    assert of_all.json == {
        "tenantId": acme.organization_id,
        "date": "2026-04-14",
        # A token is a request too.
        "data": hours(h00=(7, 8, 0), h23=(0, 4, 1)),
    }
    of_one = client.get(f"{USAGE}/{worker.agent_id}/hours?date=2026-04-14", headers=acme.bearer())
    assert of_one.status_code == 200
    assert of_one.json == {
        "tenantId": acme.organization_id,
        "agentId": worker.client_id,
        "agentName": "worker",
        "date": "2026-04-14",
        "data": hours(h00=(2, 3, 0), h23=(0, 4, 1)),
    }


def test_is_about_today_by_default(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    for path in (HOURS, f"{USAGE}/{worker.agent_id}/hours"):
        body = client.get(path, headers=cast.acme.bearer()).json
        assert (body["date"], len(body["data"]), body["data"][0]["tokens"]) == ("2026-04-15", 24, 9)


def test_a_day_without_usage_has_24_zeros(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    for path in (HOURS, f"{USAGE}/{worker.agent_id}/hours"):
        data = client.get(f"{path}?date=2024-02-29", headers=cast.acme.bearer()).json["data"]
        assert [(item["tokens"], item["requests"], item["rejected"]) for item in data] == [(0, 0, 0)] * 24


@pytest.mark.parametrize("date", BAD_DATES)
def test_refuses_what_is_no_past_day(client: FlaskClient, cast: Cast, date: str) -> None:
    for path in (HOURS, f"{USAGE}/{cast.acme.agent_id}/hours"):
        response = client.get(f"{path}?date={date}", headers=cast.acme.bearer())
        assert (response.status_code, response.json["details"]) == (400, {"date": [DAY_RULE]})


def test_knows_no_agent_of_others(client: FlaskClient, cast: Cast) -> None:
    for agent_id in (NOWHERE, cast.outsider.client_id):
        assert client.get(f"{USAGE}/{agent_id}/hours", headers=cast.acme.bearer()).status_code == 404
