"""The page of the audit trail."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from agentidp import audit
from agentidp.audit.upkeep import erase_recorded_values
from agentidp.dashboard.audit import PAGE_SIZE
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.services import Services
from tests.dashboard.conftest import Page, Read, post
from tests.factories import (
    NOON,
    Agent,
    Api,
    a_finding,
    make_alert_target,
    make_finding,
    make_grant,
    make_marker,
)


def rows(page: Page) -> list[list[str]]:
    """Return the cells of the table of events."""
    return page.table("Events")


def test_shows_who_changed_what(signed_in: FlaskClient, acme: Agent, read: Read) -> None:
    other = acme.colleague("<other>")
    post(signed_in, f"/dashboard/agents/{other.agent_id}/suspend")
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
    assert f"/dashboard/agents/{other.agent_id}" in page.links


def test_shows_names_for_ids_and_nothing_for_what_is_not_set(
    signed_in: FlaskClient, acme: Agent, services: Services, read: Read
) -> None:
    api = Api(signed_in, acme)
    worker = acme.colleague("worker", ["analytics:read", "agents:read"])
    body = {"label": "laptop", "expiresAt": "2026-05-01T00:00:00Z"}
    path = f"agents/{worker.agent_id}"
    credential_id = api.post(f"{path}/credentials", body).json["credentialId"]
    api.delete(f"{path}/credentials/{credential_id}")
    api.patch(path, {"owner": "Shop", "scopes": []})
    finding_id = make_finding(services, acme.organization_id, a_finding(NOON, agent_id=worker.agent_id))
    post(signed_in, f"/dashboard/findings/{finding_id}/acknowledge")
    body = {"resource": f"https://{worker.client_id}.example", "name": "Files", "scopes": ["files:read"]}
    server = f"resource-servers/{api.post('resource-servers', body).json['resourceServerId']}"
    rule = {"name": "people", "trust": {"issuer": "https://login.acme.example", "claims": {"groups": "support"}}}
    rule |= {"agentIds": [worker.client_id], "resources": [{"resource": body["resource"], "scopes": ["files:read"]}]}
    rule_id = api.post("delegation-rules", rule).json["delegationRuleId"]
    api.delete(f"grants/{make_grant(worker, rule_id)}")
    api.patch(server, {"scopes": []})
    api.delete(server)
    target_id = make_alert_target(services, acme.organization_id, "on-call")
    for action in ("disable", "delete"):
        post(signed_in, f"/dashboard/alert-targets/{target_id}/{action}")
    api.put(f"{path}/quotas/day", {"tokens": 120, "enforce": True})
    make_marker(services, acme.organization_id)
    page = read("/audit")
    cells_of_rows = [row[2:] for row in rows(page)]
    events = [
        ["created the", "marker deployment"],
        ["set a quota of", "worker", "day: tokens 120, enforce yes"],
        ["deleted the", "alert target on-call"],
        ["changed the", "alert target on-call", "enabled: yes → no"],
        ["created the", "alert target on-call"],
        ["deleted the", "resource server Files"],
        ["changed the", "resource server Files", "scopes: files:read → none"],
        ["ended the", "grant of worker"],
        ["created the", "delegation rule people"],
        ["registered the", "resource server Files"],
        ["acknowledged the", "finding spike"],
        ["changed", "worker"],
        ["revoked the", "credential laptop of worker"],
        ["created the", "credential laptop of worker"],
    ]
    assert [row[: len(expected)] for row, expected in zip(cells_of_rows, events, strict=False)] == events
    changes = {(row[0], row[1]): set(row[2].split("; ")) for row in cells_of_rows}
    assert changes["changed", "worker"] == {"owner: none → Shop", "scopes: analytics:read, agents:read → none"}
    assert changes["created the", "credential laptop of worker"] == {
        "label: laptop",
        "expires at: Fri 1 May, 00:00 UTC",
        "type: secret",
    }
    assert changes["ended the", "grant of worker"] == {
        "scopes: a",
        f"resource: https://{worker.client_id}.example",
        "delegation rule: people",
    }
    assert "agent ids: worker" in changes["created the", "delegation rule people"]
    assert "about: worker" in changes["acknowledged the", "finding spike"]
    assert f"/dashboard/findings/{finding_id}" in page.links
    cells = " ".join(" ".join(row) for row in rows(page))
    assert re.findall(r"null|None|true|false|[0-9a-f]{8}-[0-9a-f]{4}", cells.replace(body["resource"], "")) == []


def test_filters(acme: Agent, read: Read) -> None:
    assert [row[2] for row in rows(read("/audit?action=agent.created"))] == ["registered"]
    for subject in (acme.client_id, "builder"):
        assert [row[2] for row in rows(read(f"/audit?subject={subject}"))] == ["registered"]
    assert len(rows(read("/audit?actor=agentidp"))) == 2
    assert len(rows(read("/audit?until=2026-04-15"))) == 3
    assert "No event matches." in read("/audit?until=2026-04-14").text


def test_filters_by_a_name_and_asks_which_of_several_is_meant(acme: Agent, read: Read) -> None:
    agent = acme.colleague("twin")
    target_id = make_alert_target(acme.services, acme.organization_id, "twin")
    page = read("/audit?subject=twin")
    assert "2 objects are called twin" in page.text
    for subject in (agent.agent_id, target_id):
        assert f"/dashboard/audit?subject={subject}" in page.links
    make_alert_target(acme.services, acme.organization_id, "on-call")
    assert [row[2:4] for row in rows(read("/audit?subject=on-call"))] == [["created the", "alert target on-call"]]


def test_has_pages(acme: Agent, read: Read) -> None:
    with acme.database.transaction() as opened:
        for number in range(PAGE_SIZE):
            audit.record(opened, "agent.changed", "x", after={"name": str(number)})
    first = read("/audit?actor=agentidp")
    assert len(rows(first)) == PAGE_SIZE
    [older] = [link["href"] for link in first.all("a") if link.get("rel") == "next"]
    second = read(str(older).removeprefix("/dashboard"))
    assert [row[2] for row in rows(second)] == ["created the", "registered"]
    assert [link for link in second.all("a") if link.get("rel") == "next"] == []


def test_says_what_was_erased(acme: Agent, read: Read) -> None:
    url = acme.database_url
    with connect(url) as operator, operator_transaction(operator, acme.organization_id, NOON) as opened:
        erase_recorded_values(opened, [acme.client_id])
    assert rows(read(f"/audit?subject={acme.client_id}"))[0][4] == "erased"
