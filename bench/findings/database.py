"""A fleet that is counted in a PostgreSQL, and the service's own statements."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from agentidp.config import Settings
from agentidp.db.citus import enter_organization
from agentidp.db.database import Database
from agentidp.db.organization import Transaction
from agentidp.registry.agents import add_agent, remove_agent, update_agent
from agentidp.scopes import DEFAULT_SCOPES
from agentidp.usage_history.adding import Hours, add_usage, hour_number
from bench.findings.fleets import EVALUATED, Agent, Fleet
from bench.findings.looks import Run

COUNT_HOUR = (Path(__file__).parent / "count_hour.sql").read_text(encoding="utf-8")


class InDatabase:
    """A fleet in the database.

    :param connection: the operator's, without autocommit.
    :param database: the service's.
    """

    def __init__(self, fleet: Fleet, connection: psycopg.Connection[Any], database: Database) -> None:
        self.fleet, self.connection, self.database = fleet, connection, database
        self._counted = 0

    def count(self, halves: int) -> None:
        """Count until so many half hours are counted; the history before the evaluated span at once."""
        if not self._counted:
            self._store_history()
            self._counted = 2 * EVALUATED
        for half in range(self._counted, halves):
            self._count(half // 2, half % 2)
        self._counted = max(self._counted, halves)
        self.connection.commit()

    def run(self, at: datetime) -> Run:
        """Runs the service's statements."""
        run: Run = self.database.of(self.fleet.organization_id, at).run
        return run

    def _store_history(self) -> None:
        """Store the organization, and its agents and their usage up to the evaluated span."""
        founded = self.fleet.at(-24 * 30)
        transaction = self._enter(founded)
        transaction.fetch("organizations/add_organization", name=f"Fleet {self.fleet.seed}")
        for agent in self.fleet.agents:
            if agent.joins < EVALUATED:
                self._register(transaction, agent, self.fleet.at(agent.joins) if agent.joins else founded)
            if agent.leaves < EVALUATED:
                self._retire(transaction, agent)
        sums: dict[UUID, Hours] = {}
        for hour in range(EVALUATED):
            at = self.fleet.at(hour)
            for agent, usage in self.fleet.totals(hour):
                sums.setdefault(agent.agent_id, {})[hour_number(at.date(), at.hour)] = list(usage)
        add_usage(transaction, sums)

    def _enter(self, at: datetime) -> Transaction:
        enter_organization(self.connection, self.fleet.organization_id, durable=False)
        return Transaction(self.connection, self.fleet.organization_id, at)

    def _register(self, transaction: Transaction, agent: Agent, at: datetime) -> None:
        add_agent(
            transaction.as_of(at),
            name=agent.name,
            description="",
            scopes=list(DEFAULT_SCOPES),
            agent_id=agent.agent_id,
            most=Settings.max_agents,
        )

    def _retire(self, transaction: Transaction, agent: Agent) -> None:
        at_that_time = transaction.as_of(self.fleet.at(agent.leaves))
        if agent.leaves_by == "suspended":
            update_agent(at_that_time, agent.agent_id, {"status": "suspended"})
        else:
            remove_agent(at_that_time, agent.agent_id)

    def _count(self, hour: int, half: int) -> None:
        at = self.fleet.at(hour)
        transaction = self._enter(at)
        for agent in self.fleet.agents if half == 0 else ():
            if agent.joins == hour:
                self._register(transaction, agent, at)
            if agent.leaves == hour:
                self._retire(transaction, agent)
        counted = [(agent, agent.usage[hour][half]) for agent in self.fleet.agents if any(agent.usage[hour][half])]
        self.connection.execute(
            COUNT_HOUR,
            {
                "organization_id": self.fleet.organization_id,
                "day": at.date(),
                "hour": at.hour,
                "agent_ids": [agent.agent_id for agent, _ in counted],
                "tokens": [usage.tokens for _, usage in counted],
                "requests": [usage.requests for _, usage in counted],
                "rejected": [usage.rejected for _, usage in counted],
            },
        )
