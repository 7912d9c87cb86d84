"""The list of agents: search, filters, order, period, and the hours of the last tokens and requests."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.agents import PAGE_SIZE, SORTS
from agentidp.findings.finding import Contributor, Severity
from agentidp.services import Services
from tests.dashboard.conftest import Page, Read, number, with_session
from tests.factories import NOON, Agent, Api, a_finding, make_agent, make_findings

LAST_SEEN = 6
"""Column of the table."""


@pytest.fixture
def fleet(client: FlaskClient, acme: Agent, services: Services) -> dict[str, Agent]:
    """Return agents of Acme by name. Each has the highest value in some column."""
    organization_id = acme.organization_id
    agents = {name: make_agent(services, organization_id, name=name) for name in ("Alpha", "beta", "gamma", "100%_off")}
    yesterday, last_week = NOON - timedelta(days=1), NOON - timedelta(days=7)
    agents["Alpha"].count(last_week, tokens=40)
    agents["beta"].count(yesterday, tokens=1, requests=90)
    agents["gamma"].count(NOON - timedelta(hours=2), tokens=9)
    for hour in range(3):
        at = yesterday - timedelta(hours=hour)
        agents["gamma"].count(at, rejected=1)
    changes = {"beta": {"status": "suspended"}, "gamma": {"description": "Reads invoices.", "owner": "Payments team"}}
    for name, change in changes.items():
        assert Api(client, acme).patch(f"agents/{agents[name].agent_id}", change).status_code == 200
    return agents


def names(page: Page) -> list[str]:
    """Return the first words of the names of the listed agents, in the order of the page."""
    is_listed = any(caption.startswith("Agents") for caption in page.tables)
    return [row[0].split()[0] for row in page.table("Agents")] if is_listed else []


NEVER = "\N{EN DASH}"

BY = {
    "name": ["100%_off", "Alpha", "beta", "builder", "gamma"],
    "tokens": ["Alpha", "gamma", "beta", "builder", "100%_off"],
    "requests": ["beta", "Alpha", "gamma", "builder", "100%_off"],
    "rejected": ["gamma", "Alpha", "beta", "builder", "100%_off"],
    "last_request": ["builder", "gamma", "beta", "Alpha", "100%_off"],
}
"""Column -> the agents in the default order of the column."""


@pytest.mark.parametrize("sort", SORTS)
def test_a_heading_sorts_and_sorts_the_other_way_the_next_time(read: Read, fleet: dict[str, Agent], sort: str) -> None:
    page = read("/agents?days=30&search=&sort=requests" if sort == "tokens" else "/agents")
    for is_second in (False, True):
        headings = [link for link in page.links if "owner=" not in link]
        [address] = [link for link in headings if re.match(rf"/dashboard/agents\?.*&sort={sort}(&|$)", link)]
        page = read(address.removeprefix("/dashboard"))
        is_descending = (sort != "name") != is_second
        sorted_by = [heading["aria-sort"] for heading in page.all("th") if "aria-sort" in heading]
        assert sorted_by == ["descending" if is_descending else "ascending"]
        listed = names(page)
        if not is_second:
            assert listed == BY[sort]
        elif sort.startswith("last_"):
            # Agents without such an hour are last in both orders.
            agents_with_hour = [row[0].split()[0] for row in page.table("Agents") if row[LAST_SEEN] != NEVER]
            assert listed[: len(agents_with_hour)] == [name for name in reversed(BY[sort]) if name in agents_with_hour]
        else:
            assert listed[-1] == BY[sort][0]
            assert sorted(listed) == sorted(BY[sort])


def test_sorts_by_the_hour_within_a_day(read: Read, fleet: dict[str, Agent], acme: Agent) -> None:
    for hours, agent in ((1, acme), (3, fleet["100%_off"])):
        agent.count(NOON - timedelta(hours=hours), tokens=1)
    assert names(read("/agents?sort=last_request"))[:3] == ["builder", "gamma", "100%_off"]
    assert names(read("/agents?sort=last_request&order=asc")) == ["Alpha", "beta", "100%_off", "gamma", "builder"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("search=ALPHA", ["Alpha"]),
        ("search=ALPHA_ID", ["Alpha"]),
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
def test_finds(read: Read, fleet: dict[str, Agent], query: str, expected: list[str]) -> None:
    page = read(f"/agents?{query}".replace("ALPHA_ID", fleet["Alpha"].client_id))
    assert names(page) == expected
    # The share is of the tokens of all agents, also of those that the search excludes.
    assert "Alpha" not in expected or page.table("Agents")[0][2:4] == ["40", "80.0 %"]
    assert ("No agent matches." in page.text) == (not expected)


def test_shows_owner_description_and_the_last_hour_of_the_period(read: Read, fleet: dict[str, Agent]) -> None:
    rows = {row[0].split()[0]: row for row in read("/agents").table("Agents")}
    assert rows["gamma"][:2] == ["gamma Reads invoices.", "Payments team"]
    assert rows["gamma"][LAST_SEEN] == "Wed 15 Apr, 10:00-11:00"
    assert rows["beta"][LAST_SEEN] == "Tue 14 Apr, 12:00-13:00"
    assert rows["100%_off"][LAST_SEEN] == NEVER
    rows = {row[0].split()[0]: row for row in read("/agents?from=2026-04-08&to=2026-04-08").table("Agents")}
    assert (number(rows["Alpha"][2]), rows["gamma"][2], rows["gamma"][LAST_SEEN]) == (40, "0", NEVER)


def test_filters_by_exactly_one_owner_and_keeps_the_filter(
    read: Read, signed_in: FlaskClient, acme: Agent, fleet: dict[str, Agent]
) -> None:
    owners = {"Alpha": "Support", "100%_off": "support", "gamma": "Support Germany"}
    for name, owner in owners.items():
        fleet[name].count(NOON, tokens=1)
        assert Api(signed_in, acme).patch(f"agents/{fleet[name].agent_id}", {"owner": owner}).status_code == 200
    for name, owner in owners.items():
        # The page of tokens by owner leads to the agents of each owner.
        link = f"/dashboard/agents?days=7&owner={owner.replace(' ', '+')}"
        assert link in read("/usage?days=7").links
        page = Page(signed_in.get(link))
        assert names(page) == [name]
        [file] = [link for link in page.links if ".csv" in link]
        assert [line.split(",")[1] for line in signed_in.get(file).text.splitlines()[1:]] == [name]
    [period] = [link for link in page.links if "days=90" in link]
    assert names(Page(signed_in.get(period))) == ["gamma"]
    assert [field["value"] for field in page.all("input") if field.get("name") == "owner"] == ["Support Germany"] * 3
    [removal] = [str(link["href"]) for link in page.all("a") if "Remove the filter" in str(link.get("aria-label"))]
    assert len(names(Page(signed_in.get(removal)))) == 5


def test_shows_a_short_id_beside_names_that_look_alike(read: Read, acme: Agent) -> None:
    # A list cuts long names, so two names that differ at their end look alike.
    long_names = [f"reconciliation of all invoices {place}" for place in ("east", "west")]
    alike = ["agent-I", "agent-l", "in\u00advoice", "invoice", *long_names]
    agents = {name: acme.colleague(name) for name in (*alike, "agent-x")}
    rows = [row[0] for row in read("/agents").table("Agents")]
    expected = [f"{name} {str(agent.agent_id)[:8]}" for name, agent in agents.items() if name != "agent-x"]
    assert sorted(rows) == sorted([*expected, "agent-x", "builder"])


def test_keeps_the_period_and_the_order_on_other_pages_and_in_the_form(client: FlaskClient, acme: Agent) -> None:
    for index in range(PAGE_SIZE + 1):
        acme.colleague(f"agent {index:02}")
    page = Page(with_session(client, acme).get("/dashboard/agents?month=2026-04&sort=name&search=agent"))
    assert "Page 1 of 2" in page.text
    assert f"{PAGE_SIZE + 1} agents match" in page.words
    address = "/dashboard/agents?month=2026-04&search=agent&sort=name&page=2"
    assert {"href": address, "rel": "next"} in page.all("a")
    assert len(Page(client.get(address)).table("Agents")) == 1
    # There is no third page.
    assert len(Page(client.get(address.replace("page=2", "page=3"))).table("Agents")) == PAGE_SIZE
    hidden = {field["name"]: field["value"] for field in page.all("input") if field.get("type") == "hidden"}
    assert hidden == {"month": "2026-04", "search": "agent", "sort": "name", "order": ""}


def test_badges_name_the_findings_of_an_agent_that_are_ongoing_or_recent(
    client: FlaskClient, acme: Agent, services: Services, fleet: dict[str, Agent]
) -> None:
    alpha, beta, gamma, off = (fleet[name] for name in ("Alpha", "beta", "gamma", "100%_off"))
    contributors = tuple(Contributor(agent_id=agent.agent_id, agent_name="?", count=1) for agent in (alpha, beta))
    week = timedelta(days=7)
    of = {"agent_id": gamma.agent_id, "agent_name": "gamma", "kind": "rejections", "severity": Severity.critical}
    findings = [
        a_finding(NOON, agents=contributors),
        # The first finding ended less than a week ago, the second one exactly a week ago.
        a_finding(NOON, begins=NOON - week, ends=NOON - week + timedelta(minutes=1), **of),
        a_finding(NOON, begins=NOON - week, ends=NOON - week, agent_id=off.agent_id, agent_name="100%_off"),
        a_finding(NOON, agent_id=beta.agent_id, agent_name="beta", kind="uncached_tokens", severity=Severity.critical),
    ]
    make_findings(services, acme.organization_id, *findings)
    with_session(client, acme)
    page = Page(client.get("/dashboard/agents?unusual=1"))
    assert sorted(names(page)) == ["Alpha", "beta", "gamma"]
    assert names(Page(client.get("/dashboard/agents?unusual=1&status=suspended"))) == ["beta"]
    rows = [row[0] for row in Page(client.get("/dashboard/agents?sort=name")).table("Agents")]
    assert rows == [
        "100%_off",
        "Alpha spike",
        # The most severe finding is first.
        "beta suspended tokens not reused spike",
        "builder",
        "gamma rejected requests, ended Reads invoices.",
    ]
    badges = [a for a in page.all("a") if "badge" in (a.get("class") or "")]
    assert sorted(str(a["class"]) for a in badges) == ["badge "] + ["badge critical"] + ["badge warning"] * 2
    assert client.get(str(badges[0]["href"])).status_code == 200
    # The overview shows the same badges.
    rows = [row[0] for row in Page(client.get("/dashboard?days=30")).table("Agents")]
    assert any(row.startswith("gamma rejected requests, ended") for row in rows)


@pytest.mark.parametrize(
    ("severity", "words"), [(Severity.critical, "budget exceeded"), (Severity.warning, "budget at risk")]
)
def test_the_badge_of_a_budget_says_whether_the_budget_is_exceeded(
    client: FlaskClient, acme: Agent, services: Services, severity: Severity, words: str
) -> None:
    contributor = Contributor(agent_id=acme.agent_id, agent_name="builder", count=1)
    make_findings(
        services, acme.organization_id, a_finding(NOON, kind="budget", severity=severity, agents=(contributor,))
    )
    page = Page(with_session(client, acme).get("/dashboard/agents"))
    assert [row[0] for row in page.table("Agents")] == [f"builder {words}"]
