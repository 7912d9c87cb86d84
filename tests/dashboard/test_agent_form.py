"""The forms of an agent: what they propose, what they store, and what they warn of."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from agentidp.registry.agents import represent
from tests.dashboard.conftest import Page, led_to, post
from tests.factories import NEW_AGENT, Agent, Api

NEW = "/dashboard/agents/new"

FORM: dict[str, Any] = {
    "name": "worker",
    "description": "Reads invoices.\r\nTwice.",
    "owner": "Payments",
    "expectedReplicas": "3",
    "scopes": ["analytics:read", "files:read"],
    "dpopBoundAccessTokens": ["1"],
}
STORED = {
    "name": "worker",
    "description": "Reads invoices.\nTwice.",
    "owner": "Payments",
    "expectedReplicas": 3,
    "scopes": ["analytics:read", "files:read"],
    "dpopBoundAccessTokens": True,
    "status": "active",
}
EMPTY = {"description": "", "owner": "", "expectedReplicas": "", "dpopBoundAccessTokens": []}


@pytest.fixture
def files(client: FlaskClient, acme: Agent) -> str:
    """The id of a resource server of Acme."""
    body = {"resource": f"https://{uuid4()}.example", "name": "Files", "scopes": ["files:read", "files:write"]}
    return str(Api(client, acme).post("resource-servers", body).json["resourceServerId"])


def stored(agent: Agent, name: str) -> dict[str, Any]:
    """Return the stored members that the form of an agent can set, and the agent's id."""
    database = agent.database
    rows = database.fetch("agents/list_agents", after_at=None, after_id=None, name=None, owner=None, limit=100)
    [stored_agent] = [represent(row) for row in rows if row.name == name]
    return {member: stored_agent[member] for member in (*STORED, "agentId")}


def shown(client: FlaskClient, path: str) -> dict[str, Any]:
    """Return the values in the form of a page."""
    typed = Page(client.get(path)).typed
    return {name: typed[name] for name in FORM}


def test_creates_an_agent_and_shows_its_page(signed_in: FlaskClient, acme: Agent, files: str) -> None:
    assert shown(signed_in, NEW) == {"name": "", "scopes": NEW_AGENT["scopes"]} | EMPTY
    address = led_to(post(signed_in, NEW, **FORM))
    assert stored(acme, "worker") == STORED | {"agentId": address.rpartition("/")[2]}
    page = Page(signed_in.get(address))
    for expected in (
        "Only tokens bound to a key (DPoP) yes Owner Payments Expected replicas 3",
        "own API analytics:read Files files:read",
        "The agent has no credential, so",
    ):
        assert expected in page.words
    assert f"/dashboard/resource-servers/{files}" in page.links


@pytest.mark.usefixtures("files")
def test_edits_an_agent_and_leaves_its_status(signed_in: FlaskClient, acme: Agent, worker: Agent) -> None:
    page, of_worker = f"/dashboard/agents/{worker.agent_id}", {"agentId": worker.client_id, "status": "suspended"}
    post(signed_in, f"{page}/suspend")
    assert shown(signed_in, f"{page}/edit") == EMPTY | {"name": "worker", "scopes": ["analytics:read"]}
    assert led_to(post(signed_in, f"{page}/edit", **FORM)) == page
    assert stored(acme, "worker") == STORED | of_worker
    assert shown(signed_in, f"{page}/edit") == FORM | {"description": "Reads invoices.\nTwice."}
    # What is left empty is taken away.
    assert post(signed_in, f"{page}/edit", name="other").status_code == 303
    nothing = {"description": "", "owner": "", "expectedReplicas": None, "scopes": [], "dpopBoundAccessTokens": False}
    assert stored(acme, "other") == {"name": "other"} | of_worker | nothing
    assert "The agent has no scopes, so its tokens grant no access." in Page(signed_in.get(page)).text


def test_says_that_a_scope_of_no_resource_server_will_be_lost(
    signed_in: FlaskClient, acme: Agent, worker: Agent, files: str
) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    post(signed_in, f"{page}/edit", **FORM)
    Api(signed_in, acme).delete(f"resource-servers/{files}")
    assert "Of no API any more files:read" in Page(signed_in.get(page)).words
    notice = "The agent has scopes that no longer exist, and loses them if you save: files:read."
    assert notice in Page(signed_in.get(f"{page}/edit")).text


def test_says_what_editing_oneself_can_end(signed_in: FlaskClient, acme: Agent, worker: Agent) -> None:
    notice = "If you remove the scope analytics:read, you will be signed out."
    pages = [signed_in.get(f"/dashboard/agents/{agent.agent_id}/edit").text for agent in (acme, worker)]
    assert [notice in page for page in pages] == [True, False]
