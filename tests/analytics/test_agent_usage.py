"""``GET /api/v1/analytics/agents``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Api, make_agent


@ON_CITUS_TOO
def test_returns_the_month_so_far_most_tokens_first_then_by_agent(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    made = {name: make_agent(services, cast.acme.organization_id, name) for name in "abc"}
    (a, first), (b, second), (c, third) = sorted(made.items(), key=lambda item: item[1].agent_id)
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
    acme = Api(client, cast.acme)
    body: dict[str, Any] = {
        "tenantId": cast.acme.organization_id,
        "month": "2026-04",
        "data": [
            {"agentId": second.client_id, "tokenCount": 4},
            {"agentId": first.client_id, "tokenCount": 2},
            {"agentId": third.client_id, "tokenCount": 2},
        ],
    }
    assert acme.get(USAGE).json == body
    # Deleted and suspended agents are listed too.
    assert acme.delete(f"agents/{second.client_id}").status_code == 204
    assert acme.patch(f"agents/{first.client_id}", {"status": "suspended"}).status_code == 200
    with_names = [item | {"agentName": name} for item, name in zip(body["data"], (b, a, c), strict=True)]
    assert acme.get(USAGE, include="name").json == body | {"data": with_names}


def test_refuses_to_include_anything_else(shared_client: FlaskClient, shared_cast: Cast) -> None:
    for value in ("", "names", "NAME", "name,name", "name%00", "%ff", "agentName"):
        response = shared_client.get(f"{USAGE}?include={value}", headers=shared_cast.acme.bearer())
        assert (response.status_code, response.json["details"]) == (
            400,
            {"include": ["must be a comma-separated list of name"]},
        )
