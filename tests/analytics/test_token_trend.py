"""``GET /api/v1/analytics/tokens``."""

from __future__ import annotations

from datetime import timedelta

from flask.testing import FlaskClient

from agentidp.services import Services

from ..conftest import Cast
from ..factories import NOON, count_usage


def test_answers_each_day_with_zeros_for_the_organization_of_the_token(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    acme = cast.acme
    count_usage(services, acme.organization_id, acme.agent_id, NOON, tokens=3)
    count_usage(services, acme.organization_id, acme.agent_id, NOON - timedelta(days=2), tokens=2)
    # Excluded: three days with today are 13 to 15 April.
    count_usage(services, acme.organization_id, acme.agent_id, NOON - timedelta(days=3), tokens=1)
    # Excluded: another organization's.
    count_usage(services, cast.outsider.organization_id, cast.outsider.agent_id, NOON, tokens=7)
    response = client.get("/api/v1/analytics/tokens?days=3", headers=acme.bearer())
    assert response.status_code == 200
    assert response.json == {
        "tenantId": acme.organization_id,
        "days": 3,
        "data": [
            {"date": "2026-04-13", "count": 2},
            {"date": "2026-04-14", "count": 0},
            {"date": "2026-04-15", "count": 3},
        ],
    }
