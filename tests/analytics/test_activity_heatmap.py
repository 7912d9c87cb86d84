"""``GET /api/v1/analytics/agents/activity``, and which requests it counts."""

from __future__ import annotations

from datetime import UTC, datetime

from flask.testing import FlaskClient

from tests.analytics.oracle import HEATMAP
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, usage_sums


@ON_CITUS_TOO
def test_returns_the_cells_that_are_not_zero_by_day_of_week_then_hour(client: FlaskClient, cast: Cast) -> None:
    acme, outsider = cast.acme, cast.outsider
    for at, tokens, requests in (
        (datetime(2026, 4, 11, 23, 59, 59, 999_999, tzinfo=UTC), 0, 2),  # a Saturday
        (datetime(2026, 4, 12, tzinfo=UTC), 0, 1),  # a Sunday
        (datetime(2026, 4, 5, 0, 30, tzinfo=UTC), 3, 0),  # the Sunday before it: the same cell
        (datetime(2026, 4, 13, 10, tzinfo=UTC), 1, 1),
        (datetime(2026, 4, 13, 9, 59, tzinfo=UTC), 0, 4),
        # The first of 90 days.
        (datetime(2026, 1, 16, tzinfo=UTC), 0, 6),
        # Excluded: the day before it.
        (datetime(2026, 1, 15, 23, 59, 59, 999_999, tzinfo=UTC), 1, 7),
        # Excluded: tomorrow, as a server whose clock is ahead may have counted it.
        (datetime(2026, 4, 16, tzinfo=UTC), 1, 8),
    ):
        acme.count(at, tokens=tokens, requests=requests)
    # Excluded: another organization's.
    outsider.count(NOON, tokens=1, requests=9)
    response = client.get(HEATMAP, headers=acme.bearer())
    assert response.status_code == 200
    assert response.json == {
        "tenantId": acme.organization_id,
        "data": [
            {"dow": 0, "hour": 0, "count": 4},
            {"dow": 1, "hour": 9, "count": 4},
            {"dow": 1, "hour": 10, "count": 2},
            {"dow": 5, "hour": 0, "count": 6},
            {"dow": 6, "hour": 23, "count": 2},
        ],
    }


def test_requests_outside_the_api_are_not_counted(client: FlaskClient, database_url: str, cast: Cast) -> None:
    for path, status in (("/healthz", 200), ("/.well-known/jwks.json", 200), ("/nothing", 404)):
        assert client.get(path, headers=cast.acme.bearer()).status_code == status
    assert set(usage_sums(database_url, cast.acme.organization_id).values()) == {0}
