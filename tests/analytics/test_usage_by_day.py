"""``GET /api/v1/analytics/usage``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask.testing import FlaskClient

from agentidp.counting import record_rejection
from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, count_usage, make_agent

PATH = "/api/v1/analytics/usage"


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
    response = client.get(f"{PATH}?from=2026-04-12&to=2026-04-14", headers=cast.acme.bearer())
    assert response.status_code == 200
    assert response.json == {
        "tenantId": organization_id,
        "from": "2026-04-12",
        "to": "2026-04-14",
        "data": [
            {"date": "2026-04-12", "tokens": 0, "requests": 0, "rejected": 0, "refused": 0},
            # A token is a request too.
            {"date": "2026-04-13", "tokens": 10, "requests": 22, "rejected": 2, "refused": 0},
            {"date": "2026-04-14", "tokens": 0, "requests": 0, "rejected": 0, "refused": 0},
        ],
    }
