"""The pages of resource servers: what they show and change, and who cannot."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.resource_servers import MAX_HOLDERS
from agentidp.registry.resource_servers import represent
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, post, with_session
from tests.factories import Agent, database_of, make_agent

PATH = "/dashboard/resource-servers"
FORM = {"name": "Files", "resource": "", "scopes": "files:read\r\nfiles:write\r\n", "subject": "agent"}


@pytest.fixture(autouse=True)
def resource(monkeypatch: pytest.MonkeyPatch) -> str:
    """An identifier of each test's own, which is in the form."""
    found = f"https://{uuid.uuid4()}.example"
    monkeypatch.setitem(FORM, "resource", found)
    return found


@pytest.fixture
def reader(cast: Cast, services: Services) -> Agent:
    """An agent of Acme that may read agents, and nothing more of them."""
    return make_agent(services, cast.acme.organization_id, name="reader", scopes=["analytics:read", "agents:read"])


def servers(agent: Agent) -> list[dict[str, Any]]:
    """Of its organization, as they are stored, without what no form sets."""
    rows = database_of(agent.services, agent.organization_id).fetch("oauth/list_resource_servers")
    return [{name: represent(row)[name] for name in ("resource", "name", "scopes", "tokenPerCall")} for row in rows]


def registered(client: FlaskClient, **changes: str) -> str:
    """Register one by the form; the address of its page."""
    response = post(client, f"{PATH}/new", **(FORM | changes))
    assert response.status_code == 303, response.text
    return str(response.headers["Location"])


def test_registers_lists_edits_and_deletes_one(signed_in: FlaskClient, cast: Cast, resource: str) -> None:
    assert {"href": PATH} in Page(signed_in.get("/dashboard/agents")).all("a")
    assert "There is none" in Page(signed_in.get(PATH)).text
    page = registered(signed_in)
    stored = {"resource": resource, "name": "Files", "scopes": ["files:read", "files:write"], "tokenPerCall": False}
    assert servers(cast.acme) == [stored]
    nobody = " ".join(Page(signed_in.get(page)).text.split())
    assert "Who may get tokens 0 agents with scopes" in nobody
    assert "No agent has a scope of it." in nobody
    for name in ("b", "A"):
        scopes = ["files:write", "analytics:read", "files:read"]
        make_agent(cast.acme.services, cast.acme.organization_id, name=name, scopes=scopes)
    make_agent(cast.acme.services, cast.acme.organization_id, name="c", scopes=["files:read"])
    gone = make_agent(cast.acme.services, cast.acme.organization_id, name="gone", scopes=["files:read"])
    assert post(signed_in, f"/dashboard/agents/{gone.agent_id}/delete").status_code == 303
    listed = ["Files", resource, "files:read files:write", "3", "0", "0"]
    assert Page(signed_in.get(PATH)).table("Resource servers") == [listed]
    assert Page(signed_in.get(page)).table("Agents that have scopes of it") == [
        ["A", "files:read files:write", "Change"],
        ["b", "files:read files:write", "Change"],
        ["c", "files:read", "Change"],
    ]
    asked = Page(signed_in.get(f"{page}/edit"))
    assert "files:read\nfiles:write" in asked.text
    assert f"{resource} cannot be changed" in asked.text
    edited = {"name": "Documents", "scopes": "files:write", "subject": "agent"}
    response = post(signed_in, f"{page}/edit", **edited, resource="https://x.example")
    assert (response.status_code, response.headers["Location"]) == (303, page)
    changed = {"resource": resource, "name": "Documents", "scopes": ["files:write"], "tokenPerCall": False}
    assert servers(cast.acme) == [changed]
    assert "A token for each call" not in Page(signed_in.get(page)).text
    assert post(signed_in, f"{page}/edit", **edited, tokenPerCall="1").status_code == 303
    changed["tokenPerCall"] = True
    assert servers(cast.acme) == [changed]
    assert "A token for each call" in Page(signed_in.get(page)).text
    [box] = [one for one in Page(signed_in.get(f"{page}/edit")).all("input") if one.get("name") == "tokenPerCall"]
    assert "checked" in box
    confirmation = " ".join(Page(signed_in.get(f"{page}/delete")).text.split())
    assert f"No further token is issued for {resource}, and introspection" in confirmation
    assert "2 agents have scopes of it: A, b. The organization keeps the identifier" in confirmation
    assert servers(cast.acme) == [changed]
    response = post(signed_in, f"{page}/delete")
    assert (response.status_code, response.headers["Location"]) == (303, PATH)
    assert servers(cast.acme) == []
    assert signed_in.get(page).status_code == 404


def test_says_what_its_tokens_are_like(signed_in: FlaskClient, cast: Cast, resource: str) -> None:
    said = {"audience": "sts.amazonaws.com", "tokenTtl": "300", "subject": "organization-agent"}
    page = registered(signed_in, **said)
    [row] = database_of(cast.acme.services, cast.acme.organization_id).fetch("oauth/list_resource_servers")
    assert (row.audience, row.token_ttl, row.subject) == (said["audience"], 300, said["subject"])
    facts = " ".join(Page(signed_in.get(page)).text.split())
    assert "Audience sts.amazonaws.com Lifetime in seconds 300 Subject organization-agent" in facts
    form = signed_in.get(f"{page}/edit")
    shown = {one.get("name"): one.get("value") for one in Page(form).all("input")}
    assert (shown["audience"], shown["tokenTtl"]) == (said["audience"], said["tokenTtl"])
    assert "<option selected>organization-agent</option>" in form.text
    assert post(signed_in, f"{page}/edit", name="Files", scopes="", subject="agent").status_code == 303
    [row] = database_of(cast.acme.services, cast.acme.organization_id).fetch("oauth/list_resource_servers")
    assert (row.audience, row.token_ttl, row.subject) == (None, None, "agent")
    assert "Audience" not in Page(signed_in.get(page)).text


def test_says_who_gets_tokens_as_the_token_endpoint_has_it(
    signed_in: FlaskClient, cast: Cast, reader: Agent, resource: str
) -> None:
    page = registered(signed_in)
    holder = make_agent(cast.acme.services, cast.acme.organization_id, name="holder", scopes=["files:read"])
    [[name, scopes, _]] = Page(signed_in.get(page)).table("Agents that have scopes of it")
    responses = []
    for agent in (holder, reader, cast.outsider):
        form = {"grant_type": "client_credentials", "client_id": agent.client_id, "client_secret": agent.client_secret}
        response = signed_in.post("/api/v1/token", data=form | {"resource": resource})
        responses.append((response.status_code, response.json.get("scope"), response.json.get("error")))
    # As the page says, every agent of the organization gets a token, which may have no scope.
    assert (name, responses) == ("holder", [(200, scopes, None), (200, None, None), (400, None, "invalid_target")])


def test_names_so_many_agents_and_the_number_of_all(signed_in: FlaskClient, cast: Cast) -> None:
    page = registered(signed_in)
    for number in range(MAX_HOLDERS + 1):
        make_agent(cast.acme.services, cast.acme.organization_id, name=f"agent {number}", scopes=["files:read"])
    shown = Page(signed_in.get(page))
    assert len(shown.table("Agents that have scopes of it")) == MAX_HOLDERS
    assert "And 1 more." in shown.text
    assert f"{MAX_HOLDERS + 1} agents have scopes of it" in Page(signed_in.get(f"{page}/delete")).text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"resource": "http://localhost:3000/api/v1"},
            "The identifier must not be this server's own API or dashboard.",
        ),
        ({"tokenTtl": "1e3"}, "The lifetime in seconds must be a whole number from 60 to 86400."),
    ],
)
def test_a_wrong_field_is_named_and_what_was_typed_is_kept(
    signed_in: FlaskClient, cast: Cast, wrong: dict[str, str], message: str
) -> None:
    page, [field] = registered(signed_in, resource=f"{FORM['resource']}/other"), wrong
    before = servers(cast.acme)
    for path in (f"{PATH}/new", *([f"{page}/edit"] if field != "resource" else [])):
        response = post(signed_in, path, **(FORM | wrong), tokenPerCall="1")
        shown = Page(response)
        assert response.status_code == 400
        assert shown.notice.strip().startswith(message)
        values = [one.get("value") for one in shown.all("input")]
        assert (FORM | wrong)["name"] in values
        assert "new" not in path or (FORM | wrong)["resource"] in values
        assert (FORM | wrong)["scopes"].strip().replace("\r", "") in shown.text
        assert [one["name"] for one in shown.all("input") if "checked" in one] == ["tokenPerCall"]
    assert servers(cast.acme) == before


def test_an_identifier_that_is_taken_is_refused(signed_in: FlaskClient, cast: Cast) -> None:
    registered(signed_in)
    before = servers(cast.acme)
    other = post(signed_in, f"{PATH}/new", **FORM)
    assert (other.status_code, Page(other).notice.strip()) == (409, "The resource is registered already.")
    with_session(signed_in, cast.outsider)
    theirs = post(signed_in, f"{PATH}/new", **FORM)
    assert (theirs.status_code, Page(theirs).notice.strip()) == (409, "The resource is registered already.")
    assert servers(cast.acme) == before
    assert servers(cast.outsider) == []


def test_who_reads_agents_sees_them_and_no_form(signed_in: FlaskClient, cast: Cast, reader: Agent) -> None:
    page = registered(signed_in)
    make_agent(cast.acme.services, cast.acme.organization_id, name="holder", scopes=["files:read"])
    with_session(signed_in, reader)
    assert [row[0] for row in Page(signed_in.get(PATH)).table("Resource servers")] == ["Files"]
    shown = Page(signed_in.get(page))
    assert shown.table("Agents that have scopes of it") == [["holder", "files:read"]]
    links = {str(link["href"]) for one in (shown, Page(signed_in.get(PATH))) for link in one.all("a")}
    assert not [link for link in links if link.endswith(("/new", "/edit", "/edit#scopes", "/delete"))]


def test_says_which_agent_runs_it(signed_in: FlaskClient, cast: Cast, resource: str) -> None:
    agent = make_agent(cast.acme.services, cast.acme.organization_id, name="runs <it>")
    page = registered(signed_in, agentId="runs <it>")
    assert {"href": f"/dashboard/agents/{agent.agent_id}"} in Page(signed_in.get(page)).all("a")
    [field] = [one for one in Page(signed_in.get(f"{page}/edit")).all("input") if one.get("name") == "agentId"]
    assert field["value"] == "runs <it>"
    refused = post(signed_in, f"{page}/edit", name="Files", scopes="", subject="agent", agentId="nobody\0")
    assert (refused.status_code, "The agent must be of the organization" in refused.text) == (400, True)
    for typed in (agent.client_id, ""):
        changed = post(signed_in, f"{page}/edit", name="Files", scopes="", subject="agent", agentId=typed)
        assert changed.status_code == 303
    assert "Run by" not in Page(signed_in.get(page)).text
