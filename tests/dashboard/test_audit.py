"""The page with the audit trail."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from agentidp import audit
from agentidp.audit.reading import MAX_ID
from agentidp.audit.upkeep import erase
from agentidp.dashboard.audit import PAGE_SIZE
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from tests.conftest import Cast
from tests.dashboard.conftest import SAME_ORIGIN, Page, Read, with_session
from tests.factories import NOON, Agent, database_of, make_agent


def rows(page: Page) -> list[list[str]]:
    """The cells of the table of events."""
    return page.table("Events")


def test_shows_who_changed_what(client: FlaskClient, cast: Cast, read: Read) -> None:
    acme = cast.acme
    other = make_agent(acme.services, acme.organization_id, name="<other>")
    client.post(f"/dashboard/agents/{other.agent_id}/suspend", headers=SAME_ORIGIN)
    page = read("/audit")
    assert rows(page)[0] == [
        "Wed 15 Apr, 12:00",
        "builder session, 127.0.0.1",
        "agent.changed",
        "<other>",
        "status: active → suspended",
    ]
    assert rows(page)[-1][2:] == ["organization.created", acme.organization_id, "name: Acme"]
    assert len(rows(page)) == 6
    assert {"href": f"/dashboard/agents/{other.agent_id}"} in page.all("a")


def test_filters(cast: Cast, read: Read) -> None:
    assert [row[2] for row in rows(read("/audit?action=agent.created"))] == ["agent.created"]
    assert [row[2] for row in rows(read(f"/audit?subject={cast.acme.client_id}"))] == ["agent.created"]
    assert len(rows(read("/audit?actor=agentidp"))) == 2
    assert len(rows(read("/audit?until=2026-04-15"))) == 3
    assert "No event is found." in read("/audit?until=2026-04-14").text


def test_has_pages(cast: Cast, read: Read) -> None:
    with database_of(cast.acme.services, cast.acme.organization_id).transaction() as opened:
        for number in range(PAGE_SIZE):
            audit.record(opened, "agent.changed", "x", after={"name": str(number)})
    first = read("/audit?actor=agentidp")
    assert len(rows(first)) == PAGE_SIZE
    [older] = [link["href"] for link in first.all("a") if link.get("rel") == "next"]
    second = read(str(older).removeprefix("/dashboard"))
    assert [row[2] for row in rows(second)] == ["credential.created", "agent.created"]
    assert [link for link in second.all("a") if link.get("rel") == "next"] == []


@pytest.mark.parametrize(
    "query",
    ["action=agent.painted", "until=yesterday", "below=0", "below=x", "subject=%00", "actor=" + "x" * (MAX_ID + 1)],
)
def test_refuses_what_it_does_not_know(signed_in: FlaskClient, query: str) -> None:
    assert signed_in.get(f"/dashboard/audit?{query}").status_code == 400


def test_says_what_was_erased(cast: Cast, read: Read) -> None:
    acme = cast.acme
    url = str(acme.services.settings.database_url)
    with connect(url) as operator, operator_transaction(operator, acme.organization_id, NOON) as opened:
        erase(opened, [acme.client_id])
    assert rows(read(f"/audit?subject={acme.client_id}"))[0][4] == "erased"


def refused(client: FlaskClient) -> None:
    """The page is refused, and no page leads to it."""
    response = client.get("/dashboard/audit")
    assert response.status_code == 403
    assert "without the scope audit:read" in Page(response).text
    assert {"href": "/dashboard/audit"} not in Page(client.get("/dashboard")).all("a")


def test_is_for_agents_with_the_scope(client: FlaskClient, cast: Cast) -> None:
    acme: Agent = cast.acme
    assert {"href": "/dashboard/audit"} in Page(with_session(client, acme).get("/dashboard")).all("a")
    viewer = make_agent(acme.services, acme.organization_id, "viewer", scopes=["analytics:read"])
    refused(with_session(client, viewer))


def test_a_token_for_the_api_that_lacks_the_scope_does_not_suffice(client: FlaskClient, cast: Cast) -> None:
    audience = cast.acme.services.settings.resource
    refused(with_session(client, cast.acme, audience=audience, scope="analytics:read"))
    with_session(client, cast.acme, audience=audience, scope="analytics:read audit:read")
    assert client.get("/dashboard/audit").status_code == 200
