"""The findings that a page lists and counts."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from agentidp.dashboard.page_findings import MAX_FINDINGS
from agentidp.findings.finding import Finding, Severity
from agentidp.services import Services
from tests.dashboard.conftest import Page, Read
from tests.factories import NOON, Agent, a_finding, make_findings

PAST = "?month=2026-03"
"""A period with an ended finding, and without the ongoing findings."""

BEFORE_THE_OLD_ONE = "?from=2026-03-01&to=2026-03-10"
"""A period before the ended finding."""

LONG_PAST = "?from=2025-11-01&to=2025-11-30"
"""A period before all stored findings."""


def about(name: str, severity: Severity, **changes: object) -> Finding:
    """Return a finding about a new agent, whose name is in the summary."""
    about = {"agent_id": uuid4(), "agent_name": name, "summary": f"See {name}."}
    return a_finding(NOON, severity=severity, **(about | changes))


def store(services: Services, organization_id: str, findings: list[Finding]) -> dict[str, UUID]:
    """Store findings as an evaluation does. Return their ids by the agent's name."""
    stored = make_findings(services, organization_id, *findings, days=90)
    return {row.report["agentName"]: row.finding_id for row in stored}


def marks(page: Page) -> list[str]:
    """Return the links of the findings in the charts."""
    return [str(link["href"]) for link in page.all("a") if "flag" in (link.get("class") or "")]


@pytest.fixture
def findings(acme: Agent, services: Services) -> list[Finding]:
    """Return four findings of today, one of them critical, and a finding of March."""
    acme.count(NOON, tokens=12)
    march = NOON - timedelta(days=20)
    findings = [
        about("burning", Severity.critical),
        about("warm", Severity.warning),
        about("warmer", Severity.warning),
        about("busy", Severity.info),
        about("old", Severity.warning, begins=march, ends=march + timedelta(hours=1)),
    ]
    store(services, acme.organization_id, findings)
    return findings


def total(page: Page) -> str:
    """Return the text from the heading of the findings on."""
    # Earlier on the page, the word is in the navigation and in the table of days.
    return page.words.split(" Findings ")[3]


def listed(page: Page) -> list[str]:
    """Return the agents whose findings are listed."""
    # The most urgent finding is in the sentence above the chart, too.
    of_list = page.text.partition("Cause and next step")[2] or page.text
    return re.findall(r"See (\w+)\.", of_list)


def ranked(page: Page) -> list[str]:
    """Return the listed agents. "warm" and "warmer" have the same name, because their order is undefined."""
    return [name.replace("warmer", "warm") for name in listed(page)]


@pytest.mark.usefixtures("findings")
def test_the_period_that_is_chosen_decides_what_is_listed(read: Read) -> None:
    for period in ("?days=7", "?month=2026-04", "?from=2026-04-15"):
        assert total(read(period)).startswith("4 ongoing, 0 ended, 4 new in 24 hours critical")
        assert ranked(read(period)) == ["burning", "warm", "warm", "busy"]
        assert "ongoing now" not in read(period).text
    for period in ("", "?days=90"):
        assert total(read(period)).startswith("4 ongoing, 1 ended, 4 new in 24 hours critical")
        assert ranked(read(period)) == ["burning", "warm", "warm", "busy", "old"]
    page = read(PAST)
    assert total(page).startswith("0 ongoing, 1 ended warning")
    assert listed(page) == ["old"]
    assert listed(read(LONG_PAST)) == []


@pytest.mark.usefixtures("findings")
@pytest.mark.parametrize("period", [PAST, LONG_PAST, BEFORE_THE_OLD_ONE])
def test_a_past_period_says_last_what_is_ongoing_now(read: Read, period: str) -> None:
    page = read(period)
    text = page.words.split(" Findings ", 2)[2]
    assert "4 other findings are ongoing now, 1 of them critical. Show the last 30 days" in text
    assert text.find("See old.") < text.find("4 other findings")
    assert ("Nothing unusual in this period." in text) == (period == BEFORE_THE_OLD_ONE)
    not_known = "There are no findings for this period, because findings have been stored only since Fri 16 Jan."
    assert (not_known in text) == (period == LONG_PAST)
    assert "Nothing unusual is going on." not in text
    assert "/dashboard" in page.links


WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("severity", "ended", "is_shown"),
    [
        (Severity.critical, WEEK - timedelta(minutes=1), True),
        (Severity.critical, WEEK, False),
        (Severity.warning, timedelta(days=1), False),
    ],
)
def test_a_critical_finding_that_ended_less_than_a_week_ago_stays_in_the_list(
    read: Read, acme: Agent, services: Services, severity: Severity, ended: timedelta, is_shown: bool
) -> None:
    acme.count(NOON, tokens=12)
    ends = NOON - ended
    old = about("old", severity, begins=ends - timedelta(hours=1), ends=ends)
    store(services, acme.organization_id, [about("warm", Severity.warning), old])
    page = read()
    assert listed(page) == ["warm", "old"]
    assert ("ended" in [details.get("id") for details in page.all("details")]) != is_shown
    assert ("1 more ended" in page.text) != is_shown
    # A period without today lists all its ended findings.
    assert "more ended" not in read(f"?from=2026-03-01&to={ends:%Y-%m-%d}").text


def test_only_ended_findings_are_listed_openly(read: Read, acme: Agent, services: Services) -> None:
    acme.count(NOON, tokens=12)
    march = NOON - timedelta(days=20)
    store(services, acme.organization_id, [about("old", Severity.info, begins=march, ends=march + WEEK)])
    page = read()
    assert "Nothing unusual is going on." in page.text
    assert {"id": "ended", "open": None} in page.all("details")


def test_an_agents_page_counts_and_lists_its_own(read: Read, acme: Agent, services: Services) -> None:
    builder = {"agent_id": acme.agent_id, "agent_name": "builder"}
    other_findings = [about("burning", Severity.critical), about("warm", Severity.warning)]
    critical = a_finding(NOON, severity=Severity.critical, summary="See builder.", **builder)
    store(services, acme.organization_id, [critical, *other_findings])
    page = read(f"/agents/{acme.agent_id}{PAST}")
    assert "1 other finding is ongoing now, 1 of them critical." in page.text
    assert listed(page) == []
    assert listed(read(f"/agents/{acme.agent_id}")) == ["builder"]
    assert f"/dashboard/agents/{acme.agent_id}" in page.links


def test_a_mark_leads_to_the_findings_own_page_if_its_card_is_not_shown(
    read: Read, acme: Agent, services: Services
) -> None:
    acme.count(NOON, tokens=12)
    march = NOON - timedelta(days=20)
    of_today = [about(f"agent{number}", Severity.warning) for number in range(MAX_FINDINGS - 1)]
    ended = [
        about(f"old{day.day}", Severity.info, agent_id=agent, begins=day, ends=day + timedelta(hours=1))
        for day, agent in ((march, uuid4()), (march - timedelta(days=2), acme.agent_id))
    ]
    ids = store(services, acme.organization_id, of_today + ended)
    page = read()
    assert "1 less urgent findings" in page.text
    assert "Thu 26 Mar: 0 tokens, 1 finding" in page.text
    cards = [f"#{item['id']}" for item in page.all("div") if "id" in item]
    assert [mark in cards for mark in marks(page)] == [False, True, True]
    assert marks(page)[:2] == [f"/dashboard/findings/{ids['old24']}", f"#finding-{ids['old26']}"]
    # The page of an agent has rows for all its findings.
    assert marks(read(f"/agents/{acme.agent_id}")) == [f"#finding-{ids['old24']}"]
