"""An organization's agents in the current UTC calendar month, with their names, for the dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agentidp.caller import Caller


@dataclass(frozen=True, slots=True)
class AgentMonth:
    """An agent in the month so far.

    ``status`` is ``active``, ``suspended`` or ``deleted``; ``last_seen`` is the beginning of the hour of its last
    request, ``None`` if that was more than 90 days ago.
    """

    agent_id: UUID
    name: str
    status: str
    tokens: int
    requests: int
    rejected: int
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class AgentPage:
    """A page of an organization's agents, most tokens first.

    ``count`` is the number of all its agents, ``tokens`` the sum of their tokens.
    """

    data: list[AgentMonth]
    count: int
    tokens: int


def agents_of_the_month(caller: Caller, limit: int, offset: int = 0) -> AgentPage:
    """The registered agents, and the deleted ones that have usage this month.

    :param limit: the maximum number of agents.
    :param offset: how many agents to skip.
    """
    rows = caller.read("analytics/agent_overview", limit=limit, offset=offset)
    data = [
        AgentMonth(row.agent_id, row.name, row.status, row.tokens, row.requests, row.rejected, row.last_seen)
        for row in rows
    ]
    return AgentPage(data, rows[0].agents if rows else 0, rows[0].all_tokens if rows else 0)
