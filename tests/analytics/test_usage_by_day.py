"""``GET /api/v1/analytics/usage``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, make_agent

PATH = "/api/v1/analytics/usage"


@ON_CITUS_TOO
def test_returns_each_day_of_all_agents_with_zeros(client: FlaskClient, services: Services, cast: Cast) -> None:
    organization_id = cast.acme.organization_id
    workers = [make_agent(services, organization_id, name) for name in ("one", "two")]
    for worker in workers:
        worker.count(datetime(2026, 4, 13, tzinfo=UTC), tokens=2, requests=1)
        worker.count(datetime(2026, 4, 13, 23, 59, 59, 999_999, tzinfo=UTC), tokens=3, requests=5, rejected=1)
    # Excluded: the days before and after, and another organization.
    for moment in (datetime(2026, 4, 11, 23, 59, 59, tzinfo=UTC), datetime(2026, 4, 15, tzinfo=UTC)):
        workers[0].count(moment, tokens=9, requests=9)
    cast.outsider.count(NOON - timedelta(days=2), tokens=9)
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
