"""The list of agents: searched, filtered, sorted, over a period; and when each was last seen."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.agents import MAX_SEARCH, PAGE_SIZE
from agentidp.findings.finding import Contributor
from agentidp.services import Services
from agentidp.usage import record_rejection
from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read, number, with_session
from tests.factories import NOON, Agent, Clock, a_finding, count_usage, make_agent, make_finding


@pytest.fixture
def fleet(client: FlaskClient, cast: Cast, services: Services) -> dict[str, Agent]:
    """Agents of Acme, each of which has most of something."""
    organization_id = cast.acme.organization_id
    agents = {name: make_agent(services, organization_id, name=name) for name in ("Alpha", "beta", "gamma", "100%_off")}
    yesterday, last_week = NOON - timedelta(days=1), NOON - timedelta(days=7)
    count_usage(services, organization_id, agents["Alpha"].agent_id, last_week, tokens=40)
    count_usage(services, organization_id, agents["beta"].agent_id, yesterday, tokens=1, requests=90)
    count_usage(services, organization_id, agents["gamma"].agent_id, NOON - timedelta(hours=2), tokens=9)
    for hour in range(3):
        at = yesterday - timedelta(hours=hour)
        record_rejection(services.database.of(organization_id, at), agents["gamma"].agent_id)
    changes = {"beta": {"status": "suspended"}, "gamma": {"description": "Reads invoices.", "owner": "Payments team"}}
    for name, change in changes.items():
        path = f"/api/v1/agents/{agents[name].agent_id}"
        assert client.patch(path, json=change, headers=cast.acme.bearer()).status_code == 200
    return agents


def names(page: Page) -> list[str]:
    """Of the agents in their order."""
    return [row[0].split()[0] for row in page.table("Agents")] if page.tables else []


@pytest.mark.parametrize(
    ("sort", "first"),
    [("tokens", "Alpha"), ("requests", "beta"), ("rejected", "gamma"), ("last_token", "gamma"), ("name", "100%_off")],
)
def test_sorts(read: Read, fleet: dict[str, Agent], sort: str, first: str) -> None:
    shown = names(read(f"/agents?sort={sort}"))
    assert shown[0] == first
    assert sorted(shown) == sorted([*fleet, "builder"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("search=ALPHA", ["Alpha"]),
        ("search=payments", ["gamma"]),
        ("search=%25_", ["100%_off"]),
        ("search=%25", ["100%_off"]),
        ("search=invoices", ["gamma"]),
        ("search=nobody", []),
        ("unusual=1", []),
        ("search=+beta+", ["beta"]),
        ("status=suspended", ["beta"]),
        ("status=suspended&search=alpha", []),
        ("status=deleted", []),
    ],
)
def test_finds(read: Read, fleet: dict[str, Agent], query: str, found: list[str]) -> None:
    page = read(f"/agents?{query}")
    assert names(page) == found
    assert ("No agent is found." in page.text) == (not found)


def test_finds_by_id_and_keeps_the_share_of_all_tokens(read: Read, fleet: dict[str, Agent]) -> None:
    [row] = read(f"/agents?search={fleet['Alpha'].client_id}").table("Agents")
    assert (row[0], row[1], row[2]) == ("Alpha", "40", "80.0 %")


def test_shows_the_last_hours_of_the_period_and_the_description(read: Read, fleet: dict[str, Agent]) -> None:
    rows = {row[0].split()[0]: row for row in read("/agents").table("Agents")}
    assert rows["gamma"][5:] == ["Wed 15 Apr, 10:00", "Wed 15 Apr, 10:00", "Tue 14 Apr, 12:00"]
    assert rows["gamma"][0] == "gamma Reads invoices. Owner: Payments team"
    assert rows["beta"][5:] == ["Tue 14 Apr, 12:00", "Tue 14 Apr, 12:00", "none"]
    assert rows["100%_off"][5:] == ["none", "none", "none"]
    rows = {row[0].split()[0]: row for row in read("/agents?from=2026-04-08&to=2026-04-08").table("Agents")}
    assert (number(rows["Alpha"][1]), rows["gamma"][1], rows["gamma"][5]) == (40, "0", "none")


def test_an_agents_page_shows_its_declared_replicas(client: FlaskClient, cast: Cast, fleet: dict[str, Agent]) -> None:
    path = f"/api/v1/agents/{fleet['Alpha'].agent_id}"
    assert client.patch(path, json={"expectedReplicas": 1200}, headers=cast.acme.bearer()).status_code == 200
    with_session(client, cast.acme)
    assert "Expected replicas 1,200" in Page(client.get(f"/dashboard/agents/{fleet['Alpha'].agent_id}")).text
    assert "Expected replicas" not in Page(client.get(f"/dashboard/agents/{fleet['beta'].agent_id}")).text


def test_keeps_the_period_and_the_order_on_other_pages_and_in_the_form(
    client: FlaskClient, cast: Cast, services: Services
) -> None:
    for index in range(PAGE_SIZE + 1):
        make_agent(services, cast.acme.organization_id, name=f"agent {index:02}")
    page = Page(with_session(client, cast.acme).get("/dashboard/agents?month=2026-04&sort=name&search=agent"))
    assert f"Page 1 of 2 · {PAGE_SIZE + 1} agents" in page.text
    address = "/dashboard/agents?month=2026-04&search=agent&sort=name&page=2"
    assert {"href": address, "rel": "next"} in page.all("a")
    assert len(Page(client.get(address)).table("Agents")) == 1
    assert {"type": "hidden", "name": "month", "value": "2026-04"} in page.all("input")


@pytest.mark.parametrize(
    "query", ["sort=id", "sort=", "unusual=yes", "status=gone", f"search={'x' * (MAX_SEARCH + 1)}", "search=%00"]
)
def test_refuses_what_it_cannot_do(signed_in: FlaskClient, query: str) -> None:
    assert signed_in.get(f"/dashboard/agents?{query}").status_code == 400


def test_finds_the_agents_that_ongoing_findings_name(
    client: FlaskClient, cast: Cast, clock: Clock, services: Services, fleet: dict[str, Agent]
) -> None:
    alpha, beta, gamma = (fleet[name] for name in ("Alpha", "beta", "gamma"))
    both = tuple(Contributor(agent_id=one.agent_id, agent_name="?", count=1) for one in (alpha, beta))
    make_finding(services, cast.acme.organization_id, a_finding(NOON, agents=both))
    ended = a_finding(NOON - timedelta(days=1), agent_id=gamma.agent_id, agent_name="gamma")
    clock.advance(minutes=1)
    make_finding(services, cast.acme.organization_id, ended)
    with_session(client, cast.acme)
    assert names(Page(client.get("/dashboard/agents?unusual=1"))) == ["Alpha", "beta"]
    assert names(Page(client.get("/dashboard/agents?unusual=1&status=suspended"))) == ["beta"]
    rows = Page(client.get("/dashboard/agents?sort=name")).table("Agents")
    assert [row[0].split()[0] for row in rows if "unusual" in row[0].split()] == ["Alpha", "beta"]
