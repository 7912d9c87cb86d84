"""An organization's agents in the current UTC calendar month, with their names, for the dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agentidp.caller import read


@dataclass(frozen=True, slots=True)
class AgentMonth:
    """An agent in the month so far.

    ``status`` is ``active``, ``suspended`` or ``deleted``; ``last_seen`` is the beginning of the hour of its last
    request, ``None`` where that was more than 90 days ago.
    """

    agent_id: UUID
    name: str
    status: str
    tokens: int
    requests: int
    rejected: int
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Overview:
    """A part of an organization's agents, most tokens first. ``agents`` and ``tokens`` are of all of them."""

    data: list[AgentMonth]
    agents: int
    tokens: int


def agents_of_the_month(limit: int, offset: int = 0) -> Overview:
    """The agents that are registered, and those deleted that were counted this month.

    :param limit: how many at the most.
    :param offset: how many to leave out.
    """
    rows = read("analytics/agent_overview", limit=limit, offset=offset)
    data = [
        AgentMonth(row.agent_id, row.name, row.status, row.tokens, row.requests, row.rejected, row.last_seen)
        for row in rows
    ]
    return Overview(data, rows[0].agents if rows else 0, rows[0].all_tokens if rows else 0)
