"""``GET /api/v1/analytics/usage`` and ``…/agents/{agentId}``, and the same with ``/hours``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import Api, make_agent

FIRST, LAST = datetime(2026, 4, 12, tzinfo=UTC), datetime(2026, 4, 14, 23, 59, 59, 999_999, tzinfo=UTC)


def hours(used: dict[str, tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Return all hours of three days, with the tokens, requests and rejections of the hours in *used*."""
    return [
        {
            "hour": f"2026-04-{hour}:00:00.000000Z",
            **dict(zip(("tokens", "requests", "rejected"), used.get(hour, (0, 0, 0)), strict=True)),
        }
        for hour in (f"{day}T{hour:02}" for day in (12, 13, 14) for hour in range(24))
    ]


@ON_CITUS_TOO
def test_returns_each_day_and_hour_of_all_agents_and_of_one_with_zeros(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    worker = make_agent(services, cast.acme.organization_id, "worker")
    worker.count(FIRST, tokens=2, requests=1)
    worker.count(FIRST + timedelta(hours=1), requests=4)
    worker.count(LAST, rejected=1)
    cast.acme.count(FIRST, tokens=5)
    # Excluded: the days before and after, and another organization.
    for at in (FIRST - timedelta(microseconds=1), LAST + timedelta(microseconds=1)):
        worker.count(at, tokens=9, requests=9, rejected=1)
    cast.outsider.count(FIRST, tokens=7)

    def read(path: str) -> Any:
        response = Api(client, cast.acme).get(f"analytics/{path}?from=2026-04-12&to=2026-04-14")
        assert response.status_code == 200
        return response.json

    of_all: dict[str, Any] = {"tenantId": cast.acme.organization_id, "from": "2026-04-12", "to": "2026-04-14"}
    of_one = of_all | {"agentId": worker.client_id, "agentName": "worker"}
    assert read("usage") == of_all | {
        "data": [
            # A token is a request too.
            {"date": "2026-04-12", "tokens": 7, "requests": 12, "rejected": 0, "refused": 0},
            {"date": "2026-04-13", "tokens": 0, "requests": 0, "rejected": 0, "refused": 0},
            {"date": "2026-04-14", "tokens": 0, "requests": 0, "rejected": 1, "refused": 0},
        ]
    }
    assert read(f"agents/{worker.agent_id}") == of_one | {
        "status": "active",
        "lastTokenHour": "2026-04-12T00:00:00.000000Z",
        "data": [
            {"date": "2026-04-12", "tokens": 2, "requests": 7, "rejected": 0},
            {"date": "2026-04-13", "tokens": 0, "requests": 0, "rejected": 0},
            {"date": "2026-04-14", "tokens": 0, "requests": 0, "rejected": 1},
        ],
    }
    later = {"12T01": (0, 4, 0), "14T23": (0, 0, 1)}
    assert read("usage/hours") == of_all | {"data": hours({"12T00": (7, 8, 0)} | later)}
    assert read(f"agents/{worker.agent_id}/hours") == of_one | {"data": hours({"12T00": (2, 3, 0)} | later)}
