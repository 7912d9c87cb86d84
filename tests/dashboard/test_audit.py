"""The page with the audit trail."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from agentidp import audit
from agentidp.audit.reading import MAX_ID
from agentidp.audit.upkeep import erase
from agentidp.dashboard.audit import PAGE_SIZE
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import SAME_ORIGIN, Page, Read, with_session
from tests.factories import (
    NOON,
    Agent,
    a_finding,
    database_of,
    make_agent,
    make_alert_target,
    make_finding,
    make_marker,
)


def rows(page: Page) -> list[list[str]]:
    """The cells of the table of events."""
    return page.table("Events")


def test_shows_who_changed_what(client: FlaskClient, acme: Agent, read: Read) -> None:
    other = make_agent(acme.services, acme.organization_id, name="<other>")
    client.post(f"/dashboard/agents/{other.agent_id}/suspend", headers=SAME_ORIGIN)
    page = read("/audit")
    assert rows(page)[0] == [
        "Wed 15 Apr, 12:00",
        "builder session, 127.0.0.1",
        "changed",
        "<other>",
        "status: active → suspended",
    ]
    assert rows(page)[-1][2:] == ["created the", "organization Acme", "name: Acme"]
    assert len(rows(page)) == 6
    assert {"href": f"/dashboard/agents/{other.agent_id}"} in page.all("a")


def test_shows_names_for_ids_and_nothing_for_what_is_not_set(
    client: FlaskClient, cast: Cast, services: Services, read: Read
) -> None:
    acme, bearer = cast.acme, cast.acme.bearer()
    worker = make_agent(services, acme.organization_id, name="worker", scopes=["analytics:read", "agents:read"])
    body = {"label": "laptop", "expiresAt": "2026-05-01T00:00:00Z"}
    path = f"/api/v1/agents/{worker.agent_id}/credentials"
    credential_id = client.post(path, json=body, headers=bearer).json["credentialId"]
    client.delete(f"{path}/{credential_id}", headers=bearer)
    client.patch(f"/api/v1/agents/{worker.agent_id}", json={"owner": "Shop", "scopes": []}, headers=bearer)
    finding_id = make_finding(services, acme.organization_id, a_finding(NOON, agent_id=worker.agent_id))
    client.post(f"/dashboard/findings/{finding_id}/acknowledge", headers=SAME_ORIGIN)
    body = {"resource": f"https://{worker.client_id}.example", "name": "Files", "scopes": ["files:read"]}
    server_id = client.post("/api/v1/resource-servers", json=body, headers=bearer).json["resourceServerId"]
    rule = {"name": "people", "trust": {"issuer": "https://login.acme.example", "claims": {"groups": "support"}}}
    rule |= {"agentIds": [worker.client_id], "resources": [{"resource": body["resource"], "scopes": ["files:read"]}]}
    client.post("/api/v1/delegation-rules", json=rule, headers=bearer)
    change = {"scopes": []}
    client.patch(f"/api/v1/resource-servers/{server_id}", json=change, headers=bearer)
    client.delete(f"/api/v1/resource-servers/{server_id}", headers=bearer)
    target_id = make_alert_target(services, acme.organization_id, "on-call")
    for action in ("disable", "delete"):
        client.post(f"/dashboard/alert-targets/{target_id}/{action}", headers=SAME_ORIGIN)
    client.put(f"/api/v1/agents/{worker.agent_id}/quotas/day", json={"tokens": 120, "enforce": True}, headers=bearer)
    make_marker(services, acme.organization_id)
    page = read("/audit")
    shown = [row[2:] for row in rows(page)]
    made = [
        ["marked a time:", "marker deployment"],
        ["set a quota of", "worker", "day: tokens 120, enforce yes"],
        ["deleted the", "alert target on-call"],
        ["changed the", "alert target on-call", "enabled: yes → no"],
        ["created the", "alert target on-call"],
        ["deleted the", "resource server Files"],
        ["changed the", "resource server Files", "scopes: files:read → none"],
        ["created the", "delegation rule people"],
        ["registered the", "resource server Files"],
        ["acknowledged the", "finding spike"],
        ["changed", "worker"],
        ["revoked the", "credential laptop of worker"],
        ["created the", "credential laptop of worker"],
    ]
    assert [row[: len(expected)] for row, expected in zip(shown, made, strict=False)] == made
    changes = {(row[0], row[1]): set(row[2].split("; ")) for row in shown}
    assert changes["changed", "worker"] == {"owner: none → Shop", "scopes: analytics:read, agents:read → none"}
    assert changes["created the", "credential laptop of worker"] == {
        "label: laptop",
        "expires at: Fri 1 May, 00:00 UTC",
        "type: secret",
    }
    assert "agent ids: worker" in changes["created the", "delegation rule people"]
    assert "about: worker" in changes["acknowledged the", "finding spike"]
    assert {"href": f"/dashboard/findings/{finding_id}"} in page.all("a")
    cells = " ".join(" ".join(row) for row in rows(page))
    assert re.findall(r"null|None|true|false|[0-9a-f]{8}-[0-9a-f]{4}", cells.replace(body["resource"], "")) == []


def test_filters(acme: Agent, read: Read) -> None:
    assert [row[2] for row in rows(read("/audit?action=agent.created"))] == ["registered"]
    for subject in (acme.client_id, "builder"):
        assert [row[2] for row in rows(read(f"/audit?subject={subject}"))] == ["registered"]
    assert len(rows(read("/audit?actor=agentidp"))) == 2
    assert len(rows(read("/audit?until=2026-04-15"))) == 3
    assert "No event is found." in read("/audit?until=2026-04-14").text


def test_filters_by_a_name_and_asks_which_of_several_is_meant(acme: Agent, read: Read) -> None:
    agent = make_agent(acme.services, acme.organization_id, name="twin")
    target_id = make_alert_target(acme.services, acme.organization_id, "twin")
    page = read("/audit?subject=twin")
    assert "2 things are called twin" in page.text
    for subject in (agent.agent_id, target_id):
        assert {"href": f"/dashboard/audit?subject={subject}"} in page.all("a")
    make_alert_target(acme.services, acme.organization_id, "on-call")
    assert [row[2:4] for row in rows(read("/audit?subject=on-call"))] == [["created the", "alert target on-call"]]


def test_has_pages(acme: Agent, read: Read) -> None:
    with database_of(acme.services, acme.organization_id).transaction() as opened:
        for number in range(PAGE_SIZE):
            audit.record(opened, "agent.changed", "x", after={"name": str(number)})
    first = read("/audit?actor=agentidp")
    assert len(rows(first)) == PAGE_SIZE
    [older] = [link["href"] for link in first.all("a") if link.get("rel") == "next"]
    second = read(str(older).removeprefix("/dashboard"))
    assert [row[2] for row in rows(second)] == ["created the", "registered"]
    assert [link for link in second.all("a") if link.get("rel") == "next"] == []


@pytest.mark.parametrize(
    "query",
    ["action=agent.painted", "until=yesterday", "below=0", "below=x", "subject=%00", "actor=" + "x" * (MAX_ID + 1)],
)
def test_refuses_what_it_does_not_know(signed_in: FlaskClient, query: str) -> None:
    assert signed_in.get(f"/dashboard/audit?{query}").status_code == 400


def test_says_what_was_erased(acme: Agent, read: Read) -> None:
    url = str(acme.services.settings.database_url)
    with connect(url) as operator, operator_transaction(operator, acme.organization_id, NOON) as opened:
        erase(opened, [acme.client_id])
    assert rows(read(f"/audit?subject={acme.client_id}"))[0][4] == "erased"


def test_a_page_leads_there_if_the_session_has_the_scope(client: FlaskClient, acme: Agent) -> None:
    audience = acme.services.settings.resource
    for scope in ("analytics:read", "analytics:read audit:read"):
        page = Page(with_session(client, acme, audience=audience, scope=scope).get("/dashboard"))
        assert ({"href": "/dashboard/audit"} in page.all("a")) == ("audit:read" in scope)
