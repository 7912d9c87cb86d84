"""A fleet's usage in place of the database: the rows that each kind's statement would return, from lists of counts.

It is for quick experiments and for :mod:`.ablation`. The statements select candidates; here every agent is one, so the
result differs only in organizations with more agents than a statement reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import DEFAULT_DAYS, DEFAULT_DOMINANCE_PERCENT, KINDS, thresholds
from agentidp.findings.causes import one_per_cause
from agentidp.findings.finding import Finding, FindingsQuery
from bench.findings.fleets import TOKEN_LIFETIME, Agent, Fleet

DAY = 24
UNIT = {"tokens": 0, "requests": 1, "rejected": 2}


class InMemory:
    """What the statements of the findings return about a fleet after an hour.

    :param hour: the last one that is counted; it is whole.
    """

    def __init__(self, fleet: Fleet, hour: int) -> None:
        self.fleet, self.hour = fleet, hour
        self.first_day = fleet.start.date()
        self.days = hour // DAY + 1
        self.agents = [agent for agent in fleet.agents if agent.joins <= hour]

    @property
    def at(self) -> datetime:
        """A second before the hour is full."""
        return self.fleet.at(self.hour + 1) - timedelta(seconds=1)

    def rows(self, call: Call) -> Rows:
        """The rows of a call."""
        statement: Callable[..., Iterable[Any]] = getattr(self, call.name.removeprefix("findings/"))
        return [SimpleNamespace(**row) for row in statement(**call.parameters)]

    def spike(self, *, first_day: date, since: date, **_: Any) -> list[dict[str, Any]]:
        """As sql/findings/spike.sql."""
        recent = (since - self.first_day).days
        number = sum(any(sum(agent_days) for agent_days in self._days(one, "tokens")[recent:]) for one in self.agents)
        rows = [self._row(one, first_day, "tokens", agents=number) for one in self.agents]
        whole = [[sum(hour) for hour in zip(*of_day, strict=True)] for of_day in zip(*self._all("tokens"), strict=True)]
        organization = {"agent_id": None, "agent_name": None, "agents": 0, "history": self._history(first_day, whole)}
        return [*rows, organization]

    def weekend(self, *, first_day: date, until: date, weeks: int, quiet_weekdays: int, **_: Any) -> list[Any]:
        """As sql/findings/weekend.sql."""
        whole = [sum(map(sum, of_day)) for of_day in zip(*self._all("tokens"), strict=True)]
        by_weekday: dict[int, list[int]] = {}
        for ago in range(2, 7 * weeks + 2):
            day = until - timedelta(days=ago)
            place = (day - self.first_day).days
            by_weekday.setdefault(day.isoweekday() % 7, []).append(whole[place] if place >= 0 else 0)
        usual = {weekday: sorted(counts)[(len(counts) - 1) // 2] for weekday, counts in by_weekday.items()}
        average = sum(usual.values()) / 7
        order = sorted(usual, key=lambda each: (usual[each] * 2 > average, each not in (0, 6), usual[each]))
        rows = [self._row(one, first_day, "tokens") for one in self.agents]
        return [*rows, {"agent_id": None, "agent_name": None, "history": order[:quiet_weekdays]}]

    def silence(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        """As sql/findings/silence.sql."""
        active = [one for one in self.agents if one.leaves > self.hour]
        sampled = sorted(active, key=lambda one: one.agent_id)[: thresholds.MAX_SAMPLED_AGENTS]
        return [self._row(one, first_day, "requests", is_sampled=one in sampled) for one in active]

    def uncached_tokens(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        """As sql/findings/uncached_tokens.sql."""
        return [self._row(one, first_day, "tokens", "requests", expected_replicas=None) for one in self.agents]

    def rejections(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        """As sql/findings/rejections.sql; networks are not known."""
        return [
            self._row(one, first_day, "rejected", "tokens", is_active=one.leaves > self.hour, sources=None)
            for one in self.agents
        ]

    def zero_day(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        """As sql/findings/zero_day.sql."""
        whole = [sum(map(sum, of_day)) for of_day in zip(*self._all("tokens"), strict=True)]
        days = {self.first_day + timedelta(days=place): tokens for place, tokens in enumerate(whole[:-1])}
        return [{"day": day, "tokens": tokens} for day, tokens in days.items() if day >= first_day and tokens]

    def _all(self, unit: str) -> list[list[list[int]]]:
        return [self._days(one, unit) for one in self.agents]

    def _days(self, agent: Agent, unit: str) -> list[list[int]]:
        place = UNIT[unit]
        counts = [first[place] + second[place] for first, second in agent.usage[: self.hour + 1]]
        counts += [0] * (self.days * DAY - len(counts))
        return [counts[hour : hour + DAY] for hour in range(0, len(counts), DAY)]

    def _history(self, first_day: date, *units: list[list[int]]) -> list[Any]:
        """Of the days on which anything was counted: the day, and the counts of each unit."""
        begins = (first_day - self.first_day).days
        days = range(max(begins, 0), self.days)
        return [[day - begins, *(unit[day] for unit in units)] for day in days if any(any(unit[day]) for unit in units)]

    def _row(self, agent: Agent, first_day: date, *units: str, **more: Any) -> dict[str, Any]:
        history = self._history(first_day, *(self._days(agent, unit) for unit in units))
        return {"agent_id": agent.agent_id, "agent_name": agent.name, "history": history, **more}


JUDGED = ("rejections", "silence", "spike", "uncached_tokens", "weekend", "zero_day")
"""The kinds that report faults."""


def look(fleet: Fleet, hour: int, kinds: Iterable[str] = JUDGED) -> tuple[list[Finding], datetime]:
    """What the kinds find after an hour, and the instant at which they look."""
    memory = InMemory(fleet, hour)
    query = FindingsQuery(
        at=memory.at, days=DEFAULT_DAYS, token_ttl=TOKEN_LIFETIME, dominance_percent=DEFAULT_DOMINANCE_PERCENT
    )
    calls = {name: KINDS[name].call(query) for name in kinds}
    found = [one for name, call in calls.items() for one in KINDS[name].findings(memory.rows(call), query)]
    return one_per_cause(found), memory.at
