"""``GET /api/v1/analytics/delegations``: who acts for whom, to the token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient

from agentidp.maintenance.erasure import erase_agent
from agentidp.registry.agents import remove_agent
from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, count_delegation, database_of, make_agent

DELEGATIONS = "/api/v1/analytics/delegations"
ORDERS, TICKETS, LOGIN = "https://orders.example", "https://tickets.example", "https://login.example"


def ask(client: FlaskClient, cast: Cast, query: str = "") -> Any:
    response = client.get(f"{DELEGATIONS}?days=3{query}", headers=cast.acme.bearer())
    assert response.status_code == 200, response.json
    return response.json["data"]


@ON_CITUS_TOO
def test_says_who_acted_for_whom_on_which_day_and_for_which_resource(
    client: FlaskClient, services: Services, cast: Cast, database_url: str
) -> None:
    desk, planner, asker = (make_agent(services, cast.acme.organization_id, name) for name in ("desk", "planner", "x"))
    first, last = datetime(2026, 4, 13, tzinfo=UTC), datetime(2026, 4, 15, 23, 59, 59, 999_999, tzinfo=UTC)
    for actor, subject, at, tokens, resource in (
        (desk, planner, first, 1, ORDERS),
        (desk, planner, last, 2, ORDERS),
        (desk, planner, last, 3, ORDERS),
        (desk, planner, NOON, 4, TICKETS),
        (planner, LOGIN, NOON, 10, ORDERS),
        (planner, asker, NOON, 7, ORDERS),
        (asker, asker, NOON, 3, TICKETS),
        # Excluded: the day before the period.
        (desk, planner, datetime(2026, 4, 12, 23, 59, 59, tzinfo=UTC), 9, ORDERS),
    ):
        count_delegation(actor, subject, at, tokens, resource)
    count_delegation(cast.outsider, cast.outsider, NOON, 9, ORDERS)

    def item(actor: Agent, name: str, subject: Agent | None, of: str, resource: str, by_day: list[int]) -> Any:
        return {
            "agentId": actor.client_id,
            "agentName": name,
            "subjectAgentId": subject.client_id if subject else None,
            "subjectAgentName": of if subject else None,
            "issuer": None if subject else of,
            "resource": resource,
            "tokens": sum(by_day),
            "tokensByDay": by_day,
        }

    by_login = item(planner, "planner", None, LOGIN, ORDERS, [0, 0, 10])
    by_asker = item(planner, "planner", asker, "x", ORDERS, [0, 0, 7])
    orders = item(desk, "desk", planner, "planner", ORDERS, [1, 0, 5])
    tickets = item(desk, "desk", planner, "planner", TICKETS, [0, 0, 4])
    by_itself = item(asker, "x", asker, "x", TICKETS, [0, 0, 3])
    assert client.get(f"{DELEGATIONS}?from=2026-04-13", headers=cast.acme.bearer()).json == {
        "tenantId": cast.acme.organization_id,
        "from": "2026-04-13",
        "to": "2026-04-15",
        "data": [by_login, by_asker, orders, tickets, by_itself],
    }
    # What it does, and what is done for it, once each.
    assert ask(client, cast, f"&agent={planner.client_id}") == [by_login, by_asker, orders, tickets]
    assert ask(client, cast, f"&agent={desk.client_id}") == [orders, tickets]
    assert ask(client, cast, f"&agent={asker.client_id}") == [by_asker, by_itself]
    assert ask(client, cast, f"&agent={cast.acme.client_id}") == []
    # What is counted stays when an agent ends, and its name is erased with it.
    with database_of(services, planner.organization_id).transaction() as opened:
        remove_agent(opened, planner.agent_id)
    erase_agent(database_url, planner.organization_id, planner.agent_id, at=NOON)
    assert ask(client, cast, f"&agent={planner.client_id}") == [
        by_login | {"agentName": "erased"},
        by_asker | {"agentName": "erased"},
        orders | {"subjectAgentName": "erased"},
        tickets | {"subjectAgentName": "erased"},
    ]
