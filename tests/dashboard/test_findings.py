"""``/dashboard/findings``: the listed findings."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from agentidp.dashboard.agents import PAGE_SIZE
from agentidp.findings.finding import Contributor, Finding, Severity
from agentidp.registry.agents import update_agent
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read
from tests.factories import NOON, a_finding, make_findings


@pytest.fixture
def findings(cast: Cast, services: Services) -> None:
    """Store an ended finding about an agent without an owner (A), an ongoing finding about an agent with an owner (B),
    and an ongoing finding about both agents (C).
    """
    reader, writer = (cast.acme.colleague(name) for name in ("reader", "writer"))
    march = NOON - timedelta(days=20)
    contributors = tuple(
        Contributor(agent_id=agent.agent_id, agent_name=name, count=1)
        for agent, name in ((reader, "reader"), (writer, "writer"))
    )
    with cast.acme.database.transaction() as opened:
        update_agent(opened, reader.agent_id, {"owner": "Legal & Co"})
    make_findings(
        services,
        cast.acme.organization_id,
        a_finding(NOON, agent_id=writer.agent_id, agent_name="writer", summary="See A.", begins=march, ends=march),
        a_finding(NOON, agent_id=reader.agent_id, agent_name="reader", summary="See B.", kind="silence"),
        a_finding(NOON, agents=contributors, summary="See C.", kind="weekend", severity=Severity.critical),
        days=90,
    )


def seen(page: Page) -> str:
    """Return the letters of the listed findings, in the order of the page."""
    return "".join(re.findall(r"See ([A-Z])\.", page.text))


@pytest.mark.usefixtures("findings")
def test_filters_by_state_kind_agent_and_owner(read: Read, cast: Cast) -> None:
    expected = {
        "": "CBA",
        "state=ended": "A",
        "state=ongoing&kind=silence": "B",
        "agent=WRIT": "CA",
        f"agent={cast.acme.agent_id}": "",
        "owner=Legal+%26+Co": "CB",
        "owner=nobody": "",
    }
    assert {query: seen(read(f"/findings?{query}")) for query in expected} == expected
    # The filter offers the owners of the agents that the findings name.
    assert "Legal & Co" in read("/findings").text


def test_lists_fifty_on_a_page_and_keeps_the_filters(read: Read, cast: Cast, services: Services) -> None:
    agents = [{"agent_id": uuid4(), "agent_name": f"agent {number}"} for number in range(PAGE_SIZE + 1)]
    make_findings(
        services, cast.acme.organization_id, *(a_finding(NOON, summary="See D.", **agent) for agent in agents)
    )
    query = {"kind": "spike", "page": 2}
    pages = [read("/findings?kind=spike"), read(f"/findings?{urlencode(query)}")]
    assert [len(seen(page)) for page in pages] == [PAGE_SIZE, 1]
    assert f"/dashboard/findings?{urlencode(query)}" in pages[0].links
    assert "Page 2 of 2" in read("/findings?page=3").text


def test_equal_findings_are_one_row(read: Read, cast: Cast, services: Services) -> None:
    dormant = [
        a_finding(
            NOON,
            **{"kind": "dormant_agent", "severity": Severity.info, "begins": NOON - timedelta(days=40 + number)},
            **{"agent_id": uuid4(), "agent_name": f"agent <{number}>", "summary": "See E."},
        )
        for number in range(5)
    ]
    warning = replace(dormant[0], agent_id=uuid4(), severity=Severity.warning, summary="See W.")
    spikes = [a_finding(NOON, agent_id=uuid4(), agent_name="busy", summary="See S.") for _ in range(3)]
    stored = make_findings(services, cast.acme.organization_id, *dormant, warning, *spikes, days=90)
    page = read("/findings")
    rows = [row for row in page.all("details") if "finding" in (row.get("class") or "")]
    assert len(rows) == 5
    sentence = "5 agents have not asked for a token for 35 days or more: agent <0>, agent <1>, agent <2> and 2 more"
    assert sentence in page.words
    assert f"{sentence} since {begin_of(dormant[-1])}" in page.words
    # The row has a link to each of them.
    assert {f"/dashboard/findings/{row.finding_id}" for row in stored} <= {*page.links}
    assert "9 ongoing, 0 ended" in page.words
    # Two are two rows.
    assert "agents have" not in read(f"/findings?{urlencode({'agent': 'agent <1>'})}").text
    assert "agents have" in read("?days=7").text


def begin_of(finding: Finding) -> str:
    """Return the day on which a finding began, as the page writes it."""
    return f"{finding.begins:%a %-d %b}"
