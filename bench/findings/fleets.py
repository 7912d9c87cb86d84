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
"""What is too unlikely to be chance, as the negative logarithm of its probability: 1 in 3,000."""

CERTAIN = 3.0
"""The most that a quiet hour of one agent counts towards it; or, of a silent agent, a day, which may be a holiday."""


class Usage(NamedTuple):
    """What is counted of an agent. A token is a request too."""

    tokens: int = 0
    requests: int = 0
    rejected: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(eq=False)
class Agent:
    """An agent and how it works.

    :param style: ``keeps`` its token for its lifetime, an instance each; gets one for each ``job``; or a ``run`` by the
        clock.
    :param country: whose public holidays are like its Sundays, if any are.
    :param week: 7 days (from Monday) of 24 local hours, from 0 to 1, its peak.
    :param amount: at its peak, in an hour: calls of an instance where it keeps its tokens, otherwise tokens.
    :param shape: of the gamma distribution by which an hour's rate varies; the smaller, the burstier.
    :param varies: by how much its days differ, the standard deviation of the logarithm.
    :param growth: of the amount in a week, as a factor.
    :param own_calls: requests to our own API with each token.
    :param changes: from which hour on it has so many times the instances, or the amount where it does not keep tokens.
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
    """For each hour, what its amount is multiplied with."""

    usage: list[tuple[Usage, Usage]] = field(default_factory=list)
    """For each hour, its two halves."""

    def instances_at(self, hour: int) -> int:
        """How many instances of it run."""
        changed = max(1, round(self.instances * self.changes[1]))
        return self.instances if hour < self.changes[0] else min(max(8, self.instances), changed)

    def expected(self, hour: int) -> float:
        """Its tokens in an hour, on average and without any fault."""
        rate = self.amount * self.levels[hour]
        return self.instances_at(hour) * rate / (1 + rate) if self.style == "keeps" else rate

    def surprise(self, hour: int) -> float:
        """How unlikely a quiet hour is: the negative logarithm of its probability."""
        mean = self.expected(hour)
        if self.style == "run":
            return CERTAIN if mean else 0.0
        return min(CERTAIN, self.shape * math.log1p(mean / self.shape) if self.style == "job" else mean)

    def deviation(self, hours: list[int]) -> float:
        """The standard deviation of its tokens in these hours together."""
        means = [self.expected(hour) for hour in hours]
        if self.style != "job":
            return math.sqrt(sum(means))
        by_hour = sum(mean + mean * mean / self.shape for mean in means)
        return math.sqrt(by_hour + (self.varies * sum(means)) ** 2)

    def active_mean(self) -> float:
        """Tokens in an hour in which it works, in the last four weeks before the evaluated span or since it joined."""
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
        """The share of a time that lies in it."""
        return max(0.0, min(ends, self.ends) - max(begins, self.begins)) / (ends - begins)

    def hours(self) -> range:
        """All that it touches, whole or in part."""
        return range(int(self.begins), min(HOURS, math.ceil(self.ends)))

    def taken(self) -> list[float]:
        """Of a leak: the tokens of each hour that it touches, on average."""
        return [self.size * self.covered(hour, hour + 1) * (hour % 24 in self.hours_of_day) for hour in self.hours()]

    def change(self, agent: Agent, random: Random) -> None:
        """Let it happen to an agent that has usage already."""
        for hour in self.hours():
            halves = enumerate(agent.usage[hour])
            first, second = (self.changed(half, agent, hour, hour + n / 2, random) for n, half in halves)
            agent.usage[hour] = first, second

    def changed(self, usage: Usage, agent: Agent, hour: int, begins: float, random: Random) -> Usage:
        """What becomes of the *usage* of half an hour from *begins* on."""
        covered = self.covered(begins, begins + 0.5)
        if self.kind in ("outage", "silence"):
            return Usage(*(_thin(count, covered, random) for count in usage))
        more = poisson(self.size * covered / 2, random)
        if self.kind == "leak" or self.kind.endswith("loop"):
            return usage.plus(Usage(more, more)) if hour % 24 in self.hours_of_day else usage
        more = poisson(self.size * agent.levels[hour] * covered / 2, random)
        if self.kind == "uncached client":
            left = _thin(usage.tokens, covered, random)
            return Usage(left + more, usage.requests - usage.tokens + left + more, usage.rejected)
        if self.kind == "rotated secret":
            left = _thin(usage.tokens, covered * self.share, random)
            requests = _thin(usage.requests - usage.tokens, covered * self.share, random)
            return Usage(left, left + requests, usage.rejected + more)
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
        """The instant so many hours after the start of its history."""
        return self.start + timedelta(hours=hour)


def poisson(mean: float, random: Random) -> int:
    """A count that is *mean* on average."""
    if mean > 60:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    count, limit, product = 0, math.exp(-mean), random.random()
    while product > limit:
        count += 1
        product *= random.random()
    return count


def _thin(count: int, share: float, random: Random) -> int:
    """A count without a share of it."""
    return sum(random.random() >= share for _ in range(count))


def _between(random: Random, least: float, most: float) -> float:
    """Uniform in its logarithm."""
    return math.exp(random.uniform(math.log(least), math.log(most)))


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
"""Whose public holidays an agent keeps, and the time zones that it may live in."""

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
"""How many of a hundred."""

FAULTS = {
    "retry loop": 5,
    "leak": 6,
    "outage": 4,
    "silence": 5,
    "weekend run": 7,
    "uncached client": 4,
    "rotated secret": 5,
}
"""How often one against another."""

LASTING = ("silence", "uncached client")
"""Those that end with the span."""


@functools.cache
def public_holidays(country: str) -> frozenset[date]:
    """Those of the years in which fleets live."""
    return frozenset(holidays.country_holidays(country, years=range(2024, 2029)))


def make_fleet(seed: str) -> Fleet:
    """The fleet of a seed."""
    random = Random(f"fleet {seed}")
    year, home = random.randint(2025, 2027), random.choice(list(COUNTRIES))
    evaluated = date(year, 1, 1) + timedelta(days=random.randrange(365))
    if random.random() < 0.5:
        evaluated = random.choice(sorted(public_holidays(home))) - timedelta(days=random.randrange(EVALUATED_DAYS))
    start = datetime.combine(evaluated - timedelta(days=HISTORY_DAYS), time(), UTC)
    number = int(_between(random, 5, 61))
    kinds = random.choices(list(KINDS_OF_AGENTS), list(KINDS_OF_AGENTS.values()), k=number)
    agents = []
    for index, kind in enumerate(kinds):
        country = home if random.random() < 0.6 else random.choice(list(COUNTRIES))
        agents.append(make_agent(kind, f"{kind}-{index + 1}", country, random))
    organization_id = f"org-{UUID(int=random.getrandbits(128), version=4)}"
    fleet = Fleet(seed, organization_id, start, agents, [])
    for agent in agents:
        set_levels(agent, fleet, Random(f"levels {seed} {agent.name}"))
    _inject(fleet, Random(f"faults {seed}"))
    for agent in agents:
        simulate(agent, fleet, Random(f"usage {seed} {agent.name}"))
    return fleet


def make_agent(kind: str, name: str, country: str, random: Random) -> Agent:
    """An agent of a kind, which nothing has happened to yet."""
    agent = Agent(
        name,
        UUID(int=random.getrandbits(128), version=4),
        "keeps" if random.random() < 0.6 else "job",
        [OFF] * 7,
        country,
        ZoneInfo(random.choice(COUNTRIES[country])),
        amount=1.0,
        instances=random.choice((1, 1, 1, 2, 2, 3, 4, 6, 8)),
        shape=_between(random, 2, 30),
        varies=random.uniform(0.05, 0.3),
        growth=1 + random.uniform(-0.03, 0.06),
        own_calls=_between(random, 1, 30) if random.random() < 0.4 else 0.0,
    )
    if kind in ("office", "uncached") or (kind in ("sparse", "bursty") and random.random() < 0.5):
        rest = random.choice((0.0, 0.0, 0.0, random.uniform(0.03, 0.2)))
        weekend = [rest * level for level in OFFICE]
        agent.week = [OFFICE] * 5 + [weekend, [0.6 * level for level in weekend]]
    elif kind in ("customers", "bursty"):
        profile, rest = random.choice((DAYTIME, EVENING)), random.uniform(0.4, 1.1)
        agent.week = [profile] * 5 + [[rest * level for level in profile]] * 2
        agent.surges = kind == "customers"
    elif kind in ("constant", "sparse"):
        agent.week, agent.country = [ALL_DAY] * 7, None
        agent.growth = 1.0 if random.random() < 0.5 else agent.growth
    jobs = {"office": (1, 40), "customers": (3, 80), "constant": (1, 20)}
    if kind in jobs:
        agent.amount = _between(random, 1, 60) if agent.style == "keeps" else _between(random, *jobs[kind])
    elif kind in ("sparse", "bursty", "uncached"):
        agent.style = "job"
        least, most = {"sparse": (0.05, 2), "bursty": (1, 30), "uncached": (100, 800)}[kind]
        agent.amount = _between(random, least, most)
        agent.shape = _between(random, *{"sparse": (0.3, 3), "bursty": (0.15, 1), "uncached": (8, 40)}[kind])
    else:
        _by_the_clock(agent, kind, random)
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


def _by_the_clock(agent: Agent, kind: str, random: Random) -> None:
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
    """Set what its amount is multiplied with in each hour."""
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
    """Count what it does in each hour, with its faults."""
    valid_until = [0.0] * max(agent.instances_at(HOURS), agent.instances)
    renews_early = random.uniform(0, 600) / 3600
    of_the_day = 1.0
    for hour, level in enumerate(agent.levels):
        if hour % 24 == 0:
            of_the_day = random.lognormvariate(0, agent.varies) if agent.style != "run" else 1.0
        rate = agent.amount * level * of_the_day
        tokens = 0
        if agent.style == "run" and level:
            tokens = 0 if random.random() < 0.005 else max(1, poisson(rate, random) if rate > 2 else round(rate))
        elif agent.style == "job" and level:
            tokens = poisson(random.gammavariate(agent.shape, rate / agent.shape), random)
        elif level:
            if random.random() < 0.005:
                valid_until = [0.0] * len(valid_until)  # a release: its instances start again
            for instance, until in enumerate(valid_until[: agent.instances_at(hour)]):
                asks = max(until, hour) + random.expovariate(rate)
                while asks < hour + 1:
                    tokens += 1
                    valid_until[instance] = asks + TOKEN_LIFETIME / 3600 - renews_early
                    asks = valid_until[instance] + random.expovariate(rate)
        calls = poisson(agent.own_calls * agent.expected(hour) * of_the_day, random) if agent.own_calls and level else 0
        rejected = poisson(agent.rejected, random) if level else 0
        if level and random.random() < 0.0005:
            rejected += random.randint(2, 6)
        first = Usage(*((count + random.getrandbits(1)) // 2 for count in (tokens, calls, rejected)))
        second = Usage(tokens - first.tokens, calls - first.requests, rejected - first.rejected)
        agent.usage.append((first.plus(Usage(0, first.tokens)), second.plus(Usage(0, second.tokens))))
    for fault in agent.faults:
        fault.change(agent, random)


def _inject(fleet: Fleet, random: Random) -> None:
    for agent in fleet.agents:
        if agent.name.startswith("uncached") and agent.leaves > EVALUATED:
            kind = "uncached client" if agent.joins > EVALUATED else "always uncached"
            habit = Event(kind, [agent], max(agent.joins, EVALUATED), min(agent.leaves, HOURS))
            habit.countable = sum(map(agent.expected, habit.hours()[: -7 * 24])) >= 200
            fleet.faults.append(habit)
    if random.random() < 0.25:
        return
    number = min(random.randint(2, 7), 1 + len(fleet.agents) // 2)
    kinds = random.choices(list(FAULTS), list(FAULTS.values()), k=number)
    # The outage last: it must not swallow another fault's beginning.
    for kind in sorted(kinds, key=lambda kind: (kind == "outage", kind)):
        for _ in range(30):
            fault = _make_fault(kind, fleet, random)
            if fault and _has_room(fault, fleet):
                fleet.faults.append(fault)
                for agent in fault.agents or fleet.agents:
                    agent.faults.append(fault)
                break


def _has_room(fault: Event, fleet: Fleet) -> bool:
    """Whether no other fault has its agents; nor, for an outage, begins or ends within a day of it."""
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
    # What lasts, begins in the first of the two weeks, so that it lasts for at least another.
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
        fault.size = _between(random, 200, 4000)
        fault.countable = fault.size >= 3 * max(map(agent.expected, range(EVALUATED - 28 * 24, EVALUATED)))
    elif kind == "leak":
        fault.size = random.uniform(2.5, 8) * usual
        if random.random() < 0.6:
            begin = random.randrange(24)
            fault.hours_of_day = frozenset((begin + n) % 24 for n in range(10))
        stolen = fault.taken()
        busiest = max(range(len(stolen)), key=lambda n: sum(stolen[n : n + 24]))
        hours = [hour for hour in fault.hours()[busiest : busiest + 24] if hour % 24 in fault.hours_of_day]
        fault.countable = sum(stolen[busiest : busiest + 24]) >= max(30, 5 * agent.deviation(hours))
    elif kind == "silence":
        days = [range(day, day + 24) for day in range(math.ceil(begins), HOURS - 47, 24)]
        fault.countable = sum(min(CERTAIN, sum(map(agent.surprise, day))) for day in days) >= QUIET
    elif kind == "uncached client":
        if agent.style != "keeps":
            return None
        fault.size = _between(random, 20, 1000)
        per_day = [sum(agent.levels[begin : begin + 24]) for begin in range(int(begins), HOURS - 23, 24)]
        usually = max(
            sum(map(agent.expected, range(begin, begin + 24))) for begin in range(EVALUATED - 168, EVALUATED, 24)
        )
        fault.countable = bool(per_day) and fault.size * max(per_day) >= max(50, 4 * usually)
    else:
        if agent.instances > 1 and random.random() < 0.4:
            fault.share = 1 / agent.instances
        fault.size = _between(random, 4, 200) * fault.share
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
    # Its first and its last hour are not wholly quiet.
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
