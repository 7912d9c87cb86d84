"""Looks at a fleet while its time passes, half an hour at a time, and keeps the score.

Where the fleet is counted is a :class:`Counters`: a PostgreSQL (:mod:`.database`) or lists (:mod:`.memory`). What
judges is the same in both: :func:`agentidp.findings.findings`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from agentidp.db.sql import Rows
from agentidp.findings import DEFAULT_DOMINANCE_PERCENT, STORED_DAYS, findings
from agentidp.findings.dominance import first_day
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.findings.thresholds import MIN_DOMINANCE_TOKENS
from bench.findings.fleets import EVALUATED, HOURS, TOKEN_LIFETIME, Fleet
from bench.findings.scoring import NAIVE_MEANT, Score, naive, sightings

SECOND = timedelta(seconds=1)
SOON = 6
"""Hours from a fault's beginning in which each hour is looked at, and half of each."""

Run = Callable[..., list[Rows]]
"""Runs calls of statements, and returns the rows of each."""


class Counters(Protocol):
    """Where a fleet is counted."""

    def count(self, halves: int) -> None:
        """Count the fleet's usage until so many half hours of its history are counted."""

    def run(self, at: datetime) -> Run:
        """Runs statements at an instant, which lies in the last half hour that is counted."""


def query_at(at: datetime) -> FindingsQuery:
    """The question of each look: the product's defaults."""
    return FindingsQuery(at=at, days=STORED_DAYS, token_ttl=TOKEN_LIFETIME, dominance_percent=DEFAULT_DOMINANCE_PERCENT)


class Looks:
    """The looks at one fleet, and what came of them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.score, self.naive_score, self.listed_score = Score(fleet), Score(fleet), Score(fleet)
        self.wrong_dominance = 0
        self.seconds: list[float] = []

    def watch(self, counters: Counters, every: int) -> None:
        """Look at the evaluated span: a second before an hour is full, and before half of it is over.

        :param every: how many hours lie between two looks where no fault begins.
        """
        for hour in range(EVALUATED, HOURS):
            is_early = any(fault.begins < hour + 1 and hour < fault.begins + SOON for fault in self.fleet.faults)
            if is_early:
                self._look(counters, 2 * hour + 1)
            if is_early or hour % every == every - 1 or hour == HOURS - 1:
                self._look(counters, 2 * hour + 2)

    def found(self, counters: Counters, halves: int) -> tuple[list[Finding], datetime]:
        """What the product finds a second before so many half hours are over, and that instant."""
        counters.count(halves)
        at = self.fleet.at(halves / 2) - SECOND
        began = time.perf_counter()
        found = findings(counters.run(at), query_at(at)).findings
        self.seconds.append(time.perf_counter() - began)
        return found, at

    def _look(self, counters: Counters, halves: int) -> None:
        found, at = self.found(counters, halves)
        self.score.see(sightings(found, at))
        self.listed_score.see(sightings(found, at, Severity.info))
        today = (at - self.fleet.start).days
        self.naive_score.see(
            naive(self.fleet, at, self._tokens(today, halves), self._tokens(today - 1, halves)), NAIVE_MEANT
        )
        if not {one.agent_id for one in found if one.kind == "dominance"} <= self._dominant(at, halves):
            self.wrong_dominance += 1

    def _tokens(self, day: int, halves: int) -> Counter[UUID]:
        """The tokens of each agent on a day, as far as they are counted."""
        begins, ends = 48 * day, min(48 * (day + 1), halves)
        return Counter(
            {
                agent.agent_id: tokens
                for agent in self.fleet.agents
                if (tokens := sum(agent.usage[half // 2][half % 2].tokens for half in range(begins, ends)))
            }
        )

    def _dominant(self, at: datetime, halves: int) -> set[UUID | None]:
        """The agents above the share of the month, calculated from the fleet itself."""
        month: Counter[UUID] = Counter()
        for day in range((first_day(at.date()) - self.fleet.start.date()).days, (at - self.fleet.start).days + 1):
            month.update(self._tokens(day, halves))
        tokens = month.total()
        if len(month) < 2 or tokens < MIN_DOMINANCE_TOKENS:
            return set()
        return {agent for agent, count in month.items() if count * 100 > tokens * DEFAULT_DOMINANCE_PERCENT}
