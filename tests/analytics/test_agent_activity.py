"""``GET /api/v1/analytics/agents/{agentId}``: its last token and status. The body is in ``test_days_and_hours.py``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.agent_activity import STATUSES_OF_USAGE
from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.conftest import Cast
from tests.factories import NOON, Agent, make_agent


@pytest.fixture
def worker(services: Services, cast: Cast) -> Agent:
    """An agent of Acme that does not read, so that reading does not change its usage."""
    return make_agent(services, cast.acme.organization_id, "worker")


def activity(client: FlaskClient, reader: Agent, agent: Agent) -> dict[str, Any]:
    """The answer's body for today."""
    response = client.get(f"{USAGE}/{agent.agent_id}?days=1", headers=reader.bearer())
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json
    return body


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
    client: FlaskClient, cast: Cast, worker: Agent, issued: list[str], expected: str | None
) -> None:
    for at in issued:
        worker.count(datetime.fromisoformat(at), tokens=1)
    # Excluded: requests that are no tokens, and the tokens of others.
    worker.count(NOON, requests=1, rejected=1)
    for other in (cast.acme, cast.outsider):
        other.count(NOON, tokens=1)
    assert activity(client, cast.acme, worker)["lastTokenHour"] == expected


@pytest.mark.parametrize("status", STATUSES_OF_USAGE)
def test_shows_the_status_and_keeps_the_history(
    client: FlaskClient, services: Services, cast: Cast, worker: Agent, status: str
) -> None:
    address, bearer = f"/api/v1/agents/{worker.agent_id}", cast.acme.bearer()
    worker.count(NOON, tokens=1)
    if status != "active":
        assert client.patch(address, json={"status": "suspended"}, headers=bearer).status_code == 200
    if status == "deleted":
        assert client.delete(address, headers=bearer).status_code == 204
        # A new agent may have the name of one that is gone.
        make_agent(services, worker.organization_id, "worker")
    body = activity(client, cast.acme, worker)
    assert (body["agentId"], body["agentName"], body["status"]) == (worker.client_id, "worker", status)
    assert [day["tokens"] for day in body["data"]] == [1]
