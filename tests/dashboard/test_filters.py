"""The filters that write the dates, times and names of findings."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.filters import (
    build_finding_html,
    build_next_link,
    count_incidents,
    describe_begin_or_end,
    format_dates,
    format_time_range,
    hour_label,
)
from agentidp.findings.finding import Contributor
from agentidp.findings.incidents import Incident
from agentidp.findings.kinds import KINDS
from tests.factories import NOON, Agent, a_finding, known_finding

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("sentence", "written"),
    [
        ("exceed the budget on 2026-04-26.", "exceed the budget on Sun 26 Apr."),
        ("on Monday 2025-11-24 14:00-15:00 UTC.", "on Mon 24 Nov 2025 14:00-15:00 UTC."),
        ("since 20:00 UTC on Saturday, 11 April 2026, 4 days", "since 20:00 UTC on Sat 11 Apr, 4 days"),
        ("of 12,345 2026 tokens", "of 12,345 2026 tokens"),
        ("job-2026-04-26 and 2026-04-26-job", "job-2026-04-26 and 2026-04-26-job"),
        ("2026-02-30 and 31 Smarch 2026", "2026-02-30 and 31 Smarch 2026"),
    ],
)
def test_dates_have_one_format(sentence: str, written: str) -> None:
    assert format_dates(sentence, NOON) == written


def test_the_names_of_agents_stay_as_they_are_and_can_be_links() -> None:
    finding = a_finding(NOON, agent_id=UUID(int=1), agent_name="2026-04-26")
    assert build_finding_html("2026-04-26 since 2026-04-01", finding, NOON) == "<bdi>2026-04-26</bdi> since Wed 1 Apr"
    several = a_finding(NOON, agents=BOTH)
    assert build_finding_html("agent 2 and <agent 1>, agent 1", several, NOON, "/d") == (
        f'<a href="/d/agents/{UUID(int=2)}"><bdi>agent 2</bdi></a> and &lt;'
        f'<a href="/d/agents/{UUID(int=1)}"><bdi>agent 1</bdi></a>&gt;, agent 1'
    )


MIDNIGHT = NOON.replace(hour=0)
MONDAY, TODAY = '<time datetime="2026-04-13">Mon 13 Apr</time>', '<time datetime="2026-04-15">Wed 15 Apr</time>'
NINE = '<time datetime="2026-04-15T09:00Z">Wed 15 Apr, 09:00 UTC</time>'
TEN = '<time datetime="2026-04-15T10:00Z">10:00 UTC</time>'
FIRST_HOUR = '<time datetime="2026-04-13T00:00Z">Mon 13 Apr, 00:00 UTC</time>'
LATE = '<time datetime="2026-04-13T23:00Z">Mon 13 Apr, 23:00 UTC</time>'


@pytest.mark.parametrize(
    ("begins", "ends", "ended", "written"),
    [
        # The finding is ongoing, and was evaluated a minute before the page was made.
        (NOON - 3 * HOUR, NOON - MINUTE, False, f"since {NINE}"),
        (MIDNIGHT - 2 * DAY, NOON - MINUTE, False, f"since {FIRST_HOUR}"),
        # The finding is ongoing, and its window ended after the last evaluation.
        (NOON - 3 * HOUR, NOON, False, f"since {NINE}"),
        # The finding is ongoing although its window has ended, or it has ended.
        (NOON - 3 * HOUR, NOON - 2 * HOUR, False, f"{NINE} to {TEN}"),
        (NOON - 3 * HOUR, NOON - 2 * HOUR, True, f"{NINE} to {TEN}"),
        (MIDNIGHT - HOUR - DAY, NOON - 2 * HOUR, True, f"{LATE} to {TEN.replace('>10', '>Wed 15 Apr, 10')}"),
        (NOON - 3 * HOUR, NOON - MINUTE, True, f"{NINE} to {TEN.replace('10:00', '11:59')}"),
        # The window is whole days.
        (MIDNIGHT - 2 * DAY, MIDNIGHT + DAY, False, f"{MONDAY} to {TODAY}"),
        (MIDNIGHT - 2 * DAY, MIDNIGHT - DAY, True, MONDAY),
    ],
)
def test_the_time_that_a_finding_is_about(begins: datetime, ends: datetime, ended: bool, written: str) -> None:
    finding = a_finding(NOON, begins=begins, ends=ends)
    stored = known_finding(finding, last_seen_at=NOON - MINUTE, ended_at=ends if ended else None)
    assert format_time_range(stored, NOON) == written


@pytest.mark.parametrize(
    ("begins", "ended_at", "written"),
    [
        (NOON - 3 * HOUR, None, "since Wed 15 Apr, 09:00"),
        (NOON - 2 * DAY, None, "since Mon 13 Apr, 12:00"),
        (NOON - 2 * DAY - MINUTE, None, "since Mon 13 Apr"),
        (MIDNIGHT, None, "since Wed 15 Apr"),
        (NOON - 3 * DAY, NOON - DAY, "ended Tue 14 Apr"),
        # The finding lasted the whole of Tuesday.
        (MIDNIGHT - DAY, MIDNIGHT, "ended Tue 14 Apr"),
    ],
)
def test_since_when_a_finding_goes_on_or_when_it_ended(
    begins: datetime, ended_at: datetime | None, written: str
) -> None:
    assert describe_begin_or_end(known_finding(a_finding(NOON, begins=begins), ended_at=ended_at), NOON) == written


@pytest.mark.parametrize(
    ("passed", "written"), [(MIDNIGHT - 3 * DAY, "since Sun 12 Apr"), (None, "reported since Wed 15 Apr, 09:00")]
)
def test_a_budget_is_exceeded_since_a_day_and_will_be_since_that_is_known(
    passed: datetime | None, written: str
) -> None:
    budget = a_finding(NOON, kind="budget", begins=MIDNIGHT.replace(day=1), since=passed)
    assert describe_begin_or_end(known_finding(budget, first_seen_at=NOON - 3 * HOUR), NOON) == written


AGENT = {"agent_id": UUID(int=1), "agent_name": "builder"}
BOTH = tuple(Contributor(agent_id=UUID(int=n), agent_name=f"agent {n}", count=1) for n in (1, 2))


def test_incidents_count_incidents() -> None:
    ongoing = Incident(known_finding(a_finding(NOON)), (known_finding(a_finding(NOON)),))
    old = Incident(known_finding(a_finding(NOON, begins=NOON - DAY), acknowledged_at=NOON))
    begins, ended_at = NOON - 2 * DAY, NOON - DAY
    ended = Incident(known_finding(a_finding(NOON, begins=begins), ended_at=ended_at, acknowledged_at=NOON))
    # An incident is new by its beginning, not by the time at which it was first seen.
    assert (
        count_incidents([Incident(replace(ongoing.head, first_seen_at=NOON - DAY))], NOON)
        == "1 ongoing, 0 ended, 1 new in 24 hours"
    )
    assert count_incidents([ongoing, old, ended], NOON) == "2 ongoing, 1 ended, 1 acknowledged, 1 new in 24 hours"
    assert count_incidents([ended], NOON) == "0 ongoing, 1 ended"


@pytest.mark.parametrize(
    ("kind", "about", "address", "place"),
    [
        ("budget", {}, "/agents?month=2026-04", "Agents of April"),
        ("spike", {}, "/days/2026-04-15", "Hours of Wednesday, 15 April"),
        ("spike", AGENT, f"/agents/{UUID(int=1)}/days/2026-04-15", "Hours of Wednesday, 15 April"),
        ("silence", {}, "/days/2026-04-15", "Hours of Wednesday, 15 April"),
        ("rejections", AGENT, f"/agents/{UUID(int=1)}", "Page of builder"),
        ("uncached_tokens", AGENT, f"/agents/{UUID(int=1)}", "Page of builder"),
        ("uncached_tokens", {"agents": BOTH}, "/agents?unusual=1", "Agents with findings"),
        ("quota", AGENT, f"/agents/{UUID(int=1)}", "Page of builder"),
        ("quota", {}, "/quotas", "Quotas"),
        ("quota", {"agents": BOTH}, f"/agents/{UUID(int=1)}", "Page of agent 1"),
        ("budget", {"agents": BOTH}, f"/agents/{UUID(int=1)}", "Page of agent 1"),
    ],
)
def test_the_next_step_leads_to_where_it_begins(kind: str, about: dict[str, Any], address: str, place: str) -> None:
    assert build_next_link(a_finding(NOON, kind=kind, **about)) == (address, place)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("about", [{}, AGENT])
def test_the_next_step_of_every_kind_leads_to_a_page(
    signed_in: FlaskClient, acme: Agent, kind: str, about: dict[str, Any]
) -> None:
    address, _ = build_next_link(a_finding(NOON, kind=kind, **(about and about | {"agent_id": acme.agent_id})))
    assert signed_in.get(f"/dashboard{address}").status_code == 200


def test_an_hour_is_written_as_one() -> None:
    assert hour_label(NOON.replace(hour=23), NOON) == "Wed 15 Apr, 23:00-00:00"
