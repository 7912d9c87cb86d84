"""The forms of an agent: what they propose, what they refuse, and who cannot use them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from agentidp.registry.agents import represent
from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import SAME_ORIGIN, Page, post, with_session
from tests.factories import NEW_AGENT, Agent, database_of, make_agent

NEW = "/dashboard/agents/new"

FORM: dict[str, Any] = {
    "name": "worker",
    "description": "Reads invoices.\r\nTwice.",
    "owner": "Payments",
    "expectedReplicas": "3",
    "scopes": ["analytics:read", "files:read"],
    "dpopBoundAccessTokens": "1",
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


@pytest.fixture
def files(client: FlaskClient, cast: Cast) -> str:
    """The id of a resource server of Acme."""
    body = {"resource": f"https://{uuid4()}.example", "name": "Files", "scopes": ["files:read", "files:write"]}
    made = client.post("/api/v1/resource-servers", json=body, headers=cast.acme.bearer())
    return str(made.json["resourceServerId"])


@pytest.fixture
def worker(cast: Cast, services: Services) -> Agent:
    """Another agent of Acme, which may not change agents."""
    return make_agent(services, cast.acme.organization_id, name="worker", scopes=["analytics:read"])


def agents(agent: Agent) -> dict[str, dict[str, Any]]:
    """The agents of its organization by their names, as they are stored."""
    database = database_of(agent.services, agent.organization_id)
    rows = database.fetch("agents/list_agents", after_at=None, after_id=None, limit=100)
    return {row.name: represent(row) for row in rows}


def stored(agent: Agent, name: str) -> dict[str, Any]:
    """What the form of an agent can set."""
    return {member: value for member, value in agents(agent)[name].items() if member in STORED}


def shown(page: Page) -> dict[str, Any]:
    """What is in the form of a page."""
    fields = {field["name"]: field for field in page.all("input") if "name" in field}
    given = {name: fields[name]["value"] for name in ("name", "owner", "expectedReplicas")}
    checked = [field["value"] for field in page.all("input") if field.get("name") == "scopes" and "checked" in field]
    return given | {"scopes": checked, "dpopBoundAccessTokens": "checked" in fields["dpopBoundAccessTokens"]}


def test_creates_an_agent_and_shows_its_page(signed_in: FlaskClient, cast: Cast, files: str) -> None:
    assert {"class": "button", "href": NEW} in Page(signed_in.get("/dashboard/agents")).all("a")
    asked = Page(signed_in.get(NEW))
    proposed = {"scopes": NEW_AGENT["scopes"], "dpopBoundAccessTokens": False}
    assert shown(asked) == {"name": "", "owner": "", "expectedReplicas": "", **proposed}
    response = post(signed_in, NEW, **FORM)
    address = f"/dashboard/agents/{agents(cast.acme)['worker']['agentId']}"
    assert (response.status_code, response.headers["Location"]) == (303, address)
    assert stored(cast.acme, "worker") == STORED
    page = Page(signed_in.get(address))
    words = " ".join(page.text.split())
    for expected in (
        "Only tokens bound to a key (DPoP) yes Owner Payments Expected replicas 3",
        "own API analytics:read Files files:read",
        "The agent has no credential now",
    ):
        assert expected in words
    assert {"href": f"/dashboard/resource-servers/{files}"} in page.all("a")


def test_edits_an_agent_and_leaves_its_status(signed_in: FlaskClient, cast: Cast, worker: Agent, files: str) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    post(signed_in, f"{page}/suspend")
    assert {"class": "button", "href": f"{page}/edit"} in Page(signed_in.get(page)).all("a")
    assert shown(Page(signed_in.get(f"{page}/edit"))) == {
        "name": "worker",
        "owner": "",
        "expectedReplicas": "",
        "scopes": ["analytics:read"],
        "dpopBoundAccessTokens": False,
    }
    response = signed_in.post(f"{page}/edit", headers=SAME_ORIGIN, data=FORM)
    assert (response.status_code, response.headers["Location"]) == (303, page)
    assert stored(cast.acme, "worker") == STORED | {"status": "suspended"}
    edited = Page(signed_in.get(f"{page}/edit"))
    assert shown(edited)["scopes"] == ["analytics:read", "files:read"]
    assert "Reads invoices.\nTwice." in edited.text
    # What is left empty is taken away.
    assert post(signed_in, f"{page}/edit", name="other").status_code == 303
    nothing = {"description": "", "owner": "", "expectedReplicas": None, "scopes": [], "dpopBoundAccessTokens": False}
    assert stored(cast.acme, "other") == {"name": "other", "status": "suspended", **nothing}
    assert "None: its tokens may do nothing." in Page(signed_in.get(page)).text


REFUSED = [
    ({"expectedReplicas": "many"}, 400, "The expected replicas must be a whole number from 1 to 10000."),
    ({"name": "builder"}, 409, "Another agent has this name."),
    ({"scopes": ["files:paint"]}, 400, "The scopes must be among analytics:read,"),
]


@pytest.mark.parametrize(("wrong", "code", "message"), REFUSED)
def test_a_wrong_field_is_named_and_everything_that_was_typed_is_kept(
    signed_in: FlaskClient, cast: Cast, worker: Agent, files: str, wrong: dict[str, Any], code: int, message: str
) -> None:
    before = agents(cast.acme)
    for path, name in ((NEW, "new"), (f"/dashboard/agents/{worker.agent_id}/edit", "worker")):
        sent = FORM | {"name": name} | wrong
        response = post(signed_in, path, **sent)
        page = Page(response)
        assert response.status_code == code
        assert page.notice.strip().startswith(message)
        [field] = wrong
        assert {"href": f"#{field}"} in page.all("a")
        kept = shown(page)
        assert (kept["name"], kept["owner"], kept["expectedReplicas"]) == (
            sent["name"],
            sent["owner"],
            sent["expectedReplicas"],
        )
        assert kept["scopes"] == [scope for scope in (*SCOPES, "files:read") if scope in sent["scopes"]]
        assert sent["description"].replace("\r", "") in page.text
        assert agents(cast.acme) == before


def test_says_that_a_scope_of_no_resource_server_will_be_lost(
    signed_in: FlaskClient, cast: Cast, worker: Agent, files: str
) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    signed_in.post(f"{page}/edit", headers=SAME_ORIGIN, data=FORM)
    signed_in.delete(f"/api/v1/resource-servers/{files}", headers=cast.acme.bearer())
    assert "Of no resource server any more files:read" in " ".join(Page(signed_in.get(page)).text.split())
    notice = "No resource server has files:read any more. If you save, the agent loses it."
    assert notice in Page(signed_in.get(f"{page}/edit")).text


def test_says_what_editing_oneself_can_end(signed_in: FlaskClient, cast: Cast, worker: Agent) -> None:
    notice = "Without analytics:read you will be signed out."
    assert notice in Page(signed_in.get(f"/dashboard/agents/{cast.acme.agent_id}/edit")).text
    assert notice not in Page(signed_in.get(f"/dashboard/agents/{worker.agent_id}/edit")).text


def test_nobody_without_the_scope_is_led_to_the_form(client: FlaskClient, worker: Agent) -> None:
    with_session(client, worker)
    assert NEW not in [link["href"] for link in Page(client.get("/dashboard/agents")).all("a")]
