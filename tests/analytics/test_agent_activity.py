"""``GET /api/v1/analytics/agents/{agentId}``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.agent_activity import STATUSES_OF_USAGE
from agentidp.counting import record_rejection
from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.analytics.test_time import ZONES, application, with_options
from tests.analytics.test_time import process_time_zone as process_time_zone
from tests.conftest import Cast
from tests.factories import NOON, Agent, count_usage, make_agent, make_organization


@pytest.fixture
def worker(services: Services, cast: Cast) -> Agent:
    """An agent of Acme's that does not read, so that what it did stays as it is."""
    return make_agent(services, cast.acme.organization_id, "worker")


def activity(client: FlaskClient, reader: Agent, agent_id: UUID | str, query: str = "?days=3") -> dict[str, Any]:
    """The answer's body."""
    response = client.get(f"{USAGE}/{agent_id}{query}", headers=reader.bearer())
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json
    return body


def test_returns_each_day_of_the_agent_with_zeros(
    client: FlaskClient, services: Services, cast: Cast, worker: Agent
) -> None:
    acme, organization_id = cast.acme, cast.acme.organization_id
    count_usage(services, organization_id, worker.agent_id, datetime(2026, 4, 13, tzinfo=UTC), tokens=2, requests=1)
    count_usage(
        services, organization_id, worker.agent_id, datetime(2026, 4, 15, 23, 59, 59, 999_999, tzinfo=UTC), tokens=3
    )
    for _ in range(4):
        record_rejection(services.database.of(organization_id, NOON), worker.agent_id)
    # Excluded: three days with today are 13 to 15 April.
    before = datetime(2026, 4, 12, 23, 59, 59, 999_999, tzinfo=UTC)
    count_usage(services, organization_id, worker.agent_id, before, tokens=7, requests=7)
    record_rejection(services.database.of(organization_id, before), worker.agent_id)
    # Excluded: tomorrow, as a server whose clock is ahead may have counted it.
    count_usage(services, organization_id, worker.agent_id, datetime(2026, 4, 16, tzinfo=UTC), tokens=9, requests=9)
    # Excluded: another agent's, and another organization's.
    count_usage(services, organization_id, acme.agent_id, NOON, tokens=11, requests=11)
    count_usage(services, cast.outsider.organization_id, cast.outsider.agent_id, NOON, tokens=13, requests=13)
    assert activity(client, acme, worker.agent_id) == {
        "tenantId": organization_id,
        "agentId": worker.client_id,
        "agentName": "worker",
        "status": "active",
        "from": "2026-04-13",
        "to": "2026-04-15",
        "lastTokenHour": "2026-04-15T23:00:00.000000Z",
        "data": [
            {"date": "2026-04-13", "tokens": 2, "requests": 3, "rejected": 0},
            {"date": "2026-04-14", "tokens": 0, "requests": 0, "rejected": 0},
            {"date": "2026-04-15", "tokens": 3, "requests": 3, "rejected": 4},
        ],
    }


@pytest.mark.parametrize(
    ("issued", "expected"),
    [
        (["2026-04-15T11:00:00+00:00"], "2026-04-15T11:00:00.000000Z"),
        (["2026-04-15T11:59:59.999999+00:00"], "2026-04-15T11:00:00.000000Z"),
        (["2026-04-15T00:00:00+00:00", "2026-04-14T23:59:59+00:00"], "2026-04-15T00:00:00.000000Z"),
        (["2026-04-15T09:00:00+00:00", "2026-04-15T03:00:00+00:00"], "2026-04-15T09:00:00.000000Z"),
        # Beyond the days that are asked for, down to the first of the last 90.
        (["2026-03-31T12:00:00+00:00", "2026-02-01T13:00:00+00:00"], "2026-03-31T12:00:00.000000Z"),
        (["2026-01-16T00:00:00+00:00"], "2026-01-16T00:00:00.000000Z"),
        # Excluded: the day before that, and tomorrow.
        (["2026-01-15T23:59:59.999999+00:00", "2026-04-16T00:00:00+00:00"], None),
    ],
)
def test_shows_the_hour_in_which_the_last_token_was_issued(
    client: FlaskClient, services: Services, cast: Cast, worker: Agent, issued: list[str], expected: str | None
) -> None:
    for at in issued:
        count_usage(services, cast.acme.organization_id, worker.agent_id, datetime.fromisoformat(at), tokens=1)
    # Excluded: requests that are no tokens, and the tokens of others.
    count_usage(services, cast.acme.organization_id, worker.agent_id, NOON, requests=1)
    record_rejection(services.database.of(cast.acme.organization_id, NOON), worker.agent_id)
    for other in (cast.acme, cast.outsider):
        count_usage(services, other.organization_id, other.agent_id, NOON, tokens=1)
    assert activity(client, cast.acme, worker.agent_id, "?days=1")["lastTokenHour"] == expected


@pytest.mark.parametrize("zone", ZONES)
def test_days_and_hours_are_those_of_utc(
    database_url: str, zone: str, process_time_zone: Callable[[str], None]
) -> None:
    process_time_zone(zone)
    midnight = datetime(2026, 4, 15, tzinfo=UTC)
    with application(with_options(database_url, timezone=zone)) as app:
        services: Services = app.extensions["agentidp"]
        agent = make_agent(services, make_organization(services))
        for at, tokens in ((midnight - timedelta(microseconds=1), 1), (midnight, 2)):
            count_usage(services, agent.organization_id, agent.agent_id, at, tokens=tokens)
        for now in (midnight, midnight + timedelta(hours=23, minutes=59)):
            services.clock.now = now
            body = activity(app.test_client(), agent, agent.agent_id, "?days=2")
            assert [(day["date"], day["tokens"]) for day in body["data"]] == [("2026-04-14", 1), ("2026-04-15", 2)]
            assert body["lastTokenHour"] == "2026-04-15T00:00:00.000000Z"


@pytest.mark.parametrize("status", STATUSES_OF_USAGE)
def test_shows_the_status_and_keeps_the_history(
    client: FlaskClient, services: Services, cast: Cast, worker: Agent, status: str
) -> None:
    address, bearer = f"/api/v1/agents/{worker.agent_id}", cast.acme.bearer()
    count_usage(services, cast.acme.organization_id, worker.agent_id, NOON, tokens=1)
    if status != "active":
        assert client.patch(address, json={"status": "suspended"}, headers=bearer).status_code == 200
    if status == "deleted":
        assert client.delete(address, headers=bearer).status_code == 204
        # A new agent may have the name of one that is gone.
        make_agent(services, cast.acme.organization_id, "worker")
    assert activity(client, cast.acme, worker.agent_id, "?days=1") == {
        "tenantId": cast.acme.organization_id,
        "agentId": worker.client_id,
        "agentName": "worker",
        "status": status,
        "from": "2026-04-15",
        "to": "2026-04-15",
        "lastTokenHour": "2026-04-15T12:00:00.000000Z",
        "data": [{"date": "2026-04-15", "tokens": 1, "requests": 1, "rejected": 0}],
    }
