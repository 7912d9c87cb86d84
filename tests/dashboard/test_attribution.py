"""The pages about the use of credentials and resources, and about the consequences of revoking or deleting them."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.credential_usage import CredentialUsage
from agentidp.dashboard.credentials import FILTERS, build_selectors
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.registry.resource_servers import add_resource_server
from agentidp.services import Services
from tests.dashboard.conftest import Page, with_session
from tests.factories import NOON, Agent, Clock, count_delegation

PATH = "/dashboard/credentials"
OWN, API = "http://localhost:3000/api/v1", "https://api.example"
SECOND = timedelta(seconds=1)
DAYS = timedelta(days=30)


def used(agent: int, last_used: datetime | None = None, expires: datetime | None = None) -> CredentialUsage:
    """Return a credential of the agent with this number."""
    credential = CredentialUsage(UUID(int=agent), UUID(int=agent), "a", "secret", 1)
    credential.last_used_at, credential.expires_at, credential.created_at = last_used, expires, NOON
    return credential


class TestChoices:
    def shown(self, name: str, *credentials: CredentialUsage) -> list[bool]:
        choice = build_selectors([*credentials], NOON)[name]
        return [choice(credential) for credential in credentials]

    def test_each_filter_has_a_name(self) -> None:
        assert [*build_selectors([], NOON)] == [*FILTERS]

    def test_never_used_is_told_from_no_longer_used(self) -> None:
        credentials = used(1), used(2, NOON - DAYS + SECOND), used(3, NOON - DAYS)
        assert self.shown("", *credentials) == [True, True, True]
        assert self.shown("never", *credentials) == [True, False, False]
        assert self.shown("idle", *credentials) == [False, False, True]

    def test_expires_within_30_days(self) -> None:
        ends = (None, NOON, NOON + SECOND, NOON + DAYS, NOON + DAYS + SECOND)
        assert self.shown("ending", *(used(1, expires=end) for end in ends)) == [False, False, True, True, False]

    def test_more_than_one_in_use(self) -> None:
        now = NOON - SECOND
        credentials = used(1, now), used(1, now), used(1), used(2, now), used(2, now - DAYS), used(2, now, NOON)
        assert self.shown("several", *credentials) == [True, True, False, False, False, False]


@pytest.fixture(autouse=True)
def _own_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own resource identifier, because the tests share the instance."""
    monkeypatch.setitem(globals(), "API", f"https://{uuid.uuid4()}.example")


@pytest.fixture
def worker(acme: Agent, services: Services) -> Agent:
    """Return an agent of Acme that may get tokens for another API."""
    with acme.database.transaction() as opened:
        add_resource_server(opened, services.settings, resource=API, name="Billing", scopes=["read"])
    return acme.colleague("worker", ["analytics:read", "read"])


def small_charts(page: Page) -> list[str | None]:
    """Return the drawn paths of the small charts of a page."""
    drawn = iter(page.elements)
    return [next(drawn)[1]["d"] for tag, attributes in drawn if (tag, attributes.get("class")) == ("svg", "small")]


def test_the_pages_show_that_the_traffic_has_moved_after_a_rotation(
    signed_in: FlaskClient, acme: Agent, worker: Agent, clock: Clock
) -> None:
    clock.now = NOON - timedelta(days=6)
    worker.get_tokens(signed_in, 4)
    with worker.database.transaction() as opened:
        _, secret = add_credential(opened, worker.agent_id, label="new", expires_at=NOON + 2 * DAYS)
    assert secret is not None
    clock.now = NOON
    rows = worker.database.fetch("agents/list_credentials", agent_id=worker.agent_id)
    [unlabelled] = [str(row.credential_id)[:8] for row in rows if row.label is None]
    worker.get_tokens(signed_in, 2, client_secret=secret)
    worker.get_tokens(signed_in, 1, client_secret=secret, resource=API)
    page = Page(signed_in.get(f"/dashboard/agents/{worker.agent_id}?days=7"))
    rows = page.table("Credentials")
    assert [(row[0], row[3], row[5]) for row in rows] == [
        (unlabelled, "Thu 9 Apr, 12:00", "4"),
        ("new", "Wed 15 Apr, 12:00", "3"),
    ]
    assert page.table("APIs for which the agent got tokens") == [[OWN, "6"], [API, "1"]]
    # The charts of the resources are before the charts of the credentials.
    assert small_charts(page) == [
        "M1 100v-100h8V100zM61 100v-50h8V100z",
        "M61 100v-100h8V100z",
        "M1 100v-100h8V100z",
        "M61 100v-100h8V100z",
    ]
    assert PATH in Page(signed_in.get("/dashboard/usage")).links
    rows = Page(signed_in.get(PATH)).table("Credentials")
    theirs = [row for row in rows if row[0] == "worker"]
    assert [(row[1], row[2], row[3], row[4], row[5]) for row in theirs] == [
        (unlabelled, "Thu 9 Apr, 12:00", "never", "4", OWN),
        ("new", "Wed 15 Apr, 12:00", "Sun 14 Jun, 12:00", "3", f"2 {OWN} and 1 more"),
    ]
    [new_id] = [
        row.credential_id
        for row in worker.database.fetch("agents/list_credentials", agent_id=worker.agent_id)
        if row.label
    ]
    credential_page = Page(signed_in.get(f"/dashboard/agents/{worker.agent_id}/credentials/{new_id}"))
    assert f"APIs: 2 {OWN} 1 {API}" in credential_page.words
    # There is no second page.
    assert Page(signed_in.get(f"{PATH}?page=2")).table("Credentials") == rows
    # The list may have credentials of the agent of the session, too.
    several = Page(signed_in.get(f"{PATH}?show=several"))
    assert [row[1] for row in several.table("Credentials") if row[0] == "worker"] == [unlabelled, "new"]
    assert "No credential matches." in Page(signed_in.get(f"{PATH}?show=idle")).text
    clock.now = NOON + DAYS
    idle = Page(with_session(signed_in, acme).get(f"{PATH}?show=idle"))
    assert sorted(row[1] for row in idle.table("Credentials")) == [unlabelled, "new"]


def test_the_page_of_a_credential_has_its_own_tokens_only(signed_in: FlaskClient, worker: Agent, clock: Clock) -> None:
    with worker.database.transaction() as opened:
        row, secret = add_credential(opened, worker.agent_id, label="<new>", expires_at=None)
    assert secret is not None
    worker.get_tokens(signed_in, 4)
    address = f"/dashboard/agents/{worker.agent_id}/credentials/{row.credential_id}"
    assert "No token was issued with this credential" in Page(signed_in.get(address)).text
    worker.get_tokens(signed_in, 3, client_secret=secret, resource=API)
    page = Page(signed_in.get(f"{address}?days=7"))
    assert "Credential <new>" in page.words
    assert f"APIs: {API}" in page.words
    assert page.table("Tokens issued on each UTC day")[:2] == [["Wed 15 Apr", "3"], ["Tue 14 Apr", "0"]]
    assert f"{address}/revoke" in page.links
    assert f"{address}?days=7" in Page(signed_in.get(f"/dashboard/agents/{worker.agent_id}?days=7")).links
    # A month in which the credential did not exist.
    assert "No token was issued with this credential" in Page(signed_in.get(f"{address}?month=2026-03")).text
    with worker.database.transaction() as opened:
        end_credential(opened, worker.agent_id, row.credential_id)
    revoked = Page(signed_in.get(address))
    assert "<new> revoked" in revoked.words
    assert f"{address}/revoke" not in revoked.links
    other = worker.colleague("other")
    assert signed_in.get(f"/dashboard/agents/{other.agent_id}/credentials/{row.credential_id}").status_code == 404


def test_the_pages_of_resource_servers_say_who_takes_tokens(signed_in: FlaskClient, worker: Agent) -> None:
    other = worker.colleague("other", ["read"])
    worker.get_tokens(signed_in, 2, resource=API)
    other.get_tokens(signed_in, 3, resource=API)
    [server] = worker.database.fetch("oauth/list_resource_servers")
    address = f"/dashboard/resource-servers/{server.resource_server_id}"
    assert Page(signed_in.get(address)).table("Agents that got tokens for this API") == [
        ["other", "3", "Wed 15 Apr"],
        ["worker", "2", "Wed 15 Apr"],
    ]
    confirmation = Page(signed_in.get(f"{address}/delete")).text
    assert "5 tokens in the last 90 days, the last one in the hour of Wed 15 Apr 12:00 UTC." in confirmation
    assert "They were issued to other (3 tokens, the last on Wed 15 Apr), worker (2 tokens," in confirmation


def test_the_page_of_an_agent_says_for_whom_it_acts_and_who_acts_for_it(
    signed_in: FlaskClient, worker: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = worker.colleague("desk", ["read"])
    for actor, subject, tokens in ((worker, desk, 2), (worker, "https://login.example", 1), (desk, worker, 4)):
        count_delegation(actor, subject, NOON, tokens, API)
    address = f"/dashboard/agents/{worker.agent_id}"
    page = Page(signed_in.get(address))
    by_issuer = ["people of https://login.example", API, "1"]
    assert page.table("Agents and issuers") == [["desk", API, "2"], by_issuer]
    assert page.table("Agents that got tokens to act") == [["desk", API, "4"]]
    confirmation = Page(signed_in.get(f"{address}/suspend")).text
    assert "Other agents can no longer act for it: desk (4 tokens, the last on Wed 15 Apr)." in confirmation
    monkeypatch.setattr("agentidp.dashboard.agent.MAX_DELEGATIONS", 1)
    page = Page(signed_in.get(address))
    assert page.table("Agents and issuers") == [["desk", API, "2"]]
    assert "And 1 more." in page.text
    # Two days earlier, no token was issued.
    assert " for it" not in Page(signed_in.get(f"{address}?from=2026-04-13&to=2026-04-13")).text


def test_the_confirmations_say_who_would_notice(signed_in: FlaskClient, worker: Agent) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    worker.get_tokens(signed_in, 2)
    [credential_id] = worker.credential_ids()
    for action, sentence in (
        (f"credentials/{credential_id}/revoke", "2 tokens in the last 90 days, the last one at "),
        ("suspend", "2 tokens in the last 90 days, the last one in the hour of"),
        ("delete", "2 tokens in the last 90 days, the last one in the hour of"),
    ):
        assert sentence in Page(signed_in.get(f"{page}/{action}")).text
    assert "Who would notice" not in Page(signed_in.get(f"{page}/resume")).text


def test_the_csv_has_what_the_api_returns(signed_in: FlaskClient, acme: Agent, worker: Agent) -> None:
    worker.get_tokens(signed_in, 2, resource=API)
    accepted = acme.bearer() | {"Accept": "text/csv"}
    for path, of_api in ((f"{PATH}.csv", "credentials?days=30"), ("/dashboard/resources.csv", "resources")):
        response = signed_in.get(path)
        assert response.mimetype == "text/csv"
        assert response.text == signed_in.get(f"/api/v1/analytics/{of_api}", headers=accepted).text
        assert response.text.count("\n") > 1
