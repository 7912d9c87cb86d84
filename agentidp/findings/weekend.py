"""``weekend``: who was issued tokens on a day on which the organization, and the agent itself, usually rest?

Statistic: an agent's tokens of the day against the highest of the same weekday in 8 weeks: who was at work on such a
day once may be so again. The unit is its average over the other weekdays.

1. The organization's days of rest are two weekdays, by the medians of its tokens: as a rule Saturday and Sunday.
2. The day is reported if it exceeds that highest by ``MIN_WEEKEND_TOKENS`` and by a quarter of the average.
3. The weekday must be quiet: that highest is at most a quarter of the average. If it is at most half, only the
   hours count in which the agent rests: a day is one of UTC, and in the west its Friday evening is on Saturday.
4. An agent that works on less than two thirds of its other days has no days of rest, such as a monthly job.

Example: an agent has 80 tokens on an average weekday, and had 0, 0, 5, 0, 2, 0, 0, 0 on the last eight Saturdays. The
highest is 5, and 25 or more are reported.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import days_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Severity
from agentidp.findings.history import DAY, daily, hourly, hours_until

DAYS_OF_WEEK = 7


@dataclass(frozen=True)
class UnusualWork:
    """An agent's tokens on a day of rest, or in its hours of rest if the day is not quiet as a whole."""

    tokens: int
    usual: int
    is_quiet_day: bool


@dataclass(frozen=True)
class WorkOnDay:
    """Unusual work, whose it is, and on which day."""

    day: date
    agent_id: UUID
    agent_name: str
    work: UnusualWork


def call(query: FindingsQuery) -> Call:
    """The histories of agents that were at work on such days."""
    days = min(query.days, thresholds.MAX_WEEKEND_DAYS)
    return Call(
        "findings/weekend",
        {
            "first_day": _first_day(query),
            "until": query.until,
            "since": query.until - timedelta(days=days),
            "weeks": thresholds.WEEKEND_WEEKS,
            "max_rest_days": thresholds.MAX_REST_DAYS,
            "min_tokens": thresholds.MIN_WEEKEND_TOKENS,
            "max_agents": thresholds.MAX_WEEKEND_AGENTS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each day, or for several adjacent ones."""
    first_day = _first_day(query)
    length = hours_until(query.at, first_day)
    # The row without an agent has the organization's days of rest.
    days = _days_of_rest(query, next((row.history for row in rows if row.agent_id is None), ()))
    found = []
    for row in rows:
        if row.agent_id is not None:
            tokens = hourly(row.history, length)
            for day in days:
                if work := unusual_work(tokens, (day - first_day).days):
                    found.append(WorkOnDay(day, row.agent_id, row.agent_name, work))
    return [_finding(group, query) for group in _adjacent(found)]


def _days_of_rest(query: FindingsQuery, rest_days: Collection[int]) -> list[date]:
    """The days looked at that are one of these weekdays (0: Sunday) and no marked holiday, the latest first."""
    days = (query.today - timedelta(days=ago) for ago in range(min(query.days, thresholds.MAX_WEEKEND_DAYS)))
    days_of_rest = [day for day in days if day.isoweekday() % 7 in rest_days]
    return [day for day in days_of_rest if not query.is_holiday(_midnight(day), _midnight(day + timedelta(days=1)))]


def unusual_work(tokens: Sequence[int], day: int) -> UnusualWork | None:
    """Whether an agent was at work on a day on which, or in hours in which, it usually rests.

    :param tokens: by the hour.
    :param day: the index of the day.
    """
    of_days = daily(tokens)
    weeks = weeks_before(of_days, day)
    if weeks < thresholds.MIN_WEEKEND_WEEKS:
        return None
    past = range(day - DAYS_OF_WEEK * weeks, day)
    same = [of_days[each] for each in past if (day - each) % DAYS_OF_WEEK == 0]
    others = [of_days[each] for each in past if (day - each) % DAYS_OF_WEEK]
    average = sum(others) / len(others)
    usual, today = max(same), of_days[day]
    works_on_most_days = 3 * sum(1 for each in others if each) >= 2 * len(others)
    if not works_on_most_days or not _is_activity(today - usual, average):
        return None
    is_quiet_day = 100 * usual <= thresholds.QUIET_PERCENT * average
    is_mostly_quiet_day = 100 * usual <= thresholds.PART_PERCENT * average
    if is_quiet_day:
        return UnusualWork(today, usual, is_quiet_day=True)
    if not is_mostly_quiet_day:
        return None
    in_rest = sum(tokens[hour] for hour in hours_of_rest(tokens, day, weeks) if hour < len(tokens))
    return UnusualWork(in_rest, usual=0, is_quiet_day=False) if _is_activity(in_rest, average) else None


def _is_activity(more: float, average: float) -> bool:
    """Whether so many extra tokens mean that the agent worked."""
    return more >= thresholds.MIN_WEEKEND_TOKENS and 100 * more >= thresholds.QUIET_PERCENT * average


def weeks_before(of_days: Sequence[int], day: int) -> int:
    """Whole weeks from the first token, at most 8 weeks before a day, to that day."""
    begins = max(day - DAYS_OF_WEEK * thresholds.WEEKEND_WEEKS, 0)
    first = next((each for each in range(begins, day) if of_days[each]), day)
    return (day - first) // DAYS_OF_WEEK


def hours_of_rest(tokens: Sequence[int], day: int, weeks: int) -> list[int]:
    """The hours of a day in which, and beside which, an agent was at work in no more than one of the weeks.

    Beside: the clocks change.
    """
    active = [
        sum(1 for week in range(1, weeks + 1) if tokens[(day - DAYS_OF_WEEK * week) * DAY + hour])
        for hour in range(DAY)
    ]
    return [day * DAY + hour for hour in range(DAY) if max(active[max(hour - 1, 0) : hour + 2]) <= 1]


def _adjacent(found: list[WorkOnDay]) -> list[list[WorkOnDay]]:
    """In groups of adjacent days."""
    groups: list[list[WorkOnDay]] = []
    for one in sorted(found, key=lambda each: each.day):
        if groups and one.day - groups[-1][-1].day <= timedelta(days=1):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _first_day(query: FindingsQuery) -> date:
    days = min(query.days, thresholds.MAX_WEEKEND_DAYS)
    return query.until - timedelta(days=days + DAYS_OF_WEEK * thresholds.WEEKEND_WEEKS)


def _finding(group: list[WorkOnDay], query: FindingsQuery) -> Finding:
    agents: dict[UUID, Contributor] = {}
    for one in group:
        before = agents[one.agent_id].count if one.agent_id in agents else 0
        agents[one.agent_id] = Contributor(
            agent_id=one.agent_id, agent_name=one.agent_name, count=before + one.work.tokens
        )
    ordered = sorted(agents.values(), key=lambda each: (-each.count, str(each.agent_id)))
    first, last = group[0].day, group[-1].day
    is_quiet = all(one.work.is_quiet_day for one in group)
    tokens, usual = sum(one.work.tokens for one in group), sum(one.work.usual for one in group)
    alone = ordered[0] if len(ordered) == 1 else None
    return Finding(
        kind="weekend",
        severity=Severity.warning,
        agent_id=alone.agent_id if alone else None,
        agent_name=alone.agent_name if alone else None,
        begins=_midnight(first),
        ends=min(query.at, _midnight(last + timedelta(days=1))),
        unit="tokens",
        observed=tokens,
        expected=usual,
        excess=tokens - usual,
        baseline=f"the highest of the same weekday in up to {thresholds.WEEKEND_WEEKS} weeks before"
        + ("" if is_quiet else ", of its hours that are usually quiet if the day is not"),
        agents=tuple(ordered[: thresholds.MAX_CONTRIBUTORS]),
        agent_count=len(ordered),
        summary=f"{_who(ordered)} {'was' if alone else 'were'} issued {tokens:,} tokens {days_in_words(first, last)}, "
        f"{_usually(is_quiet, first == last)}.",
        causes="Work that was planned for these days, a schedule that was changed, or somebody else who uses the"
        " credentials.",
        next_step="Ask those who run these agents; if nobody knows of it, revoke their credentials.",
    )


def _who(agents: list[Contributor]) -> str:
    name, number = agents[0].agent_name, len(agents)
    if number == 1:
        return name
    return f"{name} and {'another agent' if number == 2 else f'{number - 1:,} other agents'}"


def _usually(is_quiet: bool, is_one_day: bool) -> str:
    if not is_quiet:
        return "in hours that are usually quiet"
    return f"usually {'a quiet day' if is_one_day else 'quiet days'}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
