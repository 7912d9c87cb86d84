"""``quota``: a quota of which 80 % or more are used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.finding import FindingsQuery, Severity
from agentidp.findings.quota import findings, severity_of
from agentidp.findings.thresholds import QUOTA_NEAR_PERCENT
from agentidp.oauth.quotas import exhausted_at
from agentidp.registry.quotas import MAX_TOKENS, set_quota
from tests.factories import NOON, Clock, database_of
from tests.findings.conftest import Fleet
from tests.oauth.test_quotas import ask

MIDNIGHT = NOON.replace(hour=0)


def set_to(fleet: Fleet, agent_id: UUID | None, window: str, tokens: int, *, enforce: bool) -> None:
    """Set a quota of the fleet's organization, or of one of its agents."""
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        set_quota(opened, agent_id, window, tokens=tokens, is_enforced=enforce)


def used(window: str, used: int, tokens: int, *, is_enforced: bool = False) -> Any:
    """A row of ``sql/findings/quota.sql``: a quota of the organization."""
    return SimpleNamespace(
        agent_id=None, agent_name=None, quota_window=window, used=used, tokens=tokens, is_enforced=is_enforced
    )


@pytest.mark.parametrize(
    ("tokens_used", "is_enforced", "severity"),
    [
        (QUOTA_NEAR_PERCENT - 1, True, None),
        (QUOTA_NEAR_PERCENT, True, Severity.info),
        (99, True, Severity.info),
        (100, True, Severity.critical),
        (99, False, Severity.info),
        (100, False, Severity.warning),
        (101, False, Severity.warning),
    ],
)
def test_is_as_urgent_as_it_is_near(tokens_used: int, is_enforced: bool, severity: Severity | None) -> None:
    assert severity_of(tokens_used, 100, is_enforced=is_enforced) is severity


def test_the_most_urgent_of_several_is_reported_and_of_these_the_one_that_ends_last() -> None:
    hour, day = used("hour", 100, 100, is_enforced=True), used("day", 90, 100, is_enforced=True)
    month = used("month", 85, 100, is_enforced=True)
    query = FindingsQuery(at=NOON, days=7, token_ttl=3600, dominance_percent=80)
    assert [one.unit for one in findings([hour, day, month], query)] == ["tokens in the hour"]
    assert [one.unit for one in findings([day, month], query)] == ["tokens in the month"]
    assert findings([used("day", 10, 100)], query) == []


@pytest.mark.parametrize(
    ("tokens_used", "runs_out"),
    [
        (0, None),
        # Half of the day is over, so half of the tokens last until it ends.
        (50, None),
        (51, MIDNIGHT + timedelta(hours=12) * (100 / 51)),
        (75, MIDNIGHT + timedelta(hours=16)),
        (100, NOON),
        (120, NOON),
    ],
)
def test_runs_out_at_the_pace_of_its_window(tokens_used: int, runs_out: datetime | None) -> None:
    assert exhausted_at(tokens_used, 100, MIDNIGHT, MIDNIGHT + timedelta(days=1), NOON) == runs_out


def test_a_pace_that_lasts_for_longer_than_there_are_dates_lasts() -> None:
    assert exhausted_at(1, MAX_TOKENS, MIDNIGHT, MIDNIGHT + timedelta(days=30), NOON) is None


def test_reports_an_agents_quota_that_will_be_used_before_it_ends(fleet: Fleet) -> None:
    agent_id = fleet.agent("reader")
    fleet.count(agent_id, NOON, 90)
    fleet.store()
    set_to(fleet, agent_id, "day", 100, enforce=True)
    set_to(fleet, agent_id, "month", 1_000_000, enforce=True)
    assert fleet.findings("quota") == [
        {
            "kind": "quota",
            "severity": "info",
            "agentId": str(agent_id),
            "agentName": "reader",
            "window": {"from": "2026-04-15T00:00:00.000000Z", "to": "2026-04-16T00:00:00.000000Z"},
            "observed": {"value": 90, "unit": "tokens in the day"},
            "expected": {"value": 100, "unit": "tokens in the day", "baseline": "the agent's quota per day"},
            "agents": [],
            "agentCount": 1,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "90 % of reader's quota of 100 tokens per day is used. At this pace nothing is left at 13:20 "
            "UTC on Wednesday, 15 April 2026, before it ends at 00:00 UTC on Thursday, 16 April 2026.",
            "causes": "There is more work than the quota was made for, or an agent asks for more tokens than it needs.",
            "next": "See whether other findings explain the tokens. If they are needed, raise the quota, which works "
            "at once.",
        }
    ]


def test_reports_an_enforced_quota_that_refuses_tokens(fleet: Fleet) -> None:
    set_to(fleet, None, "hour", 1, enforce=True)
    assert [ask(fleet.client, fleet.reader).status_code for _ in range(3)] == [200, 429, 429]
    [found] = fleet.findings("quota")
    assert (found["severity"], found["agentId"], found["agentCount"]) == ("critical", None, 0)
    assert found["summary"] == (
        "100 % of the organization's quota of 1 token per hour is used. Tokens are refused until it ends, at 13:00 UTC "
        "on Wednesday, 15 April 2026."
    )


def test_a_quota_that_only_observes_is_a_warning(fleet: Fleet) -> None:
    set_to(fleet, fleet.reader.agent_id, "hour", 1, enforce=False)
    assert [ask(fleet.client, fleet.reader).status_code for _ in range(2)] == [200, 200]
    [found] = fleet.findings("quota")
    assert (found["severity"], found["agentId"]) == ("warning", str(fleet.reader.agent_id))
    assert found["summary"].startswith("200 % of ")
    assert "It is not enforced, so no token is refused." in found["summary"]


def test_ends_with_its_window(fleet: Fleet, clock: Clock) -> None:
    set_to(fleet, None, "hour", 1, enforce=True)
    ask(fleet.client, fleet.reader)
    assert fleet.findings("quota")
    clock.now = datetime(2026, 4, 15, 13, tzinfo=UTC)
    assert fleet.findings("quota") == []


def test_nothing_is_said_of_another_organizations_quota(fleet: Fleet, outsiders: Fleet) -> None:
    set_to(outsiders, None, "hour", 1, enforce=True)
    ask(fleet.client, outsiders.reader)
    assert outsiders.findings("quota")
    assert fleet.findings("quota") == []


def test_sums_the_month_whether_or_not_a_token_was_issued_today(fleet: Fleet, clock: Clock) -> None:
    agent_id = fleet.agent("reader")
    fleet.count(agent_id, datetime(2026, 3, 31, 23, tzinfo=UTC), 500)
    for day in (1, 14):
        fleet.count(agent_id, datetime(2026, 4, day, 9, tzinfo=UTC), 40)
    fleet.store()
    for holder in (agent_id, None):
        set_to(fleet, holder, "month", 100, enforce=True)
    assert {one["agentName"]: one["observed"]["value"] for one in fleet.findings("quota")} == {"reader": 80, None: 80}
    # Now the sum of the other days is kept with the organization's quota.
    assert ask(fleet.client, fleet.reader).status_code == 200
    assert {one["agentName"]: one["observed"]["value"] for one in fleet.findings("quota")} == {"reader": 80, None: 81}
