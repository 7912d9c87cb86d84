"""``GET /api/v1/analytics/owners``."""

from __future__ import annotations

from datetime import UTC, datetime

from flask.testing import FlaskClient

from agentidp.maintenance.erasure import erase_agent
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, database_of, make_agent

OWNERS = "/api/v1/analytics/owners"


@ON_CITUS_TOO
def test_sums_the_tokens_of_each_owners_agents(
    client: FlaskClient, services: Services, cast: Cast, database_url: str
) -> None:
    organization_id = cast.acme.organization_id
    owners = {"one": "search", "two": "search", "gone": "Billing", "three": "billing", "quiet": "nobody"}
    agents = {name: make_agent(services, organization_id, name) for name in owners}
    with database_of(services, organization_id).transaction() as opened:
        for name, owner in owners.items():
            update_agent(opened, agents[name].agent_id, {"owner": owner})
    for agent, at, tokens in (
        (agents["one"], datetime(2026, 4, 1, tzinfo=UTC), 1),
        (agents["two"], NOON, 4),
        (agents["gone"], NOON, 5),
        (agents["three"], NOON, 5),
        # More than any owner has, and still last.
        (cast.acme, NOON, 50),
        # Excluded: the month before, and another organization.
        (agents["one"], datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC), 9),
        (cast.outsider, NOON, 9),
    ):
        agent.count(at, tokens=tokens, requests=1)
    with database_of(services, organization_id).transaction() as opened:
        remove_agent(opened, agents["gone"].agent_id)
    body = {
        "tenantId": organization_id,
        "from": "2026-04-01",
        "to": "2026-04-15",
        "data": [
            {"owner": "Billing", "agents": 1, "tokens": 5},
            {"owner": "billing", "agents": 1, "tokens": 5},
            {"owner": "search", "agents": 2, "tokens": 5},
            {"owner": None, "agents": 1, "tokens": 50},
        ],
    }
    assert client.get(OWNERS, headers=cast.acme.bearer()).json == body
    of_agents = client.get(USAGE, headers=cast.acme.bearer()).json["data"]
    assert sum(item["tokenCount"] for item in of_agents) == sum(item["tokens"] for item in body["data"])
    erase_agent(database_url, organization_id, agents["gone"].agent_id, at=NOON)
    assert client.get(OWNERS, headers=cast.acme.bearer()).json["data"] == [
        *body["data"][1:3],
        {"owner": None, "agents": 2, "tokens": 55},
    ]
