"""Counts a generated fleet in PostgreSQL and evaluates its findings as the product does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from agentidp.db.organization import operator_transaction
from agentidp.findings import DEFAULT_DAYS, compute_findings
from agentidp.findings.finding import Finding, FindingsQuery
from agentidp.registry.agents import add_agent, remove_agent, update_agent
from agentidp.usage_history.adding import Hours, add_usage, compute_hour_number
from bench.findings.fleets import TOKEN_LIFETIME, Agent, Fleet, Usage


class CountedFleet:
    """A fleet as an organization of a database, counted up to an instant that moves forward.

    :param connection: the operator's connection to a migrated database that does not have the fleet yet.
    """

    def __init__(self, fleet: Fleet, connection: psycopg.Connection[Any]) -> None:
        self._fleet, self._connection = fleet, connection
        self._counted_halves = 0
        with operator_transaction(connection, fleet.organization_id, fleet.start) as opened:
            opened.fetch("organizations/add_organization", name=f"Fleet {fleet.seed}")

    def evaluate(self, halves: int) -> tuple[list[Finding], datetime]:
        """Return the findings one second before *halves* half hours are over, and that instant."""
        self._count(halves)
        at = self._fleet.at(halves / 2) - timedelta(seconds=1)
        query = FindingsQuery(at=at, days=DEFAULT_DAYS, token_ttl=TOKEN_LIFETIME)
        with operator_transaction(self._connection, self._fleet.organization_id, at) as opened:
            return compute_findings(lambda *calls: [opened.run(call) for call in calls], query).findings, at

    def _count(self, halves: int) -> None:
        """Register and remove agents and count their usage until *halves* half hours are counted."""
        sums: dict[UUID, Hours] = {agent.agent_id: {} for agent in self._fleet.agents}
        for half in range(self._counted_halves, halves):
            hour, at = half // 2, self._fleet.at(half // 2)
            for agent in self._fleet.agents:
                if half % 2 == 0 and hour in (agent.joins, agent.leaves):
                    self._join_or_leave(agent, hour)
                if any(usage := agent.usage[hour][half % 2]):
                    counts = sums[agent.agent_id].setdefault(compute_hour_number(at.date(), at.hour), [0, 0, 0])
                    counts[:] = usage.plus(Usage(*counts))
        with operator_transaction(self._connection, self._fleet.organization_id, self._fleet.at(halves / 2)) as opened:
            add_usage(opened, sums)
        self._counted_halves = halves

    def _join_or_leave(self, agent: Agent, hour: int) -> None:
        with operator_transaction(self._connection, self._fleet.organization_id, self._fleet.at(hour)) as opened:
            if agent.joins == hour:
                max_agents = len(self._fleet.agents)
                add_agent(opened, name=agent.name, scopes=[], max_agents=max_agents, agent_id=agent.agent_id)
            elif agent.leaves_by == "suspended":
                update_agent(opened, agent.agent_id, {"status": "suspended"})
            else:
                remove_agent(opened, agent.agent_id)
