"""Generates fleets hour by hour, with faults in them. The same seed makes the same fleet."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from random import Random
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import holidays

HISTORY_DAYS = 70
EVALUATED_DAYS = 14
HOURS = (HISTORY_DAYS + EVALUATED_DAYS) * 24
EVALUATED = HISTORY_DAYS * 24
"""The first hour of the span that is evaluated."""

TOKEN_LIFETIME = 3600
"""Seconds."""

QUIET = 8.0
"""Minimum surprise of a countable silence: the negative logarithm of a probability of 1 in 3,000."""

CERTAIN = 3.0
"""Maximum surprise of a quiet hour of one agent, or of a quiet day of a silent agent, which may be a holiday."""


class Usage(NamedTuple):
    """The counted usage of an agent. A token is also a request."""

    tokens: int = 0
    requests: int = 0
    rejected: int = 0

    def plus(self, other: Usage) -> Usage:
        """Return the sum of two usages."""
        return Usage(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(eq=False)
class Agent:
    """An agent and its habits.

    :param style: ``keeps``: each instance keeps its token for its lifetime; ``job``: one token per job; ``run``: it
        runs by the clock.
    :param country: the country whose public holidays are like its Sundays, or ``None``.
    :param week: 7 days (from Monday) of 24 local hours, as shares of the peak.
    :param amount: per hour at the peak: calls per instance if the agent keeps its tokens, otherwise tokens.
    :param shape: the shape of the gamma distribution of an hour's rate. A smaller shape makes more bursts.
    :param varies: the standard deviation of the logarithm of a day's factor.
    :param growth: the factor of the amount per week.
    :param own_calls: requests to our own API per token.
    :param changes: an hour, and the factor of the instances (or of the amount) from this hour on.
    :ivar levels: the factor of the amount per hour.
    :ivar usage: the two halves of each hour.
    """

    name: str
    agent_id: UUID
    style: str
    week: list[list[float]]
    country: str | None
    zone: tzinfo
    amount: float
    instances: int = 1
    shape: float = 10.0
    varies: float = 0.1
    growth: float = 1.0
    month_end: float = 1.0
    surges: bool = False
    own_calls: float = 0.0
    rejected: float = 0.003
    joins: int = 0
    leaves: int = HOURS
    leaves_by: str = "suspended"
    changes: tuple[int, float] = (0, 1.0)
    faults: list[Event] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    usage: list[tuple[Usage, Usage]] = field(default_factory=list)

    def instances_at(self, hour: int) -> int:
        """Return the number of instances that run."""
        changed = max(1, round(self.instances * self.changes[1]))
        return self.instances if hour < self.changes[0] else min(max(8, self.instances), changed)

    def expected(self, hour: int) -> float:
        """Return the mean number of tokens in an hour without faults."""
        rate = self.amount * self.levels[hour]
        return self.instances_at(hour) * rate / (1 + rate) if self.style == "keeps" else rate

    def surprise(self, hour: int) -> float:
        """Return the negative logarithm of the probability of a quiet hour."""
        mean = self.expected(hour)
        if self.style == "run":
            return CERTAIN if mean else 0.0
        return min(CERTAIN, self.shape * math.log1p(mean / self.shape) if self.style == "job" else mean)

    def deviation(self, hours: list[int]) -> float:
        """Return the standard deviation of the sum of tokens in some hours."""
        means = [self.expected(hour) for hour in hours]
        if self.style != "job":
            return math.sqrt(sum(means))
        variance = sum(mean + mean * mean / self.shape for mean in means)
        return math.sqrt(variance + (self.varies * sum(means)) ** 2)

    def active_mean(self) -> float:
        """Return the mean tokens of an active hour in the four weeks before the evaluated span or after joining."""
        begins = max(self.joins, EVALUATED - 28 * 24)
        means = [self.expected(hour) for hour in range(begins, min(begins + 28 * 24, HOURS))]
        active = [mean for mean in means if mean > 0.05 * max(means)]
        return sum(active) / len(active) if active else 0.0


@dataclass(eq=False)
class Event:
    """A fault of some agents.

    :param agents: empty for an outage, which concerns all agents.
    :param begins, ends: hours from the start of the fleet's history.
    :param size: tokens or rejected requests per hour.
    :param share: the part of the agent's instances that the fault concerns.
    :param countable: whether the fault can be distinguished from chance. The package's docstring says how.
    """

    kind: str
    agents: list[Agent]
    begins: float
    ends: float
    size: float = 0.0
    share: float = 1.0
    hours_of_day: frozenset[int] = frozenset(range(24))
    countable: bool = True

    def covered(self, begins: float, ends: float) -> float:
        """Return the share of a period that the fault covers."""
        return max(0.0, min(ends, self.ends) - max(begins, self.begins)) / (ends - begins)

    def hours(self) -> range:
        """Return the hours that the fault covers, also in part."""
        return range(int(self.begins), min(HOURS, math.ceil(self.ends)))

    def leaked_tokens(self) -> list[float]:
        """Return the mean tokens per hour of a leak."""
        return [self.size * self.covered(hour, hour + 1) * (hour % 24 in self.hours_of_day) for hour in self.hours()]

    def apply(self, agent: Agent, random: Random) -> None:
        """Change the usage of an agent."""
        for hour in self.hours():
            first, second = agent.usage[hour]
            first = self._change_usage(first, agent, hour, hour, random)
            agent.usage[hour] = first, self._change_usage(second, agent, hour, hour + 0.5, random)

    def _change_usage(self, usage: Usage, agent: Agent, hour: int, begins: float, random: Random) -> Usage:
        """Return the usage of the half hour from *begins* on with the fault."""
        covered = self.covered(begins, begins + 0.5)
        if self.kind in ("outage", "silence"):
            return Usage(*(_thin(count, covered, random) for count in usage))
        more = poisson(self.size * covered / 2, random)
        if self.kind == "leak" or self.kind.endswith("loop"):
            return usage.plus(Usage(more, more)) if hour % 24 in self.hours_of_day else usage
        more = poisson(self.size * agent.levels[hour] * covered / 2, random)
        if self.kind == "uncached client":
            tokens = _thin(usage.tokens, covered, random) + more
            return Usage(tokens, usage.requests - usage.tokens + tokens, usage.rejected)
        if self.kind == "rotated secret":
            tokens = _thin(usage.tokens, covered * self.share, random)
            requests = _thin(usage.requests - usage.tokens, covered * self.share, random)
            return Usage(tokens, tokens + requests, usage.rejected + more)
        return usage


@dataclass
class Fleet:
    """An organization with its agents and their faults."""

    seed: str
    organization_id: str
    start: datetime
    agents: list[Agent]
    faults: list[Event]

    def at(self, hour: float) -> datetime:
        """Return the instant *hour* hours after the start of the history."""
        return self.start + timedelta(hours=hour)


def poisson(mean: float, random: Random) -> int:
    """Return a random count of the Poisson distribution."""
    if mean > 60:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    count, limit, product = 0, math.exp(-mean), random.random()
    while product > limit:
        count += 1
        product *= random.random()
    return count


def _thin(count: int, share: float, random: Random) -> int:
    """Remove each of *count* events with the probability *share*, and return the number of the others."""
    return sum(random.random() >= share for _ in range(count))


def _log_uniform(random: Random, minimum: float, maximum: float) -> float:
    return math.exp(random.uniform(math.log(minimum), math.log(maximum)))


def _day(digits: str) -> list[float]:
    return [int(digit) / 9 for digit in digits]


OFF = [0.0] * 24
ALL_DAY = [1.0] * 24
OFFICE = _day("000000014899797998631000")
DAYTIME = _day("211112346788998888765432")
EVENING = _day("321001123345666667899985")

COUNTRIES = {
    "DE": ("Europe/London", "Europe/Berlin", "Europe/Berlin", "Europe/Helsinki"),
    "US": ("America/Los_Angeles", "America/Chicago", "America/New_York", "America/New_York"),
    "JP": ("Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo"),
}
"""Country of an agent's public holidays -> the agent's possible time zones."""

KINDS_OF_AGENTS = {
    "office": 30,
    "customers": 12,
    "constant": 12,
    "hourly": 8,
    "nightly": 12,
    "weekly": 5,
    "weekend": 3,
    "sparse": 9,
    "bursty": 7,
    "uncached": 2,
}
"""Kind -> its percentage of the agents."""

FAULTS = {
    "retry loop": 5,
    "leak": 6,
    "outage": 4,
    "silence": 5,
    "weekend run": 7,
    "uncached client": 4,
    "rotated secret": 5,
}
"""Fault -> its weight in the random choice."""

LASTING = ("silence", "uncached client")
"""Faults that last until the end of the evaluated span."""


@functools.cache
def public_holidays(country: str) -> frozenset[date]:
    """Return the holidays of the years of all fleets."""
    return frozenset(holidays.country_holidays(country, years=range(2024, 2029)))


def make_fleet(seed: str) -> Fleet:
    """Return the fleet of a seed."""
    random = Random(f"fleet {seed}")
    year, home = random.randint(2025, 2027), random.choice(list(COUNTRIES))
    evaluated = date(year, 1, 1) + timedelta(days=random.randrange(365))
    if random.random() < 0.5:
        evaluated = random.choice(sorted(public_holidays(home))) - timedelta(days=random.randrange(EVALUATED_DAYS))
    start = datetime.combine(evaluated - timedelta(days=HISTORY_DAYS), time(), UTC)
    count = int(_log_uniform(random, 5, 61))
    kinds = random.choices(list(KINDS_OF_AGENTS), list(KINDS_OF_AGENTS.values()), k=count)
    agents = []
    for number, kind in enumerate(kinds, 1):
        country = home if random.random() < 0.6 else random.choice(list(COUNTRIES))
        agents.append(make_agent(kind, f"{kind}-{number}", country, random))
    organization_id = f"org-{UUID(int=random.getrandbits(128), version=4)}"
    fleet = Fleet(seed, organization_id, start, agents, [])
    for agent in agents:
        set_levels(agent, fleet, Random(f"levels {seed} {agent.name}"))
    _add_faults(fleet, Random(f"faults {seed}"))
    for agent in agents:
        simulate(agent, fleet, Random(f"usage {seed} {agent.name}"))
    return fleet


def make_agent(kind: str, name: str, country: str, random: Random) -> Agent:
    """Return a new agent of a kind."""
    agent = Agent(
        name,
        UUID(int=random.getrandbits(128), version=4),
        "keeps" if random.random() < 0.6 else "job",
        [OFF] * 7,
        country,
        ZoneInfo(random.choice(COUNTRIES[country])),
        amount=1.0,
        instances=random.choice((1, 1, 1, 2, 2, 3, 4, 6, 8)),
        shape=_log_uniform(random, 2, 30),
        varies=random.uniform(0.05, 0.3),
        growth=1 + random.uniform(-0.03, 0.06),
        own_calls=_log_uniform(random, 1, 30) if random.random() < 0.4 else 0.0,
    )
    if kind in ("office", "uncached") or (kind in ("sparse", "bursty") and random.random() < 0.5):
        factor = random.choice((0.0, 0.0, 0.0, random.uniform(0.03, 0.2)))
        weekend = [factor * level for level in OFFICE]
        agent.week = [OFFICE] * 5 + [weekend, [0.6 * level for level in weekend]]
    elif kind in ("customers", "bursty"):
        profile, factor = random.choice((DAYTIME, EVENING)), random.uniform(0.4, 1.1)
        agent.week = [profile] * 5 + [[factor * level for level in profile]] * 2
        agent.surges = kind == "customers"
    elif kind in ("constant", "sparse"):
        agent.week, agent.country = [ALL_DAY] * 7, None
        agent.growth = 1.0 if random.random() < 0.5 else agent.growth
    jobs = {"office": (1, 40), "customers": (3, 80), "constant": (1, 20)}
    if kind in jobs:
        agent.amount = _log_uniform(random, 1, 60) if agent.style == "keeps" else _log_uniform(random, *jobs[kind])
    elif kind in ("sparse", "bursty", "uncached"):
        agent.style = "job"
        agent.amount = _log_uniform(random, *{"sparse": (0.05, 2), "bursty": (1, 30), "uncached": (100, 800)}[kind])
        agent.shape = _log_uniform(random, *{"sparse": (0.3, 3), "bursty": (0.15, 1), "uncached": (8, 40)}[kind])
    else:
        _schedule_runs(agent, kind, random)
    if random.random() < 0.03:
        agent.rejected = 0.5
    if random.random() < 0.15:
        agent.joins = random.randrange(5 * 24, HOURS - 4 * 24)
    if random.random() < 0.06:
        agent.leaves = random.randrange(max(20 * 24, agent.joins + 5 * 24), HOURS + 5 * 24)
        agent.leaves_by = random.choice(("suspended", "deleted"))
    if random.random() < 0.1 and agent.style != "run":
        agent.changes = random.randrange(HOURS), random.choice((0.5, 0.7, 1.5, 2.0))
    return agent


def _schedule_runs(agent: Agent, kind: str, random: Random) -> None:
    agent.style, agent.growth, agent.country = "run", 1.0, None
    agent.zone = random.choice((UTC, UTC, agent.zone))
    agent.amount = float(random.choice((1, 1, 1, 1, 2, 3)) if kind == "hourly" else random.choice((1, 1, 2, 3, 6, 12)))
    day = OFF.copy()
    begins = random.randrange(0, 6)
    for hour in range(begins, begins + random.choice((1, 1, 2, 3))):
        day[hour] = 1.0
    if kind == "hourly":
        agent.week = [ALL_DAY] * 7
    elif kind == "nightly":
        agent.week = [day] * 7 if random.random() < 0.7 else [day] * 5 + [OFF] * 2
        agent.month_end = random.uniform(1.5, 4) if random.random() < 0.4 else 1.0
    elif kind == "weekly":
        runs = random.randrange(7)
        agent.week = [day if weekday == runs else OFF for weekday in range(7)]
    else:
        busy = [float(6 <= hour < random.randint(9, 14)) for hour in range(24)]
        agent.week = [OFF] * 5 + [busy, random.choice((busy, OFF))]


def set_levels(agent: Agent, fleet: Fleet, random: Random) -> None:
    """Set the levels of the agent's hours."""
    free = public_holidays(agent.country) if agent.country else frozenset()
    rests_after_christmas = agent.country not in (None, "JP") and agent.week[6] != agent.week[0]
    maintained = {
        begin + n for begin in range(HOURS) if random.random() < 1 / 1000 for n in range(random.choice((1, 2)))
    }
    surge = 0
    for hour in range(HOURS):
        utc = fleet.at(hour)
        if hour % 24 == 0 and agent.surges and random.random() < 0.04:
            surge = hour + random.randrange(24)
        local = utc.astimezone(agent.zone)
        day = local.date()
        level = agent.week[6 if day in free else day.weekday()][local.hour]
        if rests_after_christmas and (day.month, day.day) >= (12, 27):
            level *= 0.3
        if day.day == 1 or (day + timedelta(days=2)).day <= 2:
            level *= agent.month_end
        if surge <= hour < surge + 4 and surge:
            level *= 1.7
        if hour >= agent.changes[0] and agent.style != "keeps":
            level *= agent.changes[1]
        works = agent.joins <= hour < agent.leaves and hour not in maintained
        agent.levels.append(level * agent.growth ** ((hour - EVALUATED) / 168) if works else 0.0)


def simulate(agent: Agent, fleet: Fleet, random: Random) -> None:
    """Generate the agent's usage of each hour, with its faults."""
    valid_until = [0.0] * max(agent.instances_at(HOURS), agent.instances)
    renews_early = random.uniform(0, 600) / 3600
    day_factor = 1.0
    for hour, level in enumerate(agent.levels):
        if hour % 24 == 0:
            day_factor = random.lognormvariate(0, agent.varies) if agent.style != "run" else 1.0
        rate = agent.amount * level * day_factor
        tokens = 0
        if agent.style == "run" and level:
            tokens = 0 if random.random() < 0.005 else max(1, poisson(rate, random) if rate > 2 else round(rate))
        elif agent.style == "job" and level:
            tokens = poisson(random.gammavariate(agent.shape, rate / agent.shape), random)
        elif level:
            if random.random() < 0.005:
                # A release restarts the instances, so they have no tokens.
                valid_until = [0.0] * len(valid_until)
            for instance, until in enumerate(valid_until[: agent.instances_at(hour)]):
                call = max(until, hour) + random.expovariate(rate)
                while call < hour + 1:
                    tokens += 1
                    valid_until[instance] = call + TOKEN_LIFETIME / 3600 - renews_early
                    call = valid_until[instance] + random.expovariate(rate)
        calls = poisson(agent.own_calls * agent.expected(hour) * day_factor, random) if agent.own_calls and level else 0
        rejected = poisson(agent.rejected, random) if level else 0
        if level and random.random() < 0.0005:
            rejected += random.randint(2, 6)
        first = Usage(*((count + random.getrandbits(1)) // 2 for count in (tokens, calls, rejected)))
        second = Usage(tokens - first.tokens, calls - first.requests, rejected - first.rejected)
        agent.usage.append((first.plus(Usage(0, first.tokens)), second.plus(Usage(0, second.tokens))))
    for fault in agent.faults:
        fault.apply(agent, random)


def _add_faults(fleet: Fleet, random: Random) -> None:
    for agent in fleet.agents:
        if agent.name.startswith("uncached") and agent.leaves > EVALUATED:
            kind = "uncached client" if agent.joins > EVALUATED else "always uncached"
            fault = Event(kind, [agent], max(agent.joins, EVALUATED), min(agent.leaves, HOURS))
            fault.countable = sum(map(agent.expected, fault.hours()[: -7 * 24])) >= 200
            fleet.faults.append(fault)
    if random.random() < 0.25:
        return
    number = min(random.randint(2, 7), 1 + len(fleet.agents) // 2)
    kinds = random.choices(list(FAULTS), list(FAULTS.values()), k=number)
    # Outages are added last, because an outage must not hide the beginning of another fault.
    for kind in sorted(kinds, key=lambda kind: (kind == "outage", kind)):
        for _ in range(30):
            new_fault = _make_fault(kind, fleet, random)
            if new_fault and _has_room(new_fault, fleet):
                fleet.faults.append(new_fault)
                for agent in new_fault.agents or fleet.agents:
                    agent.faults.append(new_fault)
                break


def _has_room(fault: Event, fleet: Fleet) -> bool:
    """Return whether no other fault concerns the same agents, or begins or ends within a day of an outage."""
    for other in fleet.faults:
        ends = other.begins if other.kind in LASTING else other.ends
        is_near = other.begins < fault.ends + 24 and fault.begins - 24 < ends and other.kind != "always uncached"
        if set(fault.agents) & set(other.agents) or (fault.kind == "outage" and is_near):
            return False
    return True


def _make_fault(kind: str, fleet: Fleet, random: Random) -> Event | None:
    if kind in ("outage", "weekend run"):
        return _outage(fleet, random) if kind == "outage" else _weekend_run(fleet, random)
    agent = random.choice(fleet.agents)
    # A lasting fault begins in the first of the two weeks, so that it lasts for at least a week.
    last_start = (7 if kind in LASTING else EVALUATED_DAYS - 1) * 24
    begins = EVALUATED + random.uniform(0, last_start)
    lasts = {"retry loop": (1, 8), "leak": (6, 72), "rotated secret": (2, 48)}.get(kind, (HOURS, HOURS))
    ends = min(begins + random.uniform(*lasts), HOURS)
    usual = agent.active_mean()
    if not agent.joins + 3 * 168 < begins or agent.leaves < HOURS or not usual:
        return None
    fault = Event(kind, [agent], begins, ends)
    if kind == "retry loop":
        if random.random() < 0.8 and not agent.levels[int(begins)]:
            return None
        fault.size = _log_uniform(random, 200, 4000)
        fault.countable = fault.size >= 3 * max(map(agent.expected, range(EVALUATED - 28 * 24, EVALUATED)))
    elif kind == "leak":
        fault.size = random.uniform(2.5, 8) * usual
        if random.random() < 0.6:
            begin = random.randrange(24)
            fault.hours_of_day = frozenset((begin + n) % 24 for n in range(10))
        stolen = fault.leaked_tokens()
        busiest = max(range(len(stolen)), key=lambda n: sum(stolen[n : n + 24]))
        hours = [hour for hour in fault.hours()[busiest : busiest + 24] if hour % 24 in fault.hours_of_day]
        fault.countable = sum(stolen[busiest : busiest + 24]) >= max(30, 5 * agent.deviation(hours))
    elif kind == "silence":
        days = [range(day, day + 24) for day in range(math.ceil(begins), HOURS - 47, 24)]
        fault.countable = sum(min(CERTAIN, sum(map(agent.surprise, day))) for day in days) >= QUIET
    elif kind == "uncached client":
        if agent.style != "keeps":
            return None
        fault.size = _log_uniform(random, 20, 1000)
        per_day = [sum(agent.levels[begin : begin + 24]) for begin in range(int(begins), HOURS - 23, 24)]
        midnights = range(EVALUATED - 168, EVALUATED, 24)
        busiest_day = max(sum(map(agent.expected, range(begin, begin + 24))) for begin in midnights)
        fault.countable = bool(per_day) and fault.size * max(per_day) >= max(50, 4 * busiest_day)
    else:
        if agent.instances > 1 and random.random() < 0.4:
            fault.share = 1 / agent.instances
        fault.size = _log_uniform(random, 4, 200) * fault.share
        fault.countable = sum(fault.size * agent.levels[hour] for hour in fault.hours()[:24]) >= 20
    return fault


def _outage(fleet: Fleet, random: Random) -> Event | None:
    begins = EVALUATED + random.uniform(0, (EVALUATED_DAYS - 2) * 24)
    ends = begins + random.uniform(2, 30)
    week = range(EVALUATED - 168, EVALUATED)
    usual = sum(agent.expected(hour) for agent in fleet.agents for hour in week) / len(week)
    if sum(agent.expected(int(begins)) for agent in fleet.agents) < usual / 2:
        return None
    fault = Event("outage", [], begins, ends)
    # The first and the last hour are not completely quiet.
    quiet = fault.hours()[1:-1]
    fault.countable = sum(agent.surprise(hour) for agent in fleet.agents for hour in quiet) >= QUIET
    return fault


def _weekend_run(fleet: Fleet, random: Random) -> Event | None:
    resting = [
        agent
        for agent in fleet.agents
        if agent.style != "run"
        and not any(agent.week[5] + agent.week[6])
        and agent.joins + 4 * 168 < EVALUATED
        and agent.leaves >= HOURS
        and not any(agent in fault.agents for fault in fleet.faults)
    ]
    if not resting:
        return None
    agents = random.sample(resting, min(len(resting), random.randint(1, 3)))
    days = [day for day in range(HISTORY_DAYS, HISTORY_DAYS + EVALUATED_DAYS) if fleet.at(day * 24).weekday() >= 5]
    day = random.choice(days) * 24
    factor = random.uniform(0.5, 1)
    for agent in agents:
        for hour in range(8, 18):
            agent.levels[day + hour] = factor * random.uniform(0.6, 1)
    fault = Event("weekend run", agents, day, day + 24)
    fault.countable = sum(agent.expected(hour) for agent in agents for hour in range(day, day + 24)) >= 10
    return fault
