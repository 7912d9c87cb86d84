"""One cause is one finding, and the most urgent comes first: on findings made by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from agentidp.findings import thresholds
from agentidp.findings.causes import one_per_cause, urgency
from agentidp.findings.finding import Finding, Severity

NOW = datetime(2026, 4, 15, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def finding(
    kind: str = "spike",
    *,
    agent: int | None = 1,
    begins: timedelta = 3 * HOUR,
    ends: timedelta = timedelta(),
    severity: Severity = Severity.warning,
    excess: float = 100,
) -> Finding:
    """From so long ago to so long ago."""
    return Finding(
        kind=kind,
        severity=severity,
        begins=NOW - begins,
        ends=NOW - ends,
        unit="tokens",
        observed=excess + 10,
        expected=10,
        baseline="",
        summary="",
        causes="",
        next_step="",
        agent_id=UUID(int=agent) if agent else None,
        agent_name=f"agent {agent}" if agent else None,
        excess=excess,
    )


def in_order(*found: Finding) -> list[Finding]:
    """The most urgent first."""
    return sorted(found, key=lambda one: urgency(one, NOW))


def test_what_goes_on_comes_before_what_has_ended_however_severe_that_was() -> None:
    ongoing = finding(begins=HOUR)
    ended = finding(begins=3 * DAY + HOUR, ends=3 * DAY, severity=Severity.critical)
    ended_today = finding(begins=6 * HOUR, ends=5 * HOUR)
    listed = finding(begins=HOUR, severity=Severity.info)
    assert in_order(listed, ended, ended_today, ongoing) == [ongoing, ended_today, ended, listed]


@pytest.mark.parametrize(("ago", "is_first"), [(59, True), (60, False)])
def test_what_ended_within_the_hour_still_goes_on(ago: int, is_first: bool) -> None:
    warning = finding(ends=timedelta(minutes=ago))
    ended = finding(ends=2 * HOUR, severity=Severity.critical)
    assert (in_order(warning, ended)[0] is warning) is is_first


@pytest.mark.parametrize(("hours", "is_first"), [(23, True), (24, False)])
def test_what_ended_within_a_day_comes_before_what_is_older(hours: int, is_first: bool) -> None:
    warning = finding(begins=5 * DAY, ends=hours * HOUR)
    older = finding(begins=5 * DAY, ends=2 * DAY, severity=Severity.critical)
    assert (in_order(warning, older)[0] is warning) is is_first


def test_a_critical_finding_comes_before_a_warning_and_the_newer_before_the_older() -> None:
    critical, older, newer = finding(severity=Severity.critical), finding(begins=4 * HOUR), finding(begins=2 * HOUR)
    assert in_order(older, newer, critical) == [critical, newer, older]


def test_a_habit_of_uncached_tokens_explains_the_spike_with_which_it_begins() -> None:
    habit = finding("uncached_tokens", begins=2 * DAY, severity=Severity.info, excess=50)
    [one] = one_per_cause([finding(begins=DAY + 3 * HOUR, severity=Severity.critical), habit])
    assert one == replace(habit, severity=Severity.critical, excess=100, also_seen_as=("spike",))
    # Amid an old habit it has a cause of its own.
    old = finding("uncached_tokens", begins=3 * DAY)
    assert len(one_per_cause([finding(begins=DAY), old])) == 2


def test_another_agents_or_another_times_finding_has_another_cause() -> None:
    habit = finding("uncached_tokens", begins=2 * DAY)
    assert len(one_per_cause([habit, finding(agent=2, begins=2 * DAY)])) == 2
    assert len(one_per_cause([habit, finding(begins=2 * DAY + 2 * HOUR, ends=2 * DAY + HOUR)])) == 2


@pytest.mark.parametrize(("excess", "number"), [(99, 2), (100, 1)])
def test_a_spike_explains_dominance_if_there_were_none_without_it(excess: int, number: int) -> None:
    dominance = finding("dominance", begins=15 * DAY, excess=100)
    assert len(one_per_cause([dominance, finding(excess=excess)])) == number


def test_what_has_ended_or_is_only_listed_explains_no_dominance() -> None:
    dominance = finding("dominance", begins=15 * DAY, excess=100)
    assert len(one_per_cause([dominance, finding(begins=3 * DAY, ends=DAY, excess=100)])) == 2
    assert len(one_per_cause([dominance, finding(severity=Severity.info, excess=100)])) == 2


def test_a_habit_explains_no_dominance_and_the_spike_with_which_it_begins_does() -> None:
    dominance, habit = finding("dominance", begins=15 * DAY, excess=100), finding("uncached_tokens", excess=100)
    assert {one.kind for one in one_per_cause([dominance, habit])} == {"dominance", "uncached_tokens"}
    [one] = one_per_cause([dominance, habit, finding()])
    assert (one.kind, one.also_seen_as) == ("uncached_tokens", ("dominance", "spike"))


def test_sixty_agents_in_one_loop_of_days_are_one_finding_that_says_sixty() -> None:
    spikes = [finding(agent=agent, begins=2 * DAY) for agent in range(1, 61)]
    habits = [finding("uncached_tokens", agent=agent, begins=2 * DAY) for agent in range(1, 21)]
    [one] = one_per_cause([*spikes, *habits])
    assert (one.agent_count, one.also_seen_as, one.excess) == (60, ("uncached_tokens",), 60 * 100)
    # A habit that is older has another cause.
    assert len(one_per_cause([*spikes, finding("uncached_tokens", agent=1, begins=9 * DAY)])) == 2


def test_a_run_at_the_weekend_explains_a_spike_and_not_a_loop() -> None:
    run = finding("weekend", begins=DAY)
    assert len(one_per_cause([run, finding()])) == 1
    assert len(one_per_cause([run, finding(severity=Severity.critical)])) == 2


def test_a_silence_of_the_organization_explains_its_days_without_a_token_and_that_of_an_agent_does_not() -> None:
    zero_day = finding("zero_day", agent=None, begins=2 * DAY, ends=DAY)
    outage = finding("silence", agent=None, begins=2 * DAY + HOUR, ends=DAY + HOUR, severity=Severity.critical)
    [one] = one_per_cause([zero_day, outage])
    assert (one.kind, one.begins, one.also_seen_as) == ("silence", outage.begins, ("zero_day",))
    assert len(one_per_cause([zero_day, finding("silence", begins=2 * DAY)])) == 2
    # Another day's is another cause.
    assert len(one_per_cause([replace(zero_day, ends=NOW - 47 * HOUR), replace(outage, begins=NOW - 46 * HOUR)])) == 2


@pytest.mark.parametrize(
    ("begins", "ends", "number"),
    [
        # From so many hours after the first of two midnights to so many after it: some of each of two days.
        (23, 25, 1),
        (-9, 25, 1),
        (9, 24, 2),
        (24, 33, 2),
        (-9, 0, 2),
        (48, 57, 2),
    ],
)
def test_a_silence_explains_two_days_without_a_token_if_it_covers_some_of_both(
    begins: int, ends: int, number: int
) -> None:
    zero_days = finding("zero_day", agent=None, begins=4 * DAY, ends=2 * DAY)
    outage = finding("silence", agent=None, begins=4 * DAY - begins * HOUR, ends=4 * DAY - ends * HOUR)
    assert len(one_per_cause([zero_days, outage])) == number


def test_a_silence_of_a_part_explains_no_day_without_a_token() -> None:
    zero_day = finding("zero_day", agent=None, begins=2 * DAY, ends=DAY)
    part = replace(finding("silence", agent=None, begins=2 * DAY, ends=DAY), is_of_part=True)
    assert len(one_per_cause([zero_day, part])) == 2


@pytest.mark.parametrize(
    ("agents", "number"), [(thresholds.COMMON_CAUSE_AGENTS - 1, 3), (thresholds.COMMON_CAUSE_AGENTS, 1)]
)
def test_agents_with_a_spike_from_the_same_hour_on_are_one_finding(agents: int, number: int) -> None:
    spikes = [
        finding(agent=agent, begins=3 * HOUR + (agent % 2) * HOUR, excess=agent) for agent in range(1, agents + 1)
    ]
    found = one_per_cause(spikes)
    assert len(found) == number
    if number == 1:
        [one] = found
        assert (one.agent_id, one.agent_count, one.begins, one.ends) == (None, agents, NOW - 4 * HOUR, NOW)
        assert [each.agent_id for each in one.agents] == [UUID(int=agent) for agent in range(agents, 0, -1)]
        assert one.excess == sum(range(agents + 1))


def test_the_organizations_spike_is_that_of_agents_with_a_common_cause() -> None:
    spikes = [finding(agent=agent) for agent in range(1, thresholds.COMMON_CAUSE_AGENTS + 1)]
    assert len(one_per_cause([*spikes, finding(agent=None)])) == 1
    assert len(one_per_cause([*spikes, finding(agent=None, begins=DAY, ends=20 * HOUR)])) == 2
