"""``GET /api/v1/analytics/agents``."""

from __future__ import annotations

from datetime import UTC, datetime

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, make_agent


@ON_CITUS_TOO
def test_returns_the_month_so_far_most_tokens_first_then_by_agent(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    organization_id = cast.acme.organization_id
    first, second, third = sorted(
        (make_agent(services, organization_id, name) for name in "abc"), key=lambda each: each.agent_id
    )
    for agent, at, tokens in (
        (third, NOON, 2),
        (first, datetime(2026, 4, 1, tzinfo=UTC), 2),
        (second, datetime(2026, 4, 15, 23, 59, 59, 999_999, tzinfo=UTC), 3),
        (second, datetime(2026, 4, 7, tzinfo=UTC), 1),
        # Excluded: the last day of the month before.
        (first, datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC), 9),
        # Excluded: the first day of the next month, as a server whose clock is ahead may have counted it.
        (first, datetime(2026, 5, 1, tzinfo=UTC), 9),
        # Excluded: tomorrow.
        (first, datetime(2026, 4, 16, tzinfo=UTC), 9),
        # Excluded: the same month of another year.
        (first, datetime(2025, 4, 10, tzinfo=UTC), 9),
    ):
        agent.count(at, tokens=tokens)
    # Excluded: requests, but no token.
    cast.acme.count(NOON, requests=9)
    # Excluded: another organization's.
    cast.outsider.count(NOON, tokens=9)
    response = client.get(USAGE, headers=cast.acme.bearer())
    assert response.status_code == 200
    assert response.json == {
        "tenantId": organization_id,
        "month": "2026-04",
        "data": [
            {"agentId": second.client_id, "tokenCount": 4},
            {"agentId": first.client_id, "tokenCount": 2},
            {"agentId": third.client_id, "tokenCount": 2},
        ],
    }


def test_still_shows_an_agent_that_was_suspended_or_deleted(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    organization_id = cast.acme.organization_id
    deleted, suspended = (make_agent(services, organization_id, name) for name in ("deleted", "suspended"))
    for agent, tokens in ((deleted, 2), (suspended, 1)):
        agent.count(NOON, tokens=tokens)
    bearer = cast.acme.bearer()
    assert client.delete(f"/api/v1/agents/{deleted.client_id}", headers=bearer).status_code == 204
    answer = client.patch(f"/api/v1/agents/{suspended.client_id}", json={"status": "suspended"}, headers=bearer)
    assert answer.status_code == 200
    assert client.get(f"{USAGE}?include=name", headers=bearer).json == {
        "tenantId": organization_id,
        "month": "2026-04",
        "data": [
            {"agentId": deleted.client_id, "tokenCount": 2, "agentName": "deleted"},
            {"agentId": suspended.client_id, "tokenCount": 1, "agentName": "suspended"},
        ],
    }


def test_refuses_to_include_anything_else(shared_client: FlaskClient, shared_cast: Cast) -> None:
    for value in ("", "names", "NAME", "name,name", "name%00", "%ff", "agentName"):
        response = shared_client.get(f"{USAGE}?include={value}", headers=shared_cast.acme.bearer())
        assert (response.status_code, response.json["details"]) == (
            400,
            {"include": ["must be a comma-separated list of name"]},
        )
