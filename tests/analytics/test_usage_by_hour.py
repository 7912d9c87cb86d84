"""``GET /api/v1/analytics/usage/hours`` and ``GET /api/v1/analytics/agents/{agentId}/hours``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import Agent, make_agent

HOURS = "/api/v1/analytics/usage/hours"

FIRST, LAST = datetime(2026, 4, 14, tzinfo=UTC), datetime(2026, 4, 14, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.fixture
def worker(services: Services, cast: Cast) -> Agent:
    """An agent of Acme's with usage in the first and the last hour of a day, and on the days around it."""
    worker = make_agent(services, cast.acme.organization_id, "worker")
    worker.count(FIRST, tokens=2, requests=1)
    worker.count(LAST, requests=4, rejected=1)
    # The last hour of the day before; and excluded: those before that day and after the second.
    for at in (FIRST - timedelta(microseconds=1), FIRST - timedelta(days=1, microseconds=1), FIRST + timedelta(days=1)):
        worker.count(at, tokens=9, requests=9)
    cast.acme.count(FIRST, tokens=5)
    cast.outsider.count(FIRST, tokens=7)
    return worker


def hours(used: dict[str, tuple[int, int, int]]) -> list[dict[str, Any]]:
    """All hours of two days; of those that are named, the tokens, requests and rejections."""
    return [
        {
            "hour": f"2026-04-{hour}:00:00.000000Z",
            **dict(zip(("tokens", "requests", "rejected"), used.get(hour, (0, 0, 0)), strict=True)),
        }
        for hour in (f"{day}T{hour:02}" for day in (13, 14) for hour in range(24))
    ]


@ON_CITUS_TOO
def test_returns_the_hours_of_all_agents_and_of_one(client: FlaskClient, cast: Cast, worker: Agent) -> None:
    acme = cast.acme
    of_all = client.get(f"{HOURS}?from=2026-04-13&to=2026-04-14", headers=acme.bearer())
    assert of_all.status_code == 200
    assert of_all.json == {
        "tenantId": acme.organization_id,
        "from": "2026-04-13",
        "to": "2026-04-14",
        # A token is a request too.
        "data": hours({"13T23": (9, 18, 0), "14T00": (7, 8, 0), "14T23": (0, 4, 1)}),
    }
    of_one = client.get(f"{USAGE}/{worker.agent_id}/hours?from=2026-04-13&to=2026-04-14", headers=acme.bearer())
    assert of_one.status_code == 200
    assert of_one.json == {
        "tenantId": acme.organization_id,
        "agentId": worker.client_id,
        "agentName": "worker",
        "from": "2026-04-13",
        "to": "2026-04-14",
        "data": hours({"13T23": (9, 18, 0), "14T00": (2, 3, 0), "14T23": (0, 4, 1)}),
    }
