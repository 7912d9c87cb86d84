"""``weekend``: an agent was issued tokens on a day on which the organization, and the agent itself, usually rest.

Statistic: an agent's tokens of the day against its highest number on the same weekday in 8 weeks, because an agent that
worked on such a day once may do so again. The unit is its average over the other weekdays.

1. The organization's days of rest are two weekdays, by the medians of its tokens: as a rule Saturday and Sunday.
2. A day is reported if it exceeds the highest number by ``MIN_WEEKEND_TOKENS`` and by a quarter of the average.
3. The weekday must be quiet: the highest number is at most a quarter of the average. If it is at most half of it, only
   hours count in which the agent rests, because Saturday in UTC begins on Friday evening in the west.
4. It is a warning from ``MIN_WEEKEND_WARNING_TOKENS`` more than usual on, and otherwise listed.
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
from agentidp.findings.dates import days_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, daily, hourly, hours_until, instant, runs

HISTORY = 7 * thresholds.WEEKEND_WEEKS
"""Days of history before the days that are judged."""


def call(query: FindingsQuery) -> Call:
    """Return the statement that reads the histories of agents that worked on days of rest."""
    first_day = _first_day(query)
    days = {"first_day": first_day, "since": first_day + timedelta(days=HISTORY), "until": query.until}
    rest = {"weeks": thresholds.WEEKEND_WEEKS, "max_rest_days": thresholds.MAX_REST_DAYS}
    limits = {"min_tokens": thresholds.MIN_WEEKEND_TOKENS, "max_agents": thresholds.MAX_WEEKEND_AGENTS}
    return Call("findings/weekend", days | rest | limits)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding for each day, or for several adjacent days."""
    length = hours_until(query.at, _first_day(query))
    # The row without an agent has the days of rest of the organization.
    rest_days = next((row.history for row in rows if row.agent_id is None), ())
    agents = [(row, hourly(row.history, length)) for row in rows if row.agent_id is not None]
    work_by_day = {}
    for day in range(HISTORY, -(-length // DAY)):
        begins = instant(_first_day(query), day * DAY)
        is_of_rest = begins.isoweekday() % 7 in rest_days and not query.is_holiday(begins, begins + timedelta(days=1))
        works = [(row, *work) for row, tokens in agents if is_of_rest and (work := unusual_work(tokens, day))]
        if works:
            work_by_day[day] = works
    groups = runs(list(work_by_day), 1)
    return [_finding(days, [work for day in days for work in work_by_day[day]], query) for days in groups]


def unusual_work(tokens: Sequence[int], day: int) -> tuple[int, int] | None:
    """Return the tokens of a day, or of its hours, on which an agent usually rests, and the usual number.

    :returns: ``None`` if the agent did not work then, or usually does not rest then.
    """
    of_days = daily(tokens)
    first = next((place for place in range(max(day - HISTORY, 0), day) if of_days[place]), day)
    weeks = (day - first) // 7
    if weeks < thresholds.MIN_WEEKEND_WEEKS:
        return None
    past = range(day - 7 * weeks, day)
    usual = max(of_days[place] for place in past if (day - place) % 7 == 0)
    other_days = [of_days[place] for place in past if (day - place) % 7]
    average = sum(other_days) / len(other_days)
    works_on_most_days = 3 * sum(1 for count in other_days if count) >= 2 * len(other_days)
    if not works_on_most_days or not _is_activity(of_days[day] - usual, average):
        return None
    if 100 * usual <= thresholds.QUIET_PERCENT * average:
        return of_days[day], usual
    if 100 * usual <= thresholds.PART_PERCENT * average:
        in_rest = sum(tokens[hour] for hour in hours_of_rest(tokens, day, weeks) if hour < len(tokens))
        if _is_activity(in_rest, average):
            return in_rest, 0
    return None


def _is_activity(more: float, average: float) -> bool:
    """Return whether so many tokens more than usual mean that the agent worked."""
    return more >= thresholds.MIN_WEEKEND_TOKENS and 100 * more >= thresholds.QUIET_PERCENT * average


def hours_of_rest(tokens: Sequence[int], day: int, weeks: int) -> list[int]:
    """Return the hours of a day in which an agent worked in at most one of the weeks.

    The hours before and after must be such hours too, because clocks change.
    """
    active = [sum(1 for week in range(1, weeks + 1) if tokens[(day - 7 * week) * DAY + hour]) for hour in range(DAY)]
    return [day * DAY + hour for hour in range(DAY) if max(active[max(hour - 1, 0) : hour + 2]) <= 1]


def _first_day(query: FindingsQuery) -> date:
    return query.until - timedelta(days=min(query.days, thresholds.MAX_WEEKEND_DAYS) + HISTORY)


def _finding(days: list[int], works: list[tuple[Any, int, int]], query: FindingsQuery) -> Finding:
    """Return the finding about adjacent days.

    :param works: the row of an agent, its tokens and the usual tokens, for each day and agent.
    """
    names = {row.agent_id: row.agent_name for row, *_ in works}
    tokens: Counter[UUID] = Counter()
    for row, of_day, _ in works:
        tokens[row.agent_id] += of_day
    agents = [
        Contributor(agent_id=agent_id, agent_name=names[agent_id], count=count)
        for agent_id, count in sorted(tokens.items(), key=lambda item: (-item[1], str(item[0])))
    ]
    alone = agents[0] if len(agents) == 1 else None
    others = "another agent" if len(agents) == 2 else f"{len(agents) - 1:,} other agents"
    begins, ends = (instant(_first_day(query), day * DAY) for day in (days[0], days[-1] + 1))
    issued, usual = sum(tokens.values()), sum(of_day for *_, of_day in works)
    return Finding(
        kind="weekend",
        severity=Severity.warning if issued - usual >= thresholds.MIN_WEEKEND_WARNING_TOKENS else Severity.info,
        agent_id=alone.agent_id if alone else None,
        agent_name=alone.agent_name if alone else None,
        begins=begins,
        ends=min(query.at, ends),
        unit="tokens",
        observed=issued,
        expected=usual,
        excess=issued - usual,
        baseline=f"the highest of the same weekday in up to {thresholds.WEEKEND_WEEKS} weeks before, or none in hours "
        "of rest",
        agents=tuple(agents[: thresholds.MAX_CONTRIBUTORS]),
        agent_count=len(agents),
        summary=f"{agents[0].agent_name} {'was' if alone else f'and {others} were'} issued {issued:,} tokens "
        f"{days_in_words(begins.date(), (ends - timedelta(days=1)).date())}, when "
        f"{'it usually rests' if alone else 'they usually rest'}.",
        causes="Work that was planned for these days, a schedule that was changed, or somebody else who uses the"
        " credentials.",
        next_step="Ask those who run these agents; if nobody knows of it, revoke their credentials.",
    )


KIND = Kind(call=call, findings=findings, absorbs=("spike",), is_about_tokens=True, cause_rank=3)
