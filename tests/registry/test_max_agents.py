"""How many agents an organization may have: at the API; tests/cli/test_agent.py has the commands."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask
from flask.testing import FlaskClient

from agentidp import create_app
from agentidp.registry.agents import add_agent
from agentidp.services import Services
from tests.conftest import Cast
from tests.factories import database_of, make_agent

FULL = "The organization has 3 agents, which is the maximum; delete one first."


def create(client: FlaskClient, token: str, name: str) -> tuple[int, str]:
    response = client.post("/api/v1/agents", json={"name": name}, headers={"Authorization": f"Bearer {token}"})
    return response.status_code, response.json.get("message", "")


def test_the_api_refuses_more_and_counts_no_deleted_ones(app: Flask, services: Services, cast: Cast) -> None:
    """Acme has one agent. The outsider's do not count."""
    for number in range(5):
        make_agent(services, cast.outsider.organization_id, f"agent {number}")
    settings = replace(services.settings, max_agents=3)
    small = create_app(settings, clock=services.clock)
    client, token = small.test_client(), cast.acme.token()
    assert create(client, token, "two") == (201, "")
    response = client.post("/api/v1/agents", json={"name": "three"}, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 201
    refused = client.post("/api/v1/agents", json={"name": "four"}, headers={"Authorization": f"Bearer {token}"})
    assert (refused.status_code, refused.json) == (409, {"code": "CONFLICT", "message": FULL, "details": {}})
    three = f"/api/v1/agents/{response.json['agentId']}"
    assert client.delete(three, headers={"Authorization": f"Bearer {token}"}).status_code == 204
    assert create(client, token, "four") == (201, "")
    assert create(client, token, "five") == (409, FULL)
    # The one that was refused has left nothing, such as a client.
    assert create(app.test_client(), token, "five") == (201, "")
    small.extensions["agentidp"].close()


def test_at_least_one_that_fits_is_created(services: Services, cast: Cast) -> None:
    with database_of(services, cast.acme.organization_id).transaction() as opened:
        assert add_agent(opened, name="two", description="", scopes=[], most=2).name == "two"
