"""The pages of resource servers: what they show and change."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.resource_servers import MAX_HOLDERS
from agentidp.registry.resource_servers import represent
from tests.conftest import Cast
from tests.dashboard.conftest import Page, led_to, post, refusal, with_session
from tests.factories import Agent, Api

PATH = "/dashboard/resource-servers"
FORM = {"name": "Files", "resource": "", "scopes": "files:read\r\nfiles:write\r\n", "subject": "agent"}


@pytest.fixture(autouse=True)
def resource(monkeypatch: pytest.MonkeyPatch) -> str:
    """An identifier of each test's own, which is in the form."""
    identifier = f"https://{uuid.uuid4()}.example"
    monkeypatch.setitem(FORM, "resource", identifier)
    return identifier


def servers(agent: Agent) -> list[dict[str, Any]]:
    """Return the stored resource servers of the agent's organization, without members that no form sets."""
    rows = agent.database.fetch("oauth/list_resource_servers")
    return [{name: represent(row)[name] for name in ("resource", "name", "scopes", "tokenPerCall")} for row in rows]


def registered(client: FlaskClient, **changes: str) -> str:
    """Register a resource server by the form, and return the address of its page."""
    return led_to(post(client, f"{PATH}/new", **(FORM | changes)))


def test_registers_lists_edits_and_deletes_one(signed_in: FlaskClient, cast: Cast, resource: str) -> None:
    assert PATH in Page(signed_in.get("/dashboard/agents")).links
    assert "There is no resource server" in Page(signed_in.get(PATH)).text
    page = registered(signed_in)
    stored = {"resource": resource, "name": "Files", "scopes": ["files:read", "files:write"], "tokenPerCall": False}
    assert servers(cast.acme) == [stored]
    nobody = Page(signed_in.get(page)).words
    assert "Who may get tokens 0 agents with scopes" in nobody
    assert "No agent has a scope of this API." in nobody
    for name in ("b", "A"):
        scopes = ["files:write", "analytics:read", "files:read"]
        cast.acme.colleague(name, scopes)
    cast.acme.colleague("c", ["files:read"])
    gone = cast.acme.colleague("gone", ["files:read"])
    assert post(signed_in, f"/dashboard/agents/{gone.agent_id}/delete").status_code == 303
    listed = ["Files", resource, "files:read files:write", "3"]
    assert Page(signed_in.get(PATH)).table("Resource servers") == [listed]
    assert Page(signed_in.get(page)).table("Agents that have scopes of this API") == [
        ["A", "files:read files:write", "Change"],
        ["b", "files:read files:write", "Change"],
        ["c", "files:read", "Change"],
    ]
    form_page = Page(signed_in.get(f"{page}/edit"))
    assert "files:read\nfiles:write" in form_page.text
    assert f"{resource} cannot be changed" in form_page.text
    edited = {"name": "Documents", "scopes": "files:write", "subject": "agent"}
    assert led_to(post(signed_in, f"{page}/edit", **edited, resource="https://x.example")) == page
    changed = {"resource": resource, "name": "Documents", "scopes": ["files:write"], "tokenPerCall": False}
    assert servers(cast.acme) == [changed]
    assert "A token for each call" not in Page(signed_in.get(page)).text
    assert post(signed_in, f"{page}/edit", **edited, tokenPerCall="1").status_code == 303
    changed["tokenPerCall"] = True
    assert servers(cast.acme) == [changed]
    assert "A token for each call" in Page(signed_in.get(page)).text
    assert Page(signed_in.get(f"{page}/edit")).typed["tokenPerCall"] == ["1"]
    confirmation = Page(signed_in.get(f"{page}/delete")).words
    assert f"Agents get no more tokens for {resource} An API that checks each token by introspection" in confirmation
    assert "2 agents have scopes of the resource server: A, b. You can register" in confirmation
    assert servers(cast.acme) == [changed]
    assert led_to(post(signed_in, f"{page}/delete")) == PATH
    assert servers(cast.acme) == []
    assert signed_in.get(page).status_code == 404


def test_says_what_its_tokens_are_like(signed_in: FlaskClient, cast: Cast, resource: str) -> None:
    change = {"audience": "sts.amazonaws.com", "tokenTtl": "300", "subject": "organization-agent"}
    page = registered(signed_in, **change)
    [row] = cast.acme.database.fetch("oauth/list_resource_servers")
    assert (row.audience, row.token_ttl, row.subject) == (change["audience"], 300, change["subject"])
    facts = Page(signed_in.get(page)).words
    assert "Audience sts.amazonaws.com Lifetime in seconds 300 Subject organization-agent" in facts
    typed = Page(signed_in.get(f"{page}/edit")).typed
    assert {name: typed[name] for name in change} == change
    assert led_to(post(signed_in, f"{page}/edit", name="Files", scopes="", subject="agent")) == page
    [row] = cast.acme.database.fetch("oauth/list_resource_servers")
    assert (row.audience, row.token_ttl, row.subject) == (None, None, "agent")
    assert "Audience" not in Page(signed_in.get(page)).text


def test_says_who_gets_tokens_as_the_token_endpoint_has_it(
    signed_in: FlaskClient, cast: Cast, worker: Agent, resource: str
) -> None:
    page = registered(signed_in)
    holder = cast.acme.colleague("holder", ["files:read"])
    [[name, scopes, _]] = Page(signed_in.get(page)).table("Agents that have scopes of this API")
    responses = []
    for agent in (holder, worker, cast.outsider):
        response = Api(signed_in, agent).token(resource=resource)
        responses.append((response.status_code, response.json.get("scope"), response.json.get("error")))
    # As the page says, every agent of the organization gets a token, which may have no scope.
    assert (name, responses) == ("holder", [(200, scopes, None), (200, None, None), (400, None, "invalid_target")])


def test_names_so_many_agents_and_the_number_of_all(signed_in: FlaskClient, cast: Cast) -> None:
    page = registered(signed_in)
    for number in range(MAX_HOLDERS + 1):
        cast.acme.colleague(f"agent {number}", ["files:read"])
    shown = Page(signed_in.get(page))
    assert len(shown.table("Agents that have scopes of this API")) == MAX_HOLDERS
    assert "And 1 more." in shown.text
    assert f"{MAX_HOLDERS + 1} agents have scopes of the resource server" in Page(signed_in.get(f"{page}/delete")).text


def test_an_identifier_that_is_taken_is_refused(signed_in: FlaskClient, cast: Cast) -> None:
    registered(signed_in)
    servers_before = servers(cast.acme)
    for agent in (cast.acme, cast.outsider):
        response = post(with_session(signed_in, agent), f"{PATH}/new", **FORM)
        assert refusal(response) == (409, "The resource is registered already.")
    assert (servers(cast.acme), servers(cast.outsider)) == (servers_before, [])


def test_says_which_agent_runs_it(signed_in: FlaskClient, cast: Cast, resource: str) -> None:
    agent = cast.acme.colleague("runs <it>")
    page = registered(signed_in, agentId="runs <it>")
    assert f"/dashboard/agents/{agent.agent_id}" in Page(signed_in.get(page)).links
    assert Page(signed_in.get(f"{page}/edit")).typed["agentId"] == "runs <it>"
    for typed in (agent.client_id, ""):
        changed = post(signed_in, f"{page}/edit", name="Files", scopes="", subject="agent", agentId=typed)
        assert changed.status_code == 303
    assert "Run by" not in Page(signed_in.get(page)).text
