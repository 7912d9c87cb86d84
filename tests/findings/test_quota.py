"""``quota``: a quota of which 80 % or more are used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.finding import Severity
from agentidp.findings.quota import compute_findings, severity_of
from agentidp.findings.thresholds import QUOTA_NEAR_PERCENT
from agentidp.oauth.quota_windows import predict_exhaustion
from agentidp.registry.quotas import MAX_TOKENS, set_quota
from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet, amounts, body, build_query, window
from tests.helpers.quotas import ask

MIDNIGHT = NOON.replace(hour=0)


def set_to(fleet: Fleet, agent_id: UUID | None, window: str, tokens: int) -> None:
    """Set an enforced quota of the fleet's organization, or of one of its agents."""
    with fleet.database.transaction() as opened:
        set_quota(opened, agent_id, window, tokens=tokens, is_enforced=True)


def used(window: str, used: int, tokens: int, *, is_enforced: bool = False) -> Any:
    """A row of ``sql/findings/quota.sql``: a quota of the organization."""
    return SimpleNamespace(
        agent_id=None,
        agent_name=None,
        quota_window=window,
        used=used,
        tokens=tokens,
        is_enforced=is_enforced,
        passed_on=None,
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
    query = build_query()
    assert [reported.unit for reported in compute_findings([hour, day, month], query)] == ["tokens in the hour"]
    assert [reported.unit for reported in compute_findings([day, month], query)] == ["tokens in the month"]
    assert compute_findings([used("day", 10, 100)], query) == []


@pytest.mark.parametrize(
    ("tokens_used", "tokens", "runs_out"),
    [
        (0, 100, None),
        # Half of the day is over, so half of the tokens last until it ends.
        (50, 100, None),
        (51, 100, MIDNIGHT + timedelta(hours=12) * (100 / 51)),
        (75, 100, MIDNIGHT + timedelta(hours=16)),
        (100, 100, NOON),
        (120, 100, NOON),
        # The quota lasts for longer than there are dates.
        (1, MAX_TOKENS, None),
    ],
)
def test_runs_out_at_the_pace_of_its_window(tokens_used: int, tokens: int, runs_out: datetime | None) -> None:
    assert predict_exhaustion(tokens_used, tokens, MIDNIGHT, MIDNIGHT + timedelta(days=1), NOON) == runs_out


RUNS_OUT = "at 13:20 UTC on Wednesday, 15 April 2026"
ENDS = "at 00:00 UTC on Thursday, 16 April 2026"


@pytest.mark.parametrize(
    ("hour", "row", "then"),
    [
        (12, (90, 100, False), f"At this pace, it is used up {RUNS_OUT}, before the day ends"),
        (23, (90, 100, False), "At this pace, it lasts until the day ends"),
        (12, (100, 100, True), "Tokens are refused until"),
        (12, (2, 1, False), "It is not enforced, so no token is refused, and the day ends"),
    ],
)
def test_says_what_happens_then(hour: int, row: tuple[int, int, bool], then: str) -> None:
    tokens_used, tokens, is_enforced = row
    [reported] = compute_findings(
        [used("day", tokens_used, tokens, is_enforced=is_enforced)], build_query(NOON.replace(hour=hour))
    )
    percent = f"{100 * tokens_used // tokens} %"
    use = f"used up ({percent})" if tokens_used >= tokens else f"{percent} used"
    quota = f"The organization's quota of {tokens} token{'s' * (tokens > 1)} per day is {use}."
    end = ENDS.removeprefix("at ") if then.endswith("until") else ENDS
    assert reported.summary == f"{quota} {then} {end}."


def test_reports_an_agents_quota_that_will_be_used_before_it_ends(fleet: Fleet) -> None:
    agent_id, deleted = fleet.agent("reader"), fleet.agent("deleted")
    for named_agent in (agent_id, deleted):
        fleet.count(named_agent, NOON, 90)
        set_to(fleet, named_agent, "day", 100)
    fleet.store()
    set_to(fleet, agent_id, "month", 1_000_000)
    assert len(fleet.findings("quota")) == 2
    assert fleet.api.delete(f"agents/{deleted}").status_code == 204
    assert fleet.findings("quota") == [
        body(
            "quota",
            "info",
            (agent_id, "reader"),
            window=window("2026-04-15T00:00", "2026-04-16T00:00"),
            **amounts(90, 100, "tokens in the day", "the agent's quota per day"),
            summary="reader's quota of 100 tokens per day is 90 % used. At this pace, it is used up "
            f"{RUNS_OUT}, before the day ends {ENDS}.",
            causes="There is more work than the quota was made for, or an agent asks for more tokens than it needs.",
            next="See whether other findings explain the tokens. If they are needed, raise the quota, which works at "
            "once.",
        )
    ]


def test_is_critical_while_an_enforced_quota_refuses_tokens(fleet: Fleet, clock: Clock) -> None:
    set_to(fleet, None, "hour", 1)
    assert [ask(fleet.client, fleet.reader).status_code for _ in range(3)] == [200, 429, 429]
    [computed] = fleet.findings("quota")
    # The agents of the hour, not of the day.
    assert [reported["agentId"] for reported in computed["agents"]] == [str(fleet.reader.agent_id)]
    assert (computed["severity"], computed["agentId"], computed["agentCount"]) == (
        "critical",
        None,
        1,
    )
    clock.now = datetime(2026, 4, 15, 13, tzinfo=UTC)
    assert fleet.findings("quota") == []


def test_sums_the_month_whether_or_not_a_token_was_issued_today(fleet: Fleet) -> None:
    agent_id = fleet.agent("reader")
    fleet.count(agent_id, datetime(2026, 3, 31, 23, tzinfo=UTC), 500)
    for day in (1, 14):
        fleet.count(agent_id, datetime(2026, 4, day, 9, tzinfo=UTC), 40)
    fleet.store()
    for holder in (agent_id, None):
        set_to(fleet, holder, "month", 100)
    computed = fleet.findings("quota")
    assert {reported["agentName"]: reported["observed"]["value"] for reported in computed} == {
        "reader": 80,
        None: 80,
    }
    # Since the day on which it was used to 80 %, and not since the month began.
    assert {reported["since"] for reported in computed} == {"2026-04-14T00:00:00.000000Z"}
    # Now the sum of the other days is kept with the organization's quota.
    assert ask(fleet.client, fleet.reader).status_code == 200
    assert {reported["agentName"]: reported["observed"]["value"] for reported in fleet.findings("quota")} == {
        "reader": 80,
        None: 81,
    }
