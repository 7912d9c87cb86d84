"""Which findings a page lists and counts."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from agentidp.dashboard.page_findings import MAX_FINDINGS
from agentidp.findings import Found, findings_query
from agentidp.findings.finding import Finding, Severity
from agentidp.findings.store import store_evaluation
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read
from tests.factories import NOON, a_finding, count_usage, database_of

PAST = "?month=2026-03"
"""A period without the findings that are ongoing, and with one that has ended."""

LONG_PAST = "?from=2025-11-01&to=2025-11-30"
"""A period of which no finding is known."""


def about(name: str, severity: Severity, **changes: object) -> Finding:
    """A finding about an agent of its own, which its summary names."""
    about = {"agent_id": uuid4(), "agent_name": name, "summary": f"See {name}."}
    return a_finding(NOON, severity=severity, **(about | changes))


def store(services: Services, organization_id: str, found: list[Finding]) -> dict[str, UUID]:
    """Store what an evaluation has found; the id of each finding by its agent's name."""
    database = database_of(services, organization_id)
    with database.transaction() as opened:
        stored = store_evaluation(opened, Found(found), findings_query(NOON, services.settings, days=90))
    return {one.report["agentName"]: one.finding_id for one in stored}


@pytest.fixture
def found(cast: Cast, services: Services) -> list[Finding]:
    """Four findings of today, of which one is critical, and one of March."""
    count_usage(services, cast.acme.organization_id, cast.acme.agent_id, NOON, tokens=12)
    march = NOON - timedelta(days=20)
    found = [
        about("burning", Severity.critical),
        about("warm", Severity.warning),
        about("warmer", Severity.warning),
        about("busy", Severity.info),
        about("old", Severity.warning, begins=march, ends=march + timedelta(hours=1)),
    ]
    store(services, cast.acme.organization_id, found)
    return found


def headline(page: Page) -> str:
    """What the headline says of the ongoing findings."""
    return " ".join(page.text.split()).partition("Ongoing findings ")[2].partition(" Findings ")[0]


def listed(page: Page) -> list[str]:
    """The agents whose findings are listed."""
    return re.findall(r"See (\w+)\.", page.text)


@pytest.mark.usefixtures("found")
def test_all_that_is_ongoing_is_counted_on_the_page_of_any_period(read: Read) -> None:
    counts = "1 critical, 2 warning, 1 info; 4 new in 24 hours"
    for period in ("", "?days=7", "?days=90", "?month=2026-04", "?from=2026-04-15"):
        assert headline(read(period)) == f"4 {counts}"
        assert "outside this period" not in read(period).text
    for period in (PAST, LONG_PAST):
        assert headline(read(period)) == f"4 (0 in this period) {counts}"


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize(
    ("period", "total", "names"),
    [
        (PAST, "Findings 1 ongoing, 1 ended", ["burning", "old"]),
        (LONG_PAST, "Findings 1 ongoing, 0 ended", ["burning"]),
    ],
)
def test_what_is_critical_now_is_listed_on_the_page_of_any_period(
    read: Read, period: str, total: str, names: list[str]
) -> None:
    page = read(period)
    text = " ".join(page.text.split())
    assert f"{total} 4 ongoing findings are outside this period, and listed only if critical. Show the" in text
    assert listed(page) == names
    assert "Nothing unusual" not in text
    assert "/dashboard" in [link["href"] for link in page.all("a")]


def test_without_a_critical_one_it_says_how_many_are_outside_the_period(
    read: Read, cast: Cast, services: Services
) -> None:
    count_usage(services, cast.acme.organization_id, cast.acme.agent_id, NOON, tokens=12)
    store(services, cast.acme.organization_id, [about("warm", Severity.warning)])
    text = " ".join(read(PAST).text.split())
    assert "1 (0 in this period) 0 critical, 1 warning, 0 info;" in text
    assert "1 ongoing finding is outside this period, and listed only if critical." in text
    assert "Nothing unusual in this period." in text
    assert listed(read(PAST)) == []


def test_a_finding_that_has_only_ended_in_the_period_does_not_say_that_nothing_goes_on(
    read: Read, cast: Cast, services: Services, found: list[Finding]
) -> None:
    store(services, cast.acme.organization_id, found[1:])
    assert "Nothing unusual" not in read(PAST).text


def test_an_agents_page_counts_and_lists_its_own(read: Read, cast: Cast, services: Services) -> None:
    own = {"agent_id": cast.acme.agent_id, "agent_name": "builder"}
    others = [about("burning", Severity.critical), about("warm", Severity.warning)]
    critical = a_finding(NOON, severity=Severity.critical, summary="See builder.", **own)
    store(services, cast.acme.organization_id, [critical, *others])
    page = read(f"/agents/{cast.acme.agent_id}{PAST}")
    assert "1 ongoing finding is outside this period" in page.text
    assert listed(page) == ["builder"]
    assert f"/dashboard/agents/{cast.acme.agent_id}" in [link["href"] for link in page.all("a")]


def test_a_mark_leads_to_the_findings_own_page_if_its_card_is_not_shown(
    read: Read, cast: Cast, services: Services
) -> None:
    count_usage(services, cast.acme.organization_id, cast.acme.agent_id, NOON, tokens=12)
    march = NOON - timedelta(days=20)
    of_today = [about(f"agent{number}", Severity.warning) for number in range(MAX_FINDINGS - 1)]
    ended = [
        about(f"old{day.day}", Severity.info, agent_id=agent, begins=day, ends=day + timedelta(hours=1))
        for day, agent in ((march, uuid4()), (march - timedelta(days=2), cast.acme.agent_id))
    ]
    ids = store(services, cast.acme.organization_id, of_today + ended)
    page = read()
    assert "And 1 less urgent ones." in page.text
    marks = [link["href"] for link in page.all("a") if link.get("class") == "flag"]
    cards = [f"#{item['id']}" for item in page.all("li") if item.get("class", "").startswith("finding")]
    assert [mark in cards for mark in marks] == [False, True, True]
    assert marks[:2] == [f"/dashboard/findings/{ids['old24']}", f"#finding-{ids['old26']}"]
    # An agent's page has the cards of all its findings.
    marks = [link["href"] for link in read(f"/agents/{cast.acme.agent_id}").all("a") if link.get("class") == "flag"]
    assert marks == [f"#finding-{ids['old24']}"]


def test_the_chart_of_the_busiest_hours_has_the_periods_days_and_its_words_have_their_own(
    read: Read, cast: Cast, services: Services
) -> None:
    count_usage(services, cast.acme.organization_id, cast.acme.agent_id, NOON - timedelta(days=20), tokens=12)
    midnight = NOON.replace(hour=0)
    peak = a_finding(NOON, kind="peak", severity=Severity.info, begins=midnight - timedelta(days=28), ends=midnight)
    with database_of(services, cast.acme.organization_id).transaction() as opened:
        store_evaluation(opened, Found([peak]), findings_query(NOON, services.settings, days=90))
    text = " ".join(read("?from=2026-03-20&to=2026-03-31").text.split())
    assert "info Fri 20 Mar to Tue 31 Mar History Busiest hours" in text
    assert "Most requests in these 12 days: Thursdays, 12:00 to 13:00 UTC" in text
    assert "An average week, Wed 18 Mar to Tue 14 Apr The organization was issued" in text
    page = read(f"/agents/{cast.acme.agent_id}")
    assert "Busiest hours" not in page.text


def test_what_could_not_be_computed_is_not_counted_as_none(read: Read, cast: Cast, services: Services) -> None:
    count_usage(services, cast.acme.organization_id, cast.acme.agent_id, NOON, tokens=12)
    with services.expensive_reads.running(cast.acme.organization_id):
        assert headline(read()).endswith(" not computed")
