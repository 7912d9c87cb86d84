"""``spike``: an agent is issued far more tokens than usual at that time.

Which hours are unusual is tested in ``test_surprise.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from agentidp.findings import spike, thresholds
from agentidp.findings.finding import Finding, Severity
from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet, Lists, Usage, amounts, body, window

TODAY = NOON.replace(hour=0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Rhythm = Callable[[datetime], int]


def settled(usage: Usage, name: str, tokens: Rhythm, *, now: datetime = TODAY, days: int = 64) -> UUID:
    """An agent that has worked on so many days, up to the hour before *now*."""
    agent_id = usage.agent(name)
    usage.work(agent_id, now.replace(hour=0) - days * DAY, now, tokens)
    return agent_id


def office(at: datetime) -> int:
    """Ten an hour from Monday to Friday, from 8 to 16."""
    return 10 * (at.weekday() < 5 and 8 <= at.hour < 16)


def steady(at: datetime) -> int:
    """Two an hour."""
    return 2


def shown(findings: list[Finding]) -> list[tuple[str | None, str, str, float]]:
    """Return the name, the window and the observed amount per finding."""
    return [
        (reported.agent_name, f"{reported.begins:%m-%dT%H}", f"{reported.ends:%m-%dT%H:%M}", reported.observed)
        for reported in findings
    ]


def test_unusual_hours_with_less_than_a_day_between_them_are_one_spike(lists: Lists) -> None:
    looping = settled(lists, "looping", office, now=NOON)
    settled(lists, "quiet", steady, now=NOON)
    for hours, tokens in ((9 - 24, 1000), (10 - 24, 1000), (11 - 24, 1000), (10, 500), (9 - 72, 700)):
        lists.count(looping, TODAY + hours * HOUR, tokens)
    assert shown(lists.findings("spike")) == [
        ("looping", "04-14T09", "04-15T11:00", 3540),
        ("looping", "04-12T09", "04-12T10:00", 700),
    ]


def test_what_lasts_for_days_is_found_from_its_beginning_whatever_is_asked_for(lists: Lists) -> None:
    agent_id = settled(lists, "agent", steady, now=NOON, days=91)
    lists.work(agent_id, TODAY - 5 * DAY, NOON, lambda at: 40)
    windows = {tuple(shown(lists.findings("spike", days=days))[0][1:3]) for days in (1, 3, 7)}
    assert windows == {("04-10T00", "04-15T12:00")}


@pytest.mark.parametrize(("hours", "is_found"), [(-1, False), (0, True)])
def test_is_looked_for_from_the_first_hour_of_the_days_on(lists: Lists, hours: int, is_found: bool) -> None:
    lists.count(settled(lists, "agent", steady), TODAY - 6 * DAY + hours * HOUR, 300)
    assert len(lists.findings("spike")) == is_found


@pytest.mark.parametrize(
    ("more", "severity", "expected", "summary"),
    [
        (
            {(days, hour): 20 for days in (10, 20, 1, 2, 3) for hour in range(8)},
            Severity.warning,
            480,
            "agent was issued 960 tokens in the 8 hours up to 08:00 UTC on Tuesday, 14 April 2026 and the same hours "
            "of the 2 days before; typically it is 480.",
        ),
        (
            {(days, hour): 90 for days in (20, 1) for hour in range(9, 13)},
            Severity.info,
            80,
            "agent was issued 440 tokens in 4 hours; typically it is 80. In the hour from 09:00 UTC on Tuesday, 14 "
            "April 2026 it was issued 110; typically it is 20. It is only listed, because "
            "Thursday, 26 March 2026 was as unusual.",
        ),
        (
            {(1, 16): 90, (1, 22): 300, (0, 3): 300},
            Severity.warning,
            60,
            "agent was issued 750 tokens in 3 hours; typically it is 60. In the hour from 16:00 UTC on Tuesday, 14 "
            "April 2026 it was issued 110; typically it is 20.",
        ),
        (
            {(days, hour): 180 for days in range(1, 7) for hour in range(24)},
            Severity.warning,
            2880,
            "agent was issued 28,800 tokens in 144 hours; typically it is 2,880. In the hour from 00:00 UTC on "
            "Thursday, 9 April 2026 it was issued 200; typically it is 20. After 5 days it is a new level, with which "
            "later hours are compared.",
        ),
    ],
)
def test_says_what_decided(
    lists: Lists, more: dict[tuple[int, int], int], severity: Severity, expected: float, summary: str
) -> None:
    agent_id = settled(lists, "agent", lambda _: 20, now=NOON, days=91)
    for (days, hour), tokens in more.items():
        lists.count(agent_id, TODAY - days * DAY + hour * HOUR, tokens)
    [reported] = lists.findings("spike")
    assert (reported.severity, reported.expected, reported.summary) == (severity, expected, summary)
    assert reported.causes == (
        "It has more to do than usual, or no longer keeps its tokens, or somebody else uses its credential."
    )


def test_the_limit_grows_with_the_number_of_agents(lists: Lists) -> None:
    agent_id = settled(lists, "agent", lambda _: 20, now=NOON, days=91)
    lists.count(agent_id, TODAY - 20 * DAY, 70)
    lists.count(agent_id, NOON - HOUR, 120)
    assert [reported.severity for reported in lists.findings("spike")] == [Severity.warning]
    for number in range(4):
        settled(lists, f"quiet {number}", steady, now=NOON)
    assert [reported.severity for reported in lists.findings("spike")] == [Severity.info]


@pytest.mark.parametrize(
    ("days", "tokens", "is_found"),
    [
        (0, thresholds.NEW_TOKENS - 1, False),
        (0, thresholds.NEW_TOKENS, True),
        # The last day without a baseline, and the first one with one.
        (13, 2000, True),
        (14, 2000, True),
    ],
)
def test_a_new_agent_has_a_limit(lists: Lists, days: int, tokens: int, is_found: bool) -> None:
    settled(lists, "settled", steady, now=NOON)
    newcomer = settled(lists, "newcomer", steady, days=days)
    lists.work(newcomer, TODAY, TODAY + 6 * HOUR, lambda at: tokens)
    assert ("newcomer" in [reported.agent_name for reported in lists.findings("spike")]) is is_found


@pytest.mark.slow
class TestStatement:
    """The statement selects candidates."""

    def test_finds_a_retry_loop_while_its_first_hour_runs(self, fleet: Fleet, clock: Clock) -> None:
        # Their credentials are created long before, or that would be among the causes.
        clock.now = NOON - 70 * DAY
        looping = settled(fleet, "looping", office, now=NOON)
        settled(fleet, "quiet", steady, now=NOON)
        clock.now = NOON + timedelta(minutes=20)
        fleet.count(looping, NOON, 1500)
        fleet.store()
        assert fleet.findings("spike") == [
            body(
                "spike",
                "critical",
                (looping, "looping"),
                window=window("2026-04-15T12:00", "2026-04-15T12:20"),
                **amounts(1500, 10, "tokens", spike.BASELINE),
                summary="looping was issued 1,500 tokens in an hour; typically it is 10.",
                causes="It is probably in a retry loop: it asks for a token again and again without a pause.",
                next="Check its log for what fails after it has a token. If the requests are not its own, revoke "
                "its credential.",
            )
        ]

    @pytest.mark.parametrize(("ago", "days", "is_found"), [(6, 7, True), (7, 7, False), (0, 1, True), (-1, 7, False)])
    def test_a_day_is_looked_at_or_it_is_not(self, fleet: Fleet, ago: int, days: int, is_found: bool) -> None:
        agent_id = settled(fleet, "agent", lambda at: office(at) // 10 * (at.hour == 9), days=170)
        fleet.count(agent_id, TODAY - ago * DAY + (23 * HOUR if ago else HOUR), 300)
        fleet.store()
        assert [reported["agentName"] for reported in fleet.findings("spike", days=days)] == ["agent"] * is_found

    def test_counts_of_several_slots_may_exceed_four_bytes(self, fleet: Fleet) -> None:
        fleet.count(settled(fleet, "huge", steady), TODAY + 9 * HOUR, 3_000_000_000)
        fleet.store(slots=2)
        assert [reported["observed"]["value"] for reported in fleet.findings("spike")] == [3_000_000_000]

    @pytest.mark.parametrize("limit", ["MAX_SPIKE_SUSPECTS", "MAX_SPIKE_AGENTS"])
    def test_looks_first_into_the_agents_that_grew_the_most(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        monkeypatch.setattr(thresholds, limit, 1)
        looping = settled(fleet, "looping", office, now=NOON)
        settled(fleet, "busy", lambda at: 1000, now=NOON)
        settled(fleet, "quiet", steady, now=NOON)
        fleet.count(looping, NOON - HOUR, 2000)
        fleet.store()
        assert [reported["agentName"] for reported in fleet.findings("spike")] == ["looping"]
