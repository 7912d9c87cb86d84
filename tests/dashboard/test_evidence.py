"""The evidence of a finding: the drawn counts, the expected count per bar, and the listed changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace as Row
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.evidence import build_calls, build_evidence
from agentidp.findings.finding import Contributor, StoredFinding
from agentidp.registry.markers import NewMarkerSchema, add_marker
from agentidp.services import Services
from tests.dashboard.conftest import Page
from tests.factories import NOON, Agent, a_finding, known_finding, make_finding

AGENT = UUID(int=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def spike(**changes: object) -> StoredFinding:
    """Return a spike of an agent that ended two hours ago."""
    of = {"agent_id": AGENT, "agent_name": "worker", "begins": NOON - 5 * HOUR, "ends": NOON - 2 * HOUR}
    return known_finding(a_finding(NOON, **(of | changes)))


def test_draws_the_hours_of_a_finding_and_what_was_expected_in_each() -> None:
    finding = spike(unit="tokens", expected=12)
    assert build_calls(finding, NOON)[0].parameters == {"first": NOON.date(), "last": NOON.date(), "agent_id": AGENT}
    rows = [Row(on_day=NOON.date(), at_hour=8, tokens=90, requests=0, rejected=1)]
    [(day, chart)] = build_evidence(finding, NOON, rows, []).charts
    assert (day, len(chart.bars), chart.bars[8].count) == (NOON.date(), 24, 90)
    assert [(bar.when.hour, bar.earlier_count) for bar in chart.earlier_bars] == [(7, 4), (8, 4), (9, 4)]


def test_draws_rejected_requests_by_day_because_their_usual_number_is_that_of_a_day() -> None:
    finding = spike(kind="rejections", unit="rejected requests", expected=12)
    rows = [Row(date=f"{NOON:%Y-%m-%d}", tokens=0, requests=0, rejected=31)]
    [(day, chart)] = build_evidence(finding, NOON, rows, []).charts
    assert (day, [bar.count for bar in chart.bars]) == (None, [0] * 14 + [31])
    assert [(bar.when, bar.earlier_count) for bar in chart.earlier_bars] == [(NOON.date(), 12)]


def test_draws_the_credential_and_not_its_busy_agent() -> None:
    unit = "days left"
    finding = spike(kind="expiring_credential", credential_id=UUID(int=7), unit=unit, ends=NOON + 2 * DAY)
    [tokens, _] = build_calls(finding, NOON)
    assert tokens.name == "analytics/agent_use"
    today, hours = NOON.date(), [1, 1] + [0] * 22
    days = [Row(credential_id=UUID(int=7), resource=name, on_day=today, hours=hours) for name in ("", "https://a")]
    rows = [*days, Row(credential_id=None, resource=None, on_day=today, hours=[900] * 24)]
    drawn = build_evidence(finding, NOON, rows, [])
    assert [bar.count for bar in drawn.charts[0][1].bars] == [0] * 14 + [4]
    assert drawn.limit == "reported from"


def test_draws_the_named_agents_together_unless_some_are_not_named() -> None:
    agents = tuple(Contributor(agent_id=UUID(int=n), agent_name=f"agent {n}", count=1) for n in (1, 2))
    habit = spike(kind="uncached_tokens", unit="tokens", agent_id=None, agents=agents, begins=NOON - 2 * DAY)
    assert [call.parameters.get("agent_id") for call in build_calls(habit, NOON)[:-1]] == [UUID(int=1), UUID(int=2)]
    rows = [[Row(date=f"{NOON:%Y-%m-%d}", tokens=tokens)] for tokens in (3, 4)]
    assert build_evidence(habit, NOON, *rows, []).total == 7
    [usage, _] = build_calls(replace(habit, agent_count=3), NOON)
    assert usage.name == "analytics/usage_by_day"


BUDGET = {
    "kind": "budget",
    "agent_id": None,
    "agent_name": None,
    "unit": "tokens in the month",
    "expected": 3000,
    "begins": NOON - 14 * DAY - 12 * HOUR,
    "ends": NOON + 15 * DAY + 12 * HOUR,
}


def test_draws_a_longer_one_by_day_with_the_days_before_it_and_none_of_the_future() -> None:
    finding = spike(**BUDGET)
    statements = build_calls(finding, NOON)
    assert statements[0].parameters == {"first": date(2026, 3, 18), "last": date(2026, 4, 15)}
    assert [call.name for call in statements] == ["analytics/usage_by_day", "findings/markers"]
    rows = [Row(on_day=date(2026, 3, 31), tokens=5), Row(on_day=date(2026, 4, 1), tokens=7)]
    [(day, chart)] = build_evidence(finding, NOON, rows, []).charts
    assert day is None
    assert [(bar.count, bar.earlier_count) for bar in chart.bars[13:15]] == [(5, None), (7, 100)]
    assert len(chart.bars) == 29


@pytest.mark.parametrize(("agent_id", "is_named"), [(AGENT, True), (None, True), (UUID(int=2), False)])
def test_names_what_was_changed_of_its_agent_or_of_all(agent_id: UUID | None, is_named: bool) -> None:
    marker = Row(kind="deployment", agent_id=agent_id, starts_at=NOON - 6 * HOUR, note="v2")
    changes = build_evidence(spike(), NOON, [], [marker]).changes
    assert changes == ([(NOON - 6 * HOUR, "A deployment was marked", "v2")] if is_named else [])


def test_the_page_shows_the_counts_and_the_changes(signed_in: FlaskClient, acme: Agent, services: Services) -> None:
    acme.count(NOON - HOUR, tokens=1234)
    with acme.database.transaction() as opened:
        at = (NOON - 2 * HOUR).isoformat()
        add_marker(opened, **NewMarkerSchema().load({"kind": "deployment", "startsAt": at, "note": "release 2"}))
    finding_id = make_finding(services, acme.organization_id, a_finding(NOON, begins=NOON - 2 * HOUR, ends=NOON))
    page = Page(signed_in.get(f"/dashboard/findings/{finding_id}"))
    assert "Wed 15 Apr, 11:00-12:00: 1,234 tokens; expected 50" in page.text
    # The table has the same numbers: 100 tokens were expected in two hours.
    assert page.table("Numbers of the chart")[1] == ["Wed 15 Apr, 11:00", "1,234", "50"]
    assert "A deployment was marked: release 2" in page.text


def test_calls_a_budget_no_expectation(signed_in: FlaskClient, acme: Agent, services: Services) -> None:
    finding_id = make_finding(services, acme.organization_id, a_finding(NOON, **BUDGET))
    page = Page(signed_in.get(f"/dashboard/findings/{finding_id}"))
    assert "Tue 14 Apr: 0 tokens; limit, spread evenly 100" in page.text
    assert "Limit: 3,000" in page.text
    title, sentence, *_ = page.text.strip().split(" \N{MIDDLE DOT} AgentIdP")
    assert title and title in sentence
    assert "xpected" not in page.text
