"""Fleets made in another way than :mod:`.fleets`, to see which rules carry over: no threshold is chosen by them.

An agent's week is drawn and not taken from a table: one to three peaks of the day, and a weight for each day of the
week. Its counts are negative binomial; its level drifts as a random walk; a Markov chain switches bursts on and off.
Holidays are days of the organization on which most agents rest and some do not. A campaign of days, a backlog after
a holiday, a new customer that lifts the level for good are **benign**. Incidents are those of an operator's list:
tight loops, loops with backoff, leaks that double an agent's tokens, silent agents, outages, agents that stop keeping
their tokens, rotated secrets. The same seed makes the same fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import cos, exp, pi
from random import Random
from uuid import UUID

from bench.findings.fleets import EVALUATED, HOURS, NOTHING, Agent, Benign, Fault, Fleet, Usage, poisson

DAY, WEEK = 24, 168


def make_renewal_fleet(seed: str) -> Fleet:
    """The fleet of a seed."""
    random = Random(f"renewal {seed}")
    start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=random.randrange(700))
    holidays = {random.randrange(HOURS // DAY) for _ in range(random.randint(1, 5))}
    home = random.randrange(DAY)
    fleet = Fleet(seed, f"org-{UUID(int=random.getrandbits(128), version=4)}", start, [], [])
    for number in range(random.choice((1, 2, 4, 8, 12, 20, 30, 45))):
        fleet.agents.append(_agent(f"agent-{number + 1}", home, holidays, fleet, random))
    for _ in range(random.choice((0, 0, 1, 2, 3, 4))):
        random.choice(INCIDENTS)(fleet, random)
    return fleet


def _agent(name: str, home: int, holidays: set[int], fleet: Fleet, random: Random) -> Agent:
    """An agent, with all its usage but for incidents. What ``levels`` has is its rate in each hour."""
    agent = Agent(
        name,
        UUID(int=random.getrandbits(128), version=4),
        random.choice(("keeps", "job", "job")),
        [],
        None,
        0,
        amount=exp(random.uniform(-1, 5)),
        instances=random.randint(1, 6),
        shape=exp(random.uniform(-0.5, 3.5)),
    )
    if random.random() < 0.1:
        agent.joins = random.randrange(DAY, HOURS - 3 * DAY)
    profile = _week(start=fleet.start.weekday(), home=home, random=random)
    rests_on_holidays, daily_spread = random.random() < 0.7, random.choice((0.05, 0.1, 0.2, 0.35))
    drift, bursts, leaves_burst = 0.0, random.choice((0.0, 0.0, 1 / 300, 1 / 60)), random.uniform(0.2, 0.7)
    burst, level_of_day, backlog = 1.0, 1.0, 1.0
    campaign = random.randrange(EVALUATED, HOURS) // DAY if random.random() < 0.04 else None
    lifted = random.randrange(HOURS) // DAY if random.random() < 0.06 else HOURS
    of_campaign, of_lift = random.uniform(1.5, 3), random.uniform(1.3, 2.2)
    for hour in range(HOURS):
        day = hour // DAY
        if hour % DAY == 0:
            drift += random.gauss(0, 0.02)
            backlog = random.uniform(1.1, 1.6) if rests_on_holidays and day - 1 in holidays else 1.0
            level_of_day = random.lognormvariate(0, daily_spread) * backlog
        if burst > 1:
            burst = 1.0 if random.random() < leaves_burst else burst
        elif random.random() < bursts:
            burst = random.uniform(1.5, 6)
        rate = agent.amount * profile[hour % WEEK] * exp(drift) * burst * level_of_day
        rate *= of_lift if day >= lifted else 1.0
        rate *= of_campaign if campaign is not None and campaign <= day < campaign + 3 else 1.0
        rate *= 0.1 * (random.random() < 0.5) if rests_on_holidays and day in holidays else 1.0
        rate = rate if hour >= agent.joins else 0.0
        agent.levels.append(rate)
        agent.usage.append(_counted(agent, rate, random))
    if campaign is not None:
        fleet.benign.append(Benign("campaign", [agent], campaign * DAY, (campaign + 3) * DAY))
    if EVALUATED - 2 * WEEK < lifted * DAY < HOURS:
        fleet.benign.append(Benign("lifted for good", [agent], lifted * DAY, HOURS))
    if agent.joins > EVALUATED - 3 * WEEK:
        fleet.benign.append(Benign("newcomer", [agent], agent.joins, HOURS))
    for day in holidays:
        if day * DAY >= EVALUATED - DAY:
            fleet.benign.append(Benign("holiday", [agent], day * DAY, (day + 2) * DAY))
    return agent


def _week(*, start: int, home: int, random: Random) -> list[float]:
    """The rate in each hour of the week, about 1 at its peaks, from the fleet's first weekday on."""
    peaks = [
        ((home + random.gauss(0, 4)) % DAY, random.uniform(0.5, 8), random.random())
        for _ in range(random.randint(1, 3))
    ]
    base = random.choice((0.0, 0.0, 0.05, 0.3, 1.0))
    rest = random.choice((0.0, 0.0, 0.1, 0.5, 1.0))
    weights = [random.uniform(0.7, 1) * (rest if (start + day) % 7 >= 5 else 1) for day in range(7)]
    week = []
    for hour in range(WEEK):
        near = max(exp(width * (cos(2 * pi * (hour % DAY - at) / DAY) - 1)) * high for at, width, high in peaks)
        near = 0.0 if near < 0.05 else near
        week.append((base + near) * weights[hour // DAY])
    return week


def _counted(agent: Agent, rate: float, random: Random) -> tuple[Usage, Usage]:
    """Both halves of an hour. An agent that keeps its tokens is issued at most one an instance."""
    if rate <= 0:
        return NOTHING, NOTHING
    if agent.keeps_tokens:
        share = 1 - exp(-rate / agent.instances)
        tokens = sum(random.random() < share for _ in range(agent.instances))
    else:
        tokens = poisson(random.gammavariate(agent.shape, rate / agent.shape), random)
    first = sum(random.random() < 0.5 for _ in range(tokens))
    return Usage(first, first), Usage(tokens - first, tokens - first)


def _pick(fleet: Fleet, random: Random, is_fit: Callable[[Agent], bool] = lambda _: True) -> Agent | None:
    """An agent with five weeks of history to which nothing happens."""
    busy = {agent for fault in fleet.faults for agent in fault.agents or fleet.agents}
    busy |= {agent for benign in fleet.benign if benign.kind != "holiday" for agent in benign.agents}
    fit = [one for one in fleet.agents if one not in busy and one.joins + 5 * WEEK < EVALUATED and is_fit(one)]
    return random.choice(fit) if fit else None


def _add(agent: Agent, hour: int, tokens: float, random: Random, rejected: float = 0) -> None:
    """Count so many tokens, or rejections, on average, more in an hour."""
    pair = []
    for half in agent.usage[hour]:
        more = poisson(tokens / 2, random)
        pair.append(half.plus(Usage(more, more, poisson(rejected / 2, random))))
    agent.usage[hour] = (pair[0], pair[1])


def _busiest(agent: Agent) -> int:
    """The most tokens of an hour in the four weeks before the evaluated span."""
    return max(first.tokens + second.tokens for first, second in agent.usage[EVALUATED - 4 * WEEK : EVALUATED])


def _fault(fleet: Fleet, kind: str, agents: list[Agent], begins: int, ends: int, size: float, countable: bool) -> None:
    fleet.faults.append(Fault(kind, agents, begins, min(ends, HOURS), size, countable=countable))


def _tight_loop(fleet: Fleet, random: Random) -> None:
    if agent := _pick(fleet, random):
        begins, hours, size = random.randrange(EVALUATED, HOURS - DAY), random.randint(1, 6), exp(random.uniform(5, 9))
        _fault(fleet, "retry loop", [agent], begins, begins + hours, size, size >= 3 * _busiest(agent))
        for hour in range(begins, begins + hours):
            _add(agent, hour, size, random)


def _backoff_loop(fleet: Fleet, random: Random) -> None:
    if agent := _pick(fleet, random):
        begins, hours = random.randrange(EVALUATED, HOURS - 2 * DAY), random.randint(6, 48)
        size, floor = random.uniform(60, 600), random.uniform(12, 60)
        _fault(fleet, "backoff loop", [agent], begins, begins + hours, size, size >= 3 * _busiest(agent))
        for hour in range(hours):
            _add(agent, begins + hour, max(floor, size / 2**hour), random)


def _leak(fleet: Fleet, random: Random) -> None:
    if agent := _pick(fleet, random, lambda one: sum(one.levels[EVALUATED - WEEK : EVALUATED]) > 350):
        begins, hours = random.randrange(EVALUATED, HOURS - 2 * DAY), random.randint(24, 168)
        _fault(fleet, "doubled tokens", [agent], begins, begins + hours, agent.amount, True)
        for hour in range(begins, min(HOURS, begins + hours)):
            _add(agent, hour, agent.levels[hour], random)


def _silent(fleet: Fleet, random: Random) -> None:
    if agent := _pick(fleet, random, lambda one: sum(one.levels[EVALUATED - WEEK : EVALUATED]) > 100):
        begins = random.randrange(EVALUATED, HOURS - WEEK)
        _fault(fleet, "silence", [agent], begins, HOURS, 0, True)
        agent.usage[begins:] = [(NOTHING, NOTHING)] * (HOURS - begins)


def _outage(fleet: Fleet, random: Random) -> None:
    begins, hours = random.randrange(EVALUATED, HOURS - 2 * DAY), random.randint(2, 20)
    lost = sum(min(agent.levels[hour], 3.0) for agent in fleet.agents for hour in range(begins, begins + hours))
    if fleet.faults:
        return
    _fault(fleet, "outage", [], begins, begins + hours, 0, lost >= 15)
    for agent in fleet.agents:
        agent.usage[begins : begins + hours] = [(NOTHING, NOTHING)] * hours


def _uncached(fleet: Fleet, random: Random) -> None:
    if agent := _pick(fleet, random, lambda one: one.keeps_tokens):
        begins, times = random.randrange(EVALUATED, HOURS - WEEK), random.uniform(30, 200)
        agent.style = "job"
        _fault(fleet, "uncached client", [agent], begins, HOURS, times, True)
        peak = max(agent.levels)
        for hour in range(begins, HOURS):
            _add(agent, hour, times * agent.levels[hour] / peak, random)


def _rotated(fleet: Fleet, random: Random) -> None:
    if agent := _pick(fleet, random, lambda one: sum(one.levels[EVALUATED - WEEK : EVALUATED]) > 100):
        begins, hours = random.randrange(EVALUATED, HOURS - 2 * DAY), random.randint(4, 48)
        _fault(fleet, "rotated secret", [agent], begins, begins + hours, 20, True)
        for hour in range(begins, begins + hours):
            agent.usage[hour] = (NOTHING, NOTHING)
            _add(agent, hour, 0, random, rejected=random.uniform(5, 50))


INCIDENTS: list[Callable[[Fleet, Random], None]] = [
    _tight_loop,
    _backoff_loop,
    _leak,
    _silent,
    _outage,
    _uncached,
    _rotated,
]
