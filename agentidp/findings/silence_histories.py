"""The histories by which ``silence`` judges agents and the organization."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from agentidp.db.sql import Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import FindingsQuery
from agentidp.findings.history import DAY, hourly, hours_until, instant

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Agent:
    """An agent and its requests by the hour."""

    agent_id: UUID
    name: str
    is_sampled: bool
    counts: list[int]


@dataclass(frozen=True)
class Histories:
    """What the agents did in each of ``length`` hours from ``first_day`` on.

    Findings are of the hours from ``looked_at`` on. What a silent agent has missed may lie before, so the organization
    is judged from ``known_from`` on, by the agents of the ``sample``. ``active`` is how many of them were active in
    each hour. ``holidays`` are the hours within a holiday, ``free_days`` the days that are a holiday as a whole.
    """

    first_day: date
    length: int
    looked_at: int
    known_from: int
    agents: list[Agent]
    sample: list[Agent]
    active: list[int]
    holidays: set[int]
    free_days: set[int]


def histories_of(rows: Rows, query: FindingsQuery) -> Histories:
    """From the rows of ``findings/silence``."""
    first_day = first_day_of(query)
    length = hours_until(query.at, first_day)
    looked_at = (query.since - first_day).days * DAY
    agents = [Agent(row.agent_id, row.agent_name, row.is_sampled, hourly(row.history, length)) for row in rows]
    sample = [one for one in agents if one.is_sampled]
    holidays = _hours_of_holidays(length, first_day, query)
    return Histories(
        first_day=first_day,
        length=length,
        looked_at=looked_at,
        known_from=min(looked_at, length - (7 * thresholds.MAX_SILENCE_WEEKS + 1) * DAY),
        agents=agents,
        sample=sample,
        active=[sum(1 for one in sample if one.counts[hour]) for hour in range(length)],
        holidays=holidays,
        free_days={day for day in range(length // DAY) if holidays.issuperset(range(day * DAY, (day + 1) * DAY))},
    )


def first_day_of(query: FindingsQuery) -> date:
    """The day from which on histories are read."""
    weeks = thresholds.SILENCE_WEEKS
    return query.today - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 7 * weeks)


def _hours_of_holidays(length: int, first_day: date, query: FindingsQuery) -> set[int]:
    """The hours that lie within a holiday."""
    begins = instant(first_day, 0)
    hours: set[int] = set()
    for first, last in query.holidays:
        places = range(max(-((begins - first) // HOUR), 0), min((last - begins) // HOUR, length))
        hours.update(places)
    return hours
