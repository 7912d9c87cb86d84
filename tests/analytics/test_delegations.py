"""``GET /api/v1/analytics/delegations``: who acts for whom, to the token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient

from agentidp.maintenance.erasure import erase_agent
from agentidp.registry.agents import remove_agent
from agentidp.services import Services
from tests.analytics.conftest import ask
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, count_delegation, database_of, make_agent

DELEGATIONS = "analytics/delegations"
ORDERS, TICKETS, LOGIN = "https://orders.example", "https://tickets.example", "https://login.example"


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
    assert ask(client, cast, f"{DELEGATIONS}?from=2026-04-13") == {
        "tenantId": cast.acme.organization_id,
        "from": "2026-04-13",
        "to": "2026-04-15",
        "data": [by_login, by_asker, orders, tickets, by_itself],
    }

    def of(agent: Agent) -> Any:
        return ask(client, cast, f"{DELEGATIONS}?days=3&agent={agent.client_id}")["data"]

    # What it does, and what is done for it, once each.
    assert of(planner) == [by_login, by_asker, orders, tickets]
    assert of(desk) == [orders, tickets]
    assert of(asker) == [by_asker, by_itself]
    assert of(cast.acme) == []
    # What is counted stays when an agent ends, and its name is erased with it.
    with database_of(services, planner.organization_id).transaction() as opened:
        remove_agent(opened, planner.agent_id)
    erase_agent(database_url, planner.organization_id, planner.agent_id, at=NOON)
    assert of(planner) == [
        by_login | {"agentName": "erased"},
        by_asker | {"agentName": "erased"},
        orders | {"subjectAgentName": "erased"},
        tickets | {"subjectAgentName": "erased"},
    ]
