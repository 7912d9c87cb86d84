"""``rejections``: an agent fails to authenticate far more often than it usually does."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.counting import KEEP_NETWORKS, UNKNOWN_AGENT
from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.rejections import compute_findings, find_exceeded_baseline, percentile_75
from tests.factories import NOON, execute
from tests.findings.conftest import Fleet, Lists, Usage, amounts, body, build_query, window

TODAY = NOON.replace(hour=0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BASELINE = "the number of rejected requests that three quarters of the 28 days before did not exceed"


def settled(usage: Usage, name: str = "sync", *, days: int = 28, tokens: int = 1, rejected: int = 0) -> UUID:
    """Add an agent that was issued tokens at 09:00 on each of these days before today."""
    agent_id = usage.agent(name)
    for ago in range(1, days + 1):
        usage.count(agent_id, TODAY - ago * DAY + timedelta(hours=9), tokens, rejected=rejected)
    return agent_id


def shown(lists: Lists, **query: Any) -> list[tuple[str | None, str, str, float]]:
    """Return the name, the window and the observed amount per finding."""
    return [
        (reported.agent_name, f"{reported.begins:%m-%dT%H}", f"{reported.ends:%m-%dT%H:%M}", reported.observed)
        for reported in lists.findings("rejections", **query)
    ]


def test_the_75th_percentile_is_not_exceeded_by_three_quarters() -> None:
    counts: list[list[int]] = [[], [7], [4, 1, 3, 2], [5, 4, 1, 3, 2]]
    assert [percentile_75(named_agent) for named_agent in counts] == [0, 7, 3, 4]


@pytest.mark.parametrize(
    ("earlier_days", "rejected", "usual"),
    [
        ([0] * 28, 14, None),
        ([0] * 28, 15, 0),
        ([20] * 28, 60, None),
        ([20] * 28, 61, 20),
        # What is older is not among them.
        ([900] * 2 + [20] * 28, 61, 20),
        # What goes on for more than a week becomes usual.
        ([0] * 21 + [40] * 7, 40, 0),
        ([0] * 20 + [40] * 8, 40, None),
    ],
)
def test_a_day_has_far_more_than_the_28_before(earlier_days: list[int], rejected: int, usual: int | None) -> None:
    day = len(earlier_days)
    assert find_exceeded_baseline([*earlier_days, rejected], day, [*range(day)]) == usual
    # A day without counts counts as zero, except for the days before the first active day.
    assert find_exceeded_baseline([*earlier_days, rejected], day, [day - 28]) == usual


def test_a_new_agent_had_no_quiet_days_before_its_first_one(lists: Lists) -> None:
    for name, days in (("new", 5), ("steady", 40)):
        settled(lists, name, days=days, rejected=20)
    # The new agent's first day is reported, because nothing was usual before.
    assert shown(lists) == [("new", "04-10T09", "04-10T10:00", 20)]


@pytest.mark.parametrize("days", [7, 30])
def test_an_agent_that_comes_back_is_judged_alike_however_far_back_one_looks(lists: Lists, days: int) -> None:
    lists.count(settled(lists, days=5, rejected=20), TODAY - 45 * DAY, tokens=1)
    assert [reported.observed for reported in lists.findings("rejections", days=days)] == [20]


def test_days_that_follow_one_another_are_one_finding_and_others_are_not(lists: Lists) -> None:
    agent_id = settled(lists)
    lists.count(agent_id, TODAY - 5 * DAY + 3 * HOUR, rejected=20)
    lists.count(agent_id, TODAY - 3 * DAY + 23 * HOUR, rejected=25)
    lists.count(agent_id, TODAY - 2 * DAY, rejected=21)
    lists.count(agent_id, TODAY - 2 * DAY + 5 * HOUR, rejected=1)
    assert shown(lists) == [("sync", "04-12T23", "04-13T06:00", 47), ("sync", "04-10T03", "04-10T04:00", 20)]


def test_the_window_leaves_out_hours_with_no_more_than_usual(lists: Lists) -> None:
    agent_id = settled(lists, rejected=24)
    # Three are three times a usual hour.
    for hour, rejected in ((1, 3), (2, 4), (4, 70), (6, 3)):
        lists.count(agent_id, TODAY + hour * HOUR, rejected=rejected)
    assert shown(lists) == [("sync", "04-15T02", "04-15T05:00", 74)]


def test_the_hour_that_runs_ends_now(lists: Lists) -> None:
    lists.count(settled(lists), NOON, rejected=20)
    now = NOON + timedelta(minutes=10)
    assert shown(lists, now=now) == [("sync", "04-15T12", "04-15T12:10", 20)]


OLD_SECRET = (
    "An instance of it still has an old secret or tokens that are no longer valid, or somebody is guessing its secret."
)


@pytest.mark.parametrize(
    ("tokens", "at", "is_active", "words", "causes"),
    [
        (1, 9, True, "while it was still issued 1 token", OLD_SECRET),
        (0, 1, True, "at a time at which it usually rests", OLD_SECRET),
        (0, 9, False, "and it is suspended or deleted", "Something still uses its credential or its tokens."),
    ],
)
def test_says_what_probably_happened(
    lists: Lists, tokens: int, at: int, is_active: bool, words: str, causes: str
) -> None:
    agent_id = settled(lists)
    lists.count(agent_id, TODAY + at * HOUR, tokens, rejected=40)
    lists.inactive = set() if is_active else {agent_id}
    [reported] = lists.findings("rejections")
    assert reported.summary == f"40 requests of sync failed to authenticate, {words}."
    assert (reported.severity, reported.causes) == (Severity.warning, causes)
    assert is_active is reported.next_step.startswith("Check where the requests come from: if from its own instances")


def test_names_the_reasons_and_the_networks_of_its_days() -> None:
    query = build_query(days=1)
    sources = [
        [28, "192.0.2.0/24", "revoked credential", 1200],
        [28, "198.51.100.0/24", "revoked credential", 60],
        [28, "198.51.100.0/24", "wrong secret", 30],
        [28, "203.0.113.0/24", "wrong secret", 5],
        [28, "2001:db8:1::/48", "wrong secret", 5],
        # Not of its days.
        [27, "10.0.0.0/24", "unknown", 9999],
        [29, "10.0.0.0/24", "unknown", 9999],
    ]
    history = [[28, [1300, *[0] * 23], [0] * 24]]
    row = {"agent_id": UUID(int=1), "agent_name": "sync", "is_active": True, "history": history, "sources": sources}
    [reported] = compute_findings([SimpleNamespace(**row)], query)
    assert reported.summary == (
        "1,300 requests of sync failed to authenticate, at a time at which it usually rests. "
        "Reasons: revoked credential (1,260), wrong secret (40). "
        "Networks: 192.0.2.0/24 (1,200), 198.51.100.0/24 (90), 2001:db8:1::/48 (5) and 1 more."
    )


class TestStatement:
    """The statement selects candidates."""

    def test_a_secret_that_was_not_rolled_out(self, fleet: Fleet) -> None:
        agent_id = settled(fleet)
        for ago in range(2, 29):
            fleet.count(agent_id, TODAY - ago * DAY + 12 * HOUR, 5)
        # Still issued in the hour in which the secret was rotated, and again in the one in which it was rolled out.
        fleet.count(agent_id, TODAY - DAY + 11 * HOUR, 4, rejected=30)
        fleet.count(agent_id, TODAY - DAY + 12 * HOUR, rejected=1200)
        fleet.count(agent_id, TODAY - DAY + 13 * HOUR, 2, rejected=10)
        fleet.store()
        assert fleet.findings("rejections") == [
            body(
                "rejections",
                "critical",
                (agent_id, "sync"),
                window=window("2026-04-14T11:00", "2026-04-14T14:00"),
                **amounts(1240, 0, "rejected requests", BASELINE),
                summary="1,240 requests of sync failed to authenticate, and no token was issued to it meanwhile; "
                "typically it is issued 5 in that time.",
                causes="Its secret was probably rotated, or has expired, and the new one was not rolled out.",
                next="Check which of its credentials are valid, and give its instances a valid one.",
            )
        ]

    def test_reads_the_agents_with_the_most_of_the_days_looked_at(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        least = thresholds.MIN_REJECTED
        for name, at, rejected in (
            ("first hour", TODAY - 6 * DAY, least),
            ("last hour", TODAY + 23 * HOUR, least + 1),
            ("before", TODAY - 6 * DAY - HOUR, 900),
            ("after", TODAY + DAY, 900),
        ):
            fleet.count(settled(fleet, name), at, rejected=rejected)
        fleet.store()
        fleet.services.clock.now = TODAY + 23 * HOUR  # type: ignore[attr-defined]
        assert {reported["agentName"] for reported in fleet.findings("rejections")} == {"first hour", "last hour"}
        monkeypatch.setattr(thresholds, "MAX_REJECTED_AGENTS", 1)
        assert [reported["agentName"] for reported in fleet.findings("rejections")] == ["last hour"]

    @pytest.mark.parametrize("change", ["status = 'suspended'", "deleted_at = now()"])
    def test_says_that_something_uses_an_agent_that_is_suspended_or_deleted(
        self, fleet: Fleet, database_url: str, change: str
    ) -> None:
        agent_id = settled(fleet)
        fleet.count(agent_id, TODAY, rejected=40)
        fleet.store()
        execute(database_url, f"update agents set {change} where agent_id = %s", agent_id)
        [finding] = fleet.findings("rejections")
        assert "and it is suspended or deleted." in finding["summary"]

    def test_names_no_network_of_another_agent_or_that_is_older_than_thirty_days(
        self, fleet: Fleet, database_url: str
    ) -> None:
        agent_id, other = settled(fleet, days=70), fleet.agent("other")
        sources = [(KEEP_NETWORKS - 1, agent_id, 29), (KEEP_NETWORKS, agent_id, 30), (KEEP_NETWORKS - 1, other, 900)]
        for ago in (KEEP_NETWORKS - 1, KEEP_NETWORKS):
            fleet.count(agent_id, TODAY - ago * DAY, rejected=40)
        fleet.store()
        insert = "insert into rejected_networks values (%s, %s, %s, '192.0.2.0/24', 'wrong secret', %s)"
        for ago, whose, number in sources:
            execute(database_url, insert, fleet.organization_id, (TODAY - ago * DAY).date(), whose, number)
        [finding] = fleet.findings("rejections", days=40)
        assert finding["summary"].endswith("Networks: 192.0.2.0/24 (29).")

    def test_subjects_that_get_no_agent_are_named_as_such(self, fleet: Fleet) -> None:
        fleet.count(UNKNOWN_AGENT, TODAY + 9 * HOUR, rejected=120)
        fleet.store()
        [finding] = fleet.findings("rejections")
        assert (finding["severity"], finding["agentId"], finding["agentName"]) == ("warning", None, None)
        assert finding["summary"].startswith("120 requests of subjects that have no agent failed to authenticate.")
