"""One cause is one finding, and the most urgent comes first: on findings made by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from agentidp.findings import thresholds
from agentidp.findings.causes import compute_urgency, merge_same_causes
from agentidp.findings.finding import Finding, Severity
from tests.factories import NOON, a_finding

NOW = NOON + timedelta(minutes=30)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
INFO, CRITICAL = Severity.info, Severity.critical


def finding(
    kind: str = "spike",
    *,
    agent: int | None = 1,
    begins: timedelta = 3 * HOUR,
    ends: timedelta = timedelta(),
    severity: Severity = Severity.warning,
    excess: float = 100,
) -> Finding:
    """Return a finding that begins and ends these hours ago."""
    return a_finding(
        NOW,
        kind=kind,
        severity=severity,
        begins=NOW - begins,
        ends=NOW - ends,
        observed=excess + 10,
        expected=10,
        agent_id=UUID(int=agent) if agent else None,
        agent_name=f"agent {agent}" if agent else None,
        excess=excess,
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # What goes on comes before what has ended, however severe that was.
        (finding(ends=59 * HOUR / 60), finding(ends=2 * HOUR, severity=CRITICAL)),
        (finding(ends=2 * HOUR, severity=CRITICAL), finding(ends=HOUR)),
        # What ended within a day comes before what is older.
        (finding(begins=5 * DAY, ends=23 * HOUR), finding(begins=5 * DAY, ends=2 * DAY, severity=CRITICAL)),
        (finding(begins=5 * DAY, ends=2 * DAY, severity=CRITICAL), finding(begins=5 * DAY, ends=DAY)),
        # What is only listed comes last.
        (finding(begins=5 * DAY, ends=2 * DAY), finding(severity=INFO)),
        # Then by severity, and the newer before the older.
        (finding(begins=4 * HOUR, severity=CRITICAL), finding(begins=2 * HOUR)),
        (finding(begins=2 * HOUR), finding(begins=4 * HOUR)),
        (finding(begins=4 * DAY, ends=2 * DAY), finding(begins=3 * DAY, ends=2 * DAY + HOUR)),
    ],
)
def test_the_most_urgent_comes_first(first: Finding, second: Finding) -> None:
    assert compute_urgency(first, NOW) < compute_urgency(second, NOW)


HABIT = finding("uncached_tokens", begins=2 * DAY)
DOMINANCE = finding("dominance", begins=15 * DAY)
WEEKEND = finding("weekend", begins=DAY)


@pytest.mark.parametrize(
    ("reported", "other", "number"),
    [
        (HABIT, finding(begins=2 * DAY), 2),
        (HABIT, DOMINANCE, 2),
        # A spike explains dominance if there were none without it, while it goes on.
        (DOMINANCE, finding(excess=99), 2),
        (DOMINANCE, finding(excess=100), 1),
        (DOMINANCE, finding(begins=3 * DAY, ends=DAY), 2),
        (DOMINANCE, finding(begins=3 * DAY, ends=DAY - HOUR), 1),
        (DOMINANCE, finding(severity=INFO), 2),
        # A run at the weekend explains a spike, and no loop.
        (WEEKEND, finding(), 1),
        (WEEKEND, finding(severity=CRITICAL), 2),
        # A rotated secret shows as a silence; a dormant agent's credentials are unused.
        (finding("rejections"), finding("silence"), 1),
        (finding("dormant_agent"), finding("unused_credential"), 1),
        (finding("rejections"), finding("spike"), 2),
    ],
)
def test_what_has_one_cause_is_one_finding(reported: Finding, other: Finding, number: int) -> None:
    assert len(merge_same_causes([reported, other])) == len(merge_same_causes([other, reported])) == number


def test_what_explains_another_takes_over_its_severity_and_says_so() -> None:
    run, spike = replace(WEEKEND, severity=INFO, excess=50), finding()
    assert merge_same_causes([spike, run]) == [
        replace(run, severity=Severity.warning, excess=100, also_seen_as=("spike",))
    ]
    [reported] = merge_same_causes([DOMINANCE, WEEKEND, finding()])
    assert (reported.kind, reported.also_seen_as) == ("weekend", ("dominance", "spike"))


@pytest.mark.parametrize(
    ("spike", "is_explained"),
    [
        (finding(begins=3 * DAY), True),
        (finding(begins=DAY), True),
        (finding(begins=3 * DAY + HOUR), False),
        (finding(begins=DAY - HOUR), False),
        (finding(begins=2 * DAY, severity=CRITICAL), False),
        (finding(begins=2 * DAY, agent=2), False),
        (finding("weekend", begins=2 * DAY), False),
    ],
)
def test_a_spike_that_begins_with_a_habit_has_its_cause(spike: Finding, is_explained: bool) -> None:
    habit = replace(HABIT, causes="It asks before each call.", next_step="Keep it.")
    explained = replace(spike, causes=habit.causes, next_step=habit.next_step)
    assert merge_same_causes([spike, habit]) == [explained if is_explained else spike, habit]


ENOUGH = thresholds.COMMON_CAUSE_AGENTS


@pytest.mark.parametrize(
    ("agents", "more", "number"),
    [
        (ENOUGH - 1, [], ENOUGH - 1),
        (ENOUGH, [], 1),
        # The weekend runs that begin with these spikes, and no older one.
        (ENOUGH, [finding("weekend", agent=agent) for agent in (1, 2)], 1),
        (ENOUGH, [finding("weekend", begins=9 * DAY)], 2),
        (ENOUGH, [finding("weekend", agent=99)], 2),
        (ENOUGH - 1, [finding(agent=99, severity=INFO)], ENOUGH),
        (ENOUGH - 1, [finding(agent=99, begins=6 * HOUR)], ENOUGH),
    ],
)
def test_agents_with_a_spike_from_the_same_hour_on_are_one_finding(
    agents: int, more: list[Finding], number: int
) -> None:
    spikes = [finding(agent=agent, begins=(3 + agent % 2) * HOUR) for agent in range(1, agents + 1)]
    assert len(merge_same_causes([*spikes, *more])) == number


def test_several_agents_are_summed_up() -> None:
    spikes = [
        finding(agent=agent, begins=(3 + agent % 2) * HOUR, ends=agent * HOUR / 60, excess=agent)
        for agent in range(1, 61)
    ]
    [reported] = merge_same_causes([*spikes, finding("weekend", begins=2 * HOUR)])
    assert (reported.agent_id, reported.agent_count, reported.begins, reported.ends) == (
        None,
        60,
        NOW - 4 * HOUR,
        NOW - HOUR / 60,
    )
    assert [(named_agent.agent_id, named_agent.count) for named_agent in reported.agents] == [
        (UUID(int=agent), agent + 10) for agent in (60, 59, 58, 57, 56)
    ]
    assert (reported.excess, reported.also_seen_as) == (sum(range(61)), ("weekend",))
    assert reported.summary == ("60 agents were issued 2,430 tokens from the same hour on; typically it is 600.")
