"""A fleet that is counted in lists: the rows that each statement of the findings would return, without a database.

The statements select candidates; here every agent is one, but for ``uncached_tokens``. So the result can differ in an
organization with more agents than a statement reads. ``tests/test_bench_findings.py`` compares both. What is in
:data:`NOT_JUDGED` has no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import DEFAULT_DAYS, DEFAULT_DOMINANCE_PERCENT, findings, thresholds
from agentidp.findings.finding import Finding, FindingsQuery
from bench.findings.fleets import TOKEN_LIFETIME, Agent, Fleet

DAY = 24
TOKENS, REQUESTS, REJECTED = range(3)

NOT_JUDGED = ("budget", "markers", "peak")
"""What needs no rows: ``dominance`` is not judged either, but it is compared with the sums of the month."""


class InMemory:
    """A fleet in memory.

    :param kinds: the kinds that are looked for; all if it is ``None``.
    """

    def __init__(self, fleet: Fleet, kinds: Collection[str] | None = None) -> None:
        self.fleet, self.kinds = fleet, kinds
        self.first_day = fleet.start.date()
        self._whole = {
            agent: [[first[unit] + second[unit] for first, second in agent.usage] for unit in range(3)]
            for agent in fleet.agents
        }

    def count(self, halves: int) -> None:
        """Let the lists end after so many half hours."""
        self.hour = (halves - 1) // 2
        self.agents = [agent for agent in self.fleet.agents if agent.joins <= self.hour]
        self._days = {agent: [self._counted(agent, unit, halves) for unit in range(3)] for agent in self.agents}

    def run(self, at: datetime) -> Callable[..., list[Rows]]:
        """Returns the rows of calls; none of kinds that are not looked for."""
        return lambda *calls: [self._rows(call) for call in calls]

    def _rows(self, call: Call) -> Rows:
        kind = "dominance" if call.name == "analytics/agent_usage" else call.name.removeprefix("findings/")
        if kind in NOT_JUDGED or (self.kinds is not None and kind not in self.kinds):
            return []
        return [SimpleNamespace(**row) for row in getattr(self, f"_{kind}")(**call.parameters)]

    def _counted(self, agent: Agent, unit: int, halves: int) -> list[list[int]]:
        """The counts of 24 hours of each day so far."""
        counts = self._whole[agent][unit][: halves // 2]
        if halves % 2:
            counts.append(agent.usage[self.hour][0][unit])
        counts += [0] * (-len(counts) % DAY)
        return [counts[hour : hour + DAY] for hour in range(0, len(counts), DAY)]

    def _dominance(self, *, first: date, **_: Any) -> list[dict[str, Any]]:
        begins = max((first - self.first_day).days, 0)
        tokens = {agent: sum(map(sum, self._days[agent][TOKENS][begins:])) for agent in self.agents}
        busiest = min(self.agents, key=lambda one: (-tokens[one], one.agent_id))
        names = {"agent_id": str(busiest.agent_id), "agent_name": busiest.name}
        return [names | {"token_count": tokens[busiest], "all_tokens": sum(tokens.values())}] if tokens[busiest] else []

    def _spike(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        rows = [self._row(agent, first_day, TOKENS) for agent in self.agents]
        whole = self._tokens()
        begins = (first_day - self.first_day).days
        history = [[day - begins, whole[day]] for day in range(max(begins, 0), len(whole)) if any(whole[day])]
        return [*rows, {"agent_id": None, "agent_name": None, "history": history}]

    def _weekend(self, *, first_day: date, until: date, weeks: int, max_rest_days: int, **_: Any) -> list[Any]:
        whole = [sum(of_day) for of_day in self._tokens()]
        by_weekday: dict[int, list[int]] = {}
        for ago in range(2, 7 * weeks + 2):
            day = until - timedelta(days=ago)
            place = (day - self.first_day).days
            by_weekday.setdefault(day.isoweekday() % 7, []).append(whole[place] if place >= 0 else 0)
        usual = {weekday: sorted(counts)[(len(counts) - 1) // 2] for weekday, counts in by_weekday.items()}
        average = sum(usual.values()) / 7
        order = sorted(usual, key=lambda each: (usual[each] * 2 > average, each not in (0, 6), usual[each]))
        rows = [self._row(agent, first_day, TOKENS) for agent in self.agents]
        return [*rows, {"agent_id": None, "agent_name": None, "history": order[:max_rest_days]}]

    def _silence(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        active = sorted((one for one in self.agents if one.leaves > self.hour), key=lambda one: one.agent_id)
        sampled = set(active[: thresholds.MAX_SAMPLED_AGENTS])
        return [self._row(one, first_day, REQUESTS, is_sampled=one in sampled) for one in active]

    def _uncached_tokens(self, *, first_day: date, since: date, min_days: int, **more: Any) -> list[dict[str, Any]]:
        begins, tokens_an_hour = (since - self.first_day).days, more["factor"] * 3600 / more["token_ttl"]

        def is_suspect(one: Agent) -> bool:
            tokens, requests = (self._days[one][unit][begins:] for unit in (TOKENS, REQUESTS))
            wasted = [
                sum(issued) > tokens_an_hour * sum(map(bool, by)) for issued, by in zip(tokens, requests, strict=True)
            ]
            return sum(wasted) >= min_days and (one.leaves > self.hour or one.leaves_by != "deleted")

        return [
            self._row(one, first_day, TOKENS, REQUESTS, expected_replicas=None)
            for one in self.agents
            if is_suspect(one)
        ]

    def _rejections(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        return [
            self._row(one, first_day, REJECTED, TOKENS, is_active=one.leaves > self.hour, sources=None)
            for one in self.agents
        ]

    def _zero_day(self, *, first_day: date, **_: Any) -> list[dict[str, Any]]:
        days = {self.first_day + timedelta(days=place): sum(of_day) for place, of_day in enumerate(self._tokens()[:-1])}
        return [{"day": day, "tokens": tokens} for day, tokens in days.items() if day >= first_day and tokens]

    def _tokens(self) -> list[list[int]]:
        """Of each day, the tokens of each hour, of all agents together."""
        of_agents = (self._days[agent][TOKENS] for agent in self.agents)
        return [[sum(hour) for hour in zip(*of_day, strict=True)] for of_day in zip(*of_agents, strict=True)]

    def _row(self, agent: Agent, first_day: date, *units: int, **more: Any) -> dict[str, Any]:
        """An agent with its history: of the days with any usage, the day and the counts of each unit."""
        begins = (first_day - self.first_day).days
        of_agent = self._days[agent]
        days = range(max(begins, 0), len(of_agent[TOKENS]))
        history = [
            [day - begins, *(of_agent[unit][day] for unit in units)]
            for day in days
            if any(of_agent[REQUESTS][day]) or any(of_agent[REJECTED][day])
        ]
        return {"agent_id": agent.agent_id, "agent_name": agent.name, "history": history, **more}


def found(counters: InMemory, halves: int, days: int = DEFAULT_DAYS) -> tuple[list[Finding], datetime]:
    """What the product finds, with its defaults, a second before so many half hours are over, and that instant.

    :param days: how many days back a finding may lie.
    """
    counters.count(halves)
    at = counters.fleet.at(halves / 2) - timedelta(seconds=1)
    query = FindingsQuery(at=at, days=days, token_ttl=TOKEN_LIFETIME, dominance_percent=DEFAULT_DOMINANCE_PERCENT)
    return findings(counters.run(at), query).findings, at
