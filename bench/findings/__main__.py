"""The command: make the fleets, let the product look at them, print what it saw."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from agentidp.config import Settings
from agentidp.db.citus import enter_organization
from agentidp.db.database import Database, connect
from agentidp.db.embedded_postgres import EmbeddedPostgresError, temporary
from agentidp.db.migrations import migrate
from agentidp.db.organization import Transaction
from agentidp.findings import DEFAULT_DAYS, DEFAULT_DOMINANCE_PERCENT, findings
from agentidp.findings.dominance import first_day
from agentidp.findings.finding import FindingsQuery, Severity
from agentidp.findings.thresholds import MIN_DOMINANCE_TOKENS
from agentidp.registry.agents import add_agent, remove_agent, update_agent
from agentidp.scopes import DEFAULT_SCOPES
from agentidp.usage_history.adding import Hours, add_usage, hour_number
from bench.findings import __doc__ as description
from bench.findings.fleets import EVALUATED, HISTORY_DAYS, HOURS, TOKEN_LIFETIME, Agent, Fleet, Usage, make_fleet
from bench.findings.scoring import (
    NAIVE_MEANT,
    Score,
    naive,
    sightings,
    table_of_faults,
    table_of_findings,
    table_of_severities,
)
from bench.findings.situations import add_situations

COUNT_HOUR = (Path(__file__).parent / "count_hour.sql").read_text(encoding="utf-8")
SECOND = timedelta(seconds=1)
SOON = 6
"""Hours from a fault's beginning in which each hour is looked at, and half of each."""


class Watched:
    """A fleet in the database, and the product's look at it.

    :param connection: the operator's.
    :param database: the service's.
    """

    def __init__(self, fleet: Fleet, connection: psycopg.Connection[Any], database: Database) -> None:
        self.fleet, self.connection, self.database = fleet, connection, database
        self.score, self.naive_score, self.listed_score = Score(fleet), Score(fleet), Score(fleet)
        self.days: dict[int, Counter[UUID]] = {}
        self.wrong_dominance = 0
        self.looks: list[float] = []

    def store_history(self) -> None:
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
                self._remember(hour, agent, usage)
        add_usage(transaction, sums)
        self.connection.commit()

    def watch(self, every: int) -> None:
        """Count the evaluated span hour by hour, and look.

        :param every: how many hours lie between two looks where no fault begins.
        """
        for hour in range(EVALUATED, HOURS):
            is_early = any(fault.begins < hour + 1 and hour < fault.begins + SOON for fault in self.fleet.faults)
            transaction = self._enter(self.fleet.at(hour))
            for agent in self.fleet.agents:
                if agent.joins == hour:
                    self._register(transaction, agent, self.fleet.at(hour))
                if agent.leaves == hour:
                    self._retire(transaction, agent)
            for half in range(2):
                self._count(hour, half)
                if half == 0 and is_early:
                    self.connection.commit()
                    self._look(self.fleet.at(hour + 0.5) - SECOND)
            self.connection.commit()
            if is_early or hour % every == every - 1 or hour == HOURS - 1:
                self._look(self.fleet.at(hour + 1) - SECOND)

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
        )

    def _retire(self, transaction: Transaction, agent: Agent) -> None:
        at_that_time = transaction.as_of(self.fleet.at(agent.leaves))
        if agent.leaves_by == "suspended":
            update_agent(at_that_time, agent.agent_id, {"status": "suspended"})
        else:
            remove_agent(at_that_time, agent.agent_id)

    def _count(self, hour: int, half: int) -> None:
        counted = [(agent, agent.usage[hour][half]) for agent in self.fleet.agents if any(agent.usage[hour][half])]
        for agent, usage in counted:
            self._remember(hour, agent, usage)
        at = self.fleet.at(hour)
        self._enter(at)
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

    def _remember(self, hour: int, agent: Agent, usage: Usage) -> None:
        self.days.setdefault(hour // 24, Counter())[agent.agent_id] += usage.tokens

    def _look(self, at: datetime) -> None:
        query = FindingsQuery(
            at=at, days=DEFAULT_DAYS, token_ttl=TOKEN_LIFETIME, dominance_percent=DEFAULT_DOMINANCE_PERCENT
        )
        began = time.perf_counter()
        found = findings(self.database.of(self.fleet.organization_id, at).run, query).findings
        self.looks.append(time.perf_counter() - began)
        self.score.see(sightings(found, at))
        self.listed_score.see(sightings(found, at, Severity.info))
        today = (at - self.fleet.start).days
        today_and_before = [self.days.get(day, Counter()) for day in (today, today - 1)]
        self.naive_score.see(naive(self.fleet, at, *today_and_before), NAIVE_MEANT)
        if not {one.agent_id for one in found if one.kind == "dominance"} <= self._dominant(at, today):
            self.wrong_dominance += 1

    def _dominant(self, at: datetime, today: int) -> set[UUID | None]:
        month: Counter[UUID] = Counter()
        for day in range((first_day(at.date()) - self.fleet.start.date()).days, today + 1):
            month.update(+self.days.get(day, Counter()))
        tokens = month.total()
        if len(month) < 2 or tokens < MIN_DOMINANCE_TOKENS:
            return set()
        return {agent for agent, count in month.items() if count * 100 > tokens * DEFAULT_DOMINANCE_PERCENT}


def watch(seed: str, *, with_situations: bool, database: Database, url: str, every: int) -> Watched:
    """Make the fleet of a seed and look at it from the beginning of its evaluated span to the end."""
    fleet = make_fleet(seed)
    if with_situations:
        add_situations(fleet)
    with connect(url) as connection:
        connection.autocommit = False
        watched = Watched(fleet, connection, database)
        watched.store_history()
        watched.watch(every)
    return watched


def report(watched: list[Watched]) -> str:
    """What is printed."""
    scores, naive_scores = [one.score for one in watched], [one.naive_score for one in watched]
    parts = [table_of_faults(scores, naive_scores), table_of_findings(scores, naive_scores)]
    parts.append(table_of_severities(scores, [one.listed_score for one in watched]))
    loops = [
        score.told_at.get(fault, datetime.max.replace(tzinfo=UTC)) - score.fleet.at(fault.begins)
        for score in scores
        for fault in score.fleet.faults
        if fault.kind == "retry loop" and fault.countable
    ]
    within = sum(time <= timedelta(hours=1) for time in loops)
    parts.append(f"{within} of {len(loops)} retry loops were told within an hour")
    looks = sorted(look for one in watched for look in one.looks)
    parts.append(
        f"{len(looks):,} looks, the median one in {looks[len(looks) // 2] * 1000:.1f} ms, "
        f"99 of 100 in {looks[len(looks) * 99 // 100] * 1000:.1f} ms; "
        f"dominance differed from the month's sums in {sum(one.wrong_dominance for one in watched)}"
    )
    return "\n\n".join(parts)


def errors(score: Score) -> list[str]:
    """A line for each fault of a fleet that was not told, and each false finding."""
    fleet, lines = score.fleet, []
    names = {agent.agent_id: agent.name for agent in fleet.agents}
    for fault in fleet.faults:
        if fault.countable and fault not in score.told_at:
            agents = ", ".join(agent.name for agent in fault.agents)
            lines.append(
                f"missed  {fleet.seed:<12}{fault.kind:<17}{agents}: {fleet.at(fault.begins):%F %H:%M} to "
                f"{fleet.at(fault.ends):%F %H:%M}, {fault.size:.1f}/h"
            )
    for one, is_true in score.judged():
        if not is_true:
            agents = ", ".join(names.get(agent_id, "?") for agent_id in one.agent_ids)
            verdict = "benign" if score.is_benign(one) else "false"
            lines.append(
                f"{verdict:<8}{fleet.seed:<12}{one.kind:<17}{agents}: {one.begins:%a %F %H:%M} to "
                f"{one.ends:%F %H:%M}, seen {one.seen_at:%F %H:%M}: {one.summary}"
            )
    return lines


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.findings", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", choices=("tuning", "held-out"), default="held-out", help="default: held-out")
    parser.add_argument("--fleets", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default: 0)")
    parser.add_argument("--every", type=int, default=1, help="hours between looks away from faults (default: 1)")
    parser.add_argument(
        "--situations", action="store_true", help="add what plain fleets lack (bench/findings/situations.py)"
    )
    parser.add_argument("--verbose", action="store_true", help="list what was missed and what was false, by fleet")
    options = parser.parse_args()
    if options.fleets < 1 or options.every < 1:
        parser.error("--fleets and --every must be greater than zero")
    return options


def main() -> None:
    """Run, and say in one sentence what went wrong where something did."""
    options = arguments()
    began = time.monotonic()
    try:
        with temporary() as postgres:
            migrate(postgres.url)
            database = Database(postgres.url, Settings(data_dir=Path("/nonexistent"), database_url=postgres.url))
            try:
                prefix = "situations " if options.situations else ""
                seeds = [f"{prefix}{options.seeds} {options.first + number}" for number in range(options.fleets)]
                one = partial(
                    watch, with_situations=options.situations, database=database, url=postgres.url, every=options.every
                )
                with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
                    watched = []
                    for done in threads.map(one, seeds):
                        watched.append(done)
                        if options.verbose:
                            print("\n".join([f"        {done.fleet.seed}", *errors(done.score)]), flush=True)
            finally:
                database.close()
    except EmbeddedPostgresError as error:
        print(f"{error}\n{error.log}", file=sys.stderr)
        raise SystemExit(1) from None
    print(
        f"{len(seeds)} fleets ({options.seeds} seeds from {options.first} on), "
        f"{sum(len(one.fleet.agents) for one in watched)} agents, {HISTORY_DAYS} days of history, "
        f"{time.monotonic() - began:.0f} s\n"
    )
    print(report(watched))


if __name__ == "__main__":
    main()
