"""Looks at a fleet while its time passes, half an hour at a time, and keeps the score."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from agentidp.findings import DEFAULT_DOMINANCE_PERCENT, STORED_DAYS, findings
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from bench.findings.fleets import EVALUATED, HOURS, TOKEN_LIFETIME, Fleet
from bench.findings.memory import InMemory
from bench.findings.scoring import Score, sightings

SECOND = timedelta(seconds=1)
SOON = 6
"""Hours from a fault's beginning in which each hour is looked at, and half of each."""


def query_at(at: datetime) -> FindingsQuery:
    """The question of each look: the product's defaults."""
    return FindingsQuery(at=at, days=STORED_DAYS, token_ttl=TOKEN_LIFETIME, dominance_percent=DEFAULT_DOMINANCE_PERCENT)


class Looks:
    """The looks at one fleet, and what came of them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.score, self.listed_score = Score(fleet), Score(fleet)
        self.seconds: list[float] = []

    def watch(self, every: int) -> None:
        """Look at the evaluated span: a second before an hour is full, and before half of it is over.

        :param every: how many hours lie between two looks where no fault begins.
        """
        counters = InMemory(self.fleet)
        for hour in range(EVALUATED, HOURS):
            is_early = any(fault.begins < hour + 1 and hour < fault.begins + SOON for fault in self.fleet.faults)
            if is_early:
                self._look(counters, 2 * hour + 1)
            if is_early or hour % every == every - 1 or hour == HOURS - 1:
                self._look(counters, 2 * hour + 2)

    def found(self, counters: InMemory, halves: int) -> tuple[list[Finding], datetime]:
        """What the product finds a second before so many half hours are over, and that instant."""
        counters.count(halves)
        at = self.fleet.at(halves / 2) - SECOND
        began = time.perf_counter()
        found = findings(counters.run(at), query_at(at)).findings
        self.seconds.append(time.perf_counter() - began)
        return found, at

    def _look(self, counters: InMemory, halves: int) -> None:
        found, at = self.found(counters, halves)
        self.score.see(sightings(found, at))
        self.listed_score.see(sightings(found, at, Severity.info))
