"""``weekend``: an agent was issued tokens on a day on which the organization, and the agent itself, usually rest.

Statistic: an agent's tokens of the day compared with its highest number on the same weekday in 8 weeks, because an
agent that worked on such a day once may do so again. The excess is compared with the agent's average on other weekdays.

1. The organization's days of rest are two weekdays, by the medians of its tokens: usually Saturday and Sunday.
2. A day is reported if it exceeds the highest number by ``MIN_WEEKEND_TOKENS`` and by a quarter of the average.
3. The weekday must be quiet: the highest number is at most a quarter of the average. If it is more, but at most half,
   only the hours in which the agent rests are judged, because Saturday in UTC begins on Friday evening in America.
4. The finding is a warning from ``MIN_WEEKEND_WARNING_TOKENS`` more than usual on, and otherwise listed.
5. An agent that works on less than two thirds of its other days, such as a monthly job, has no days of rest.

Example: an agent has 80 tokens on an average weekday, and had 0, 0, 5, 0, 2, 0, 0, 0 on the last eight Saturdays. The
highest number is 5, and 25 tokens or more are reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import ONE_DAY, days_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, expand_to_hours, group_adjacent, hours_until, instant, sum_by_day

HISTORY = 7 * thresholds.WEEKEND_WEEKS  # days of history before the days that are judged


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the hourly tokens of agents that worked while the organization usually rests."""
    first_day = _first_history_day(query)
    day_parameters = {"first_day": first_day, "since": first_day + timedelta(days=HISTORY), "until": query.until}
    rest_parameters = {"weeks": thresholds.WEEKEND_WEEKS, "max_rest_days": thresholds.MAX_REST_DAYS}
    limit_parameters = {"min_tokens": thresholds.MIN_WEEKEND_TOKENS, "max_agents": thresholds.MAX_WEEKEND_AGENTS}
    return Call("findings/weekend", day_parameters | rest_parameters | limit_parameters)


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per run of adjacent days of rest on which agents worked."""
    first_day = _first_history_day(query)
    hour_count = hours_until(query.at, first_day)
    # The row without an agent contains the organization's days of rest.
    rest_weekdays = next((row.history for row in rows if row.agent_id is None), ())
    rows_and_histories = [(row, expand_to_hours(row.history, hour_count)) for row in rows if row.agent_id is not None]
    agents_at_work_by_day = {}
    for day in range(HISTORY, -(-hour_count // DAY)):
        begins_at = instant(first_day, day * DAY)
        if begins_at.isoweekday() % 7 in rest_weekdays and not query.is_holiday(begins_at, begins_at + ONE_DAY):
            agents_at_work = [
                (row, *work_tokens)
                for row, tokens_by_hour in rows_and_histories
                if (work_tokens := find_unusual_work(tokens_by_hour, day))
            ]
            if agents_at_work:
                agents_at_work_by_day[day] = agents_at_work
    return [
        _make_finding(days, [agent_at_work for day in days for agent_at_work in agents_at_work_by_day[day]], query)
        for days in group_adjacent(list(agents_at_work_by_day), 1)
    ]


def find_unusual_work(tokens_by_hour: Sequence[int], day: int) -> tuple[int, int] | None:
    """Return an agent's tokens on a day of rest and the usual number, or ``None`` if the tokens are not unusual."""
    tokens_by_day = sum_by_day(tokens_by_hour)
    first_active_day = next(
        (past_day for past_day in range(max(day - HISTORY, 0), day) if tokens_by_day[past_day]), day
    )
    week_count = (day - first_active_day) // 7
    if week_count < thresholds.MIN_WEEKEND_WEEKS:
        return None
    past_days = range(day - 7 * week_count, day)
    usual_tokens = max(tokens_by_day[past_day] for past_day in past_days if (day - past_day) % 7 == 0)
    other_day_tokens = [tokens_by_day[past_day] for past_day in past_days if (day - past_day) % 7]
    average_tokens = sum(other_day_tokens) / len(other_day_tokens)
    has_enough_workdays = 3 * sum(1 for day_tokens in other_day_tokens if day_tokens) >= 2 * len(other_day_tokens)
    if not has_enough_workdays or not _is_work(tokens_by_day[day] - usual_tokens, average_tokens):
        return None
    if 100 * usual_tokens <= thresholds.QUIET_PERCENT * average_tokens:
        return tokens_by_day[day], usual_tokens
    if 100 * usual_tokens <= thresholds.PART_PERCENT * average_tokens:
        resting_hours = find_resting_hours(tokens_by_hour, day, week_count)
        tokens_in_rest = sum(tokens_by_hour[hour] for hour in resting_hours if hour < len(tokens_by_hour))
        if _is_work(tokens_in_rest, average_tokens):
            return tokens_in_rest, 0
    return None


def _is_work(excess: float, average: float) -> bool:
    """Return whether the tokens beyond the usual number are enough to count as work."""
    return excess >= thresholds.MIN_WEEKEND_TOKENS and 100 * excess >= thresholds.QUIET_PERCENT * average


def find_resting_hours(tokens_by_hour: Sequence[int], day: int, week_count: int) -> list[int]:
    """Return the hours of a day in which an agent was active in at most one of the *week_count* weeks before.

    The same must be true of the hours next to each returned hour, because daylight saving moves work by an hour.
    """
    active_week_counts = [
        sum(1 for week in range(1, week_count + 1) if tokens_by_hour[(day - 7 * week) * DAY + hour])
        for hour in range(DAY)
    ]
    return [day * DAY + hour for hour in range(DAY) if max(active_week_counts[max(hour - 1, 0) : hour + 2]) <= 1]


def _first_history_day(query: FindingsQuery) -> date:
    return query.until - timedelta(days=min(query.days, thresholds.MAX_WEEKEND_DAYS) + HISTORY)


def _list_contributors(agents_at_work: list[tuple[Any, int, int]]) -> list[Contributor]:
    """Return each agent with the sum of its tokens on all days of rest, most tokens first."""
    tokens_by_agent: Counter[tuple[UUID, str]] = Counter()
    for row, agent_tokens, _ in agents_at_work:
        tokens_by_agent[row.agent_id, row.agent_name] += agent_tokens
    contributors = [
        Contributor(agent_id=agent_id, agent_name=agent_name, count=token_count)
        for (agent_id, agent_name), token_count in tokens_by_agent.items()
    ]
    return sorted(contributors, key=lambda contributor: (-contributor.count, str(contributor.agent_id)))


def _make_finding(rest_days: list[int], agents_at_work: list[tuple[Any, int, int]], query: FindingsQuery) -> Finding:
    """Return the finding about *rest_days*. *agents_at_work*: a row, tokens and usual tokens per agent and day."""
    agents = _list_contributors(agents_at_work)
    is_alone = len(agents) == 1
    other_agents = "another agent" if len(agents) == 2 else f"{len(agents) - 1:,} other agents"
    begins_at, ends_at = (instant(_first_history_day(query), day * DAY) for day in (rest_days[0], rest_days[-1] + 1))
    issued_tokens = sum(agent.count for agent in agents)
    usual_tokens = sum(agent_usual_tokens for *_, agent_usual_tokens in agents_at_work)
    excess_tokens = issued_tokens - usual_tokens
    return Finding(
        kind="weekend",
        severity=Severity.warning if excess_tokens >= thresholds.MIN_WEEKEND_WARNING_TOKENS else Severity.info,
        agent_id=agents[0].agent_id if is_alone else None,
        agent_name=agents[0].agent_name if is_alone else None,
        begins=begins_at,
        ends=min(query.at, ends_at),
        unit="tokens",
        observed=issued_tokens,
        expected=usual_tokens,
        excess=excess_tokens,
        baseline=f"the highest of the same weekday in up to {thresholds.WEEKEND_WEEKS} weeks before, or none in hours "
        "of rest",
        agents=tuple(agents[: thresholds.MAX_CONTRIBUTORS]),
        agent_count=len(agents),
        summary=f"{agents[0].agent_name} {'was' if is_alone else f'and {other_agents} were'} issued "
        f"{issued_tokens:,} tokens {days_in_words(begins_at.date(), (ends_at - ONE_DAY).date())}, when "
        f"{'it usually rests' if is_alone else 'they usually rest'}.",
        causes="Work that was planned for these days, a schedule that was changed, or somebody else who uses the"
        " credentials.",
        next_step="Ask the people who run these agents. If nobody knows about the work, revoke their credentials.",
    )


KIND = Kind(build_call, compute_findings, absorbs=("spike",), is_about_tokens=True, cause_rank=3)
