"""The pages of usage have the numbers of the API."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from tests.dashboard.conftest import Read
from tests.factories import NOON, Agent, Api, count_delegation


def resource_of(agent: Agent) -> str:
    """Return the identifier of the resource server of the agent's organization."""
    return f"https://{agent.organization_id}.example"


@pytest.fixture
def worker(client: FlaskClient, acme: Agent) -> Agent:
    """Return an agent that acted for another agent and for people, and got tokens for two APIs."""
    agent, resource = acme.colleague("worker"), resource_of(acme)
    server = {"name": "The API", "resource": resource, "scopes": ["read"]}
    assert Api(client, acme).post("resource-servers", server).status_code == 201
    for subject, tokens in ((acme, 3), ("https://people.example", 2)):
        count_delegation(agent, subject, NOON - timedelta(days=1), tokens, resource)
        count_delegation(agent, subject, NOON - timedelta(days=7), 50, resource)
    agent.count(NOON, tokens=4, resource=resource)
    acme.count(NOON, tokens=6)
    acme.count(NOON - timedelta(days=7), tokens=60)
    return agent


def test_who_acted_for_whom(read: Read, signed_in: FlaskClient, acme: Agent, worker: Agent) -> None:
    page = read("/usage/delegations?days=7")
    assert page.table("Agents that got tokens for others") == [
        ["worker", "builder", resource_of(acme), "3"],
        ["worker", "people of https://people.example", resource_of(acme), "2"],
    ]
    assert "5 tokens on behalf of others" in page.words
    items = Api(signed_in, acme).get("analytics/delegations?days=7").json["data"]
    assert [item["tokens"] for item in items] == [3, 2]
    assert {f"/dashboard/agents/{agent.agent_id}?days=7" for agent in (acme, worker)} <= {*page.links}
    assert "No agent acted for another agent" in read("/usage/delegations?days=1").text


@pytest.mark.usefixtures("worker")
def test_the_tokens_by_resource_are_those_of_the_api(read: Read, signed_in: FlaskClient, acme: Agent) -> None:
    page = read("/usage/resources?days=7")
    rows = page.table("The tokens for each API")
    items = Api(signed_in, acme).get("analytics/resources?days=7").json["data"]
    assert [(row[1], row[2], row[-1]) for row in rows] == [
        (item["resource"], str(len(item["agents"])), str(item["tokens"])) for item in items
    ]
    assert [row[0] for row in rows] == ["This server\N{RIGHT SINGLE QUOTATION MARK}s own API", "The API"]
    assert [row[3] for row in rows] == ["60.0 %", "40.0 %"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("path", ["/usage", "/usage/resources", "/usage/delegations"])
def test_the_head_of_the_page_is_sent_before_the_table(signed_in: FlaskClient, read: Read, path: str) -> None:
    response = signed_in.get(f"/dashboard{path}", buffered=False)
    first, *rest = (part.decode() for part in response.iter_encoded())
    response.close()
    assert "<h1>" in first
    assert "<table" not in first
    assert "<table" in "".join(rest)
    # A page number after the last page means the last page.
    assert read(f"{path}?page=2").text.partition("<main")[2] == read(path).text.partition("<main")[2]
