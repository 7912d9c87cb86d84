"""Adds past usage to the counters."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from agentidp.db.organization import Transaction

COUNTS = ("tokens", "requests", "rejected")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)

Hours = dict[int, list[int]]
"""The :data:`COUNTS` of an agent per hour, by the number of hours since :data:`EPOCH`."""


def compute_hour_number(day: date, hour: int) -> int:
    """Return the number of hours from :data:`EPOCH` until *hour* (0 to 23) of a UTC day."""
    return (day - EPOCH.date()).days * 24 + hour


def add_usage(transaction: Transaction, hours_by_agent: dict[UUID, Hours]) -> None:
    """Add usage to the counters of an organization and its agents.

    :param hours_by_agent: the usage to add, by agent ID.
    :raises psycopg.errors.NumericValueOutOfRange: the counter of an hour would exceed PostgreSQL's integer.
    """
    counts_per_hour = [counts for agent_hours in hours_by_agent.values() for counts in agent_hours.values()]
    transaction.fetch(
        "usage_history/add_usage",
        agent_ids=list(hours_by_agent),
        agents=[
            agent_number for agent_number, agent_hours in enumerate(hours_by_agent.values(), 1) for _ in agent_hours
        ],
        hours=[hour for agent_hours in hours_by_agent.values() for hour in agent_hours],
        **{
            count_name: [counts[count_index] for counts in counts_per_hour]
            for count_index, count_name in enumerate(COUNTS)
        },
    )
