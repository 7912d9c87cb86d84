"""Situations that the plain fleets lack, put into a fleet: incidents, and what is unusual without being a fault.

Each is a function that picks its agents among those that nothing else happens to, changes their usage, and says what
it was: a :class:`~bench.findings.fleets.Fault` or a :class:`~bench.findings.fleets.Benign`. The same seed makes the
same. If no agent is fit for it, it does not happen.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bench.findings.fleets import (
    EVALUATED,
    HOURS,
    NOTHING,
    Agent,
    Benign,
    Fault,
    Fleet,
    Usage,
    make_agent,
    poisson,
    set_levels,
    simulate,
)

DAY, WEEK = 24, 168

Situation = Callable[[Fleet, Random], None]


def add_situations(fleet: Fleet) -> None:
    """Put a few of them into a fleet."""
    random = Random(f"situations {fleet.seed}")
    for situation in random.sample(SITUATIONS, random.randint(3, 6)):
        situation(fleet, random)


def _repeated_loop(fleet: Fleet, random: Random) -> None:
    """The same loop on the same weekday of every week for up to nine weeks."""
    for agent, begins, ends, size in _loop(fleet, random, random.uniform(1, 4)):
        for weeks in range(1, random.randint(3, 9)):
            before = begins - weeks * WEEK
            _count(agent, before, ends - weeks * WEEK, size, random)
            if ends - weeks * WEEK > EVALUATED:
                _fault(fleet, "repeated loop", [agent], before, ends - weeks * WEEK, size)
        _fault(fleet, "repeated loop", [agent], begins, ends, size)


def _second_loop(fleet: Fleet, random: Random) -> None:
    """A loop, up to five weeks after another one that lasted for days."""
    for agent, begins, ends, size in _loop(fleet, random, random.uniform(1, 6)):
        before = EVALUATED - random.uniform(8, 35) * DAY
        _count(agent, before, before + random.uniform(2, 5) * DAY, size * random.uniform(0.8, 1.5), random)
        _fault(fleet, "second loop", [agent], begins, ends, size)


def _night_loop(fleet: Fleet, random: Random) -> None:
    """A loop of a busy agent while it rests, that is no more than one and a half of its busiest hour."""
    for agent in _pick(fleet, random, lambda one: one.active_mean() >= 30):
        busiest = max(map(_tokens, agent.usage[EVALUATED - WEEK : EVALUATED]))
        quiet = [hour for hour in _hours(fleet) if _typical(agent, hour) < busiest / 10]
        if quiet and busiest >= 200:
            begins = random.choice(quiet)
            size = busiest * random.uniform(0.8, 1.5)
            _count(agent, begins, begins + 3, size, random)
            _fault(fleet, "night loop", [agent], begins, begins + 3, size)


def _newcomers_loop(fleet: Fleet, random: Random) -> None:
    """A loop of an agent that joined up to ten days before."""
    joins = EVALUATED + random.randrange(3 * DAY)
    agent = _newcomer(fleet, random, random.choice(("office", "constant", "customers")), joins)
    begins = joins + random.uniform(6, 240)
    size = random.uniform(700, 4000)
    _count(agent, begins, begins + random.uniform(2, 8), size, random)
    _fault(fleet, "newcomer's loop", [agent], begins, begins + 8, size)
    fleet.benign.append(Benign("newcomer", [agent], joins, HOURS))


def _backoff_loop(fleet: Fleet, random: Random) -> None:
    """A loop that waits longer and longer, down to a low rate at which it goes on."""
    for agent in _pick(fleet, random, lambda one: 1 <= one.active_mean() <= 40):
        begins, hours = random.choice(_hours(fleet)), random.randint(4, 30)
        size, floor = random.uniform(150, 600), random.uniform(20, 90)
        for hour in range(hours):
            _count(agent, begins + hour, begins + hour + 1, max(floor, size * 0.4**hour), random)
        if size >= 3 * max(map(_tokens, agent.usage[EVALUATED - 4 * WEEK : EVALUATED])):
            _fault(fleet, "backoff loop", [agent], begins, begins + hours, size)
        else:
            fleet.benign.append(Benign("hidden loop", [agent], begins, begins + hours))


def _doubled(fleet: Fleet, random: Random) -> None:
    """A second client that doubles an agent's tokens for one to five days, while it works."""
    for agent in _pick(fleet, random, lambda one: one.active_mean() >= 3):
        begins = random.choice(_hours(fleet))
        ends = min(HOURS, begins + random.randint(DAY, 5 * DAY))
        means = [agent.expected(hour) for hour in range(begins, ends)]
        for hour, mean in enumerate(means, begins):
            _count(agent, hour, hour + 1, mean, random)
        day = list(range(begins, begins + DAY))
        stolen = sum(means[:DAY])
        is_countable = stolen >= max(30, 5 * agent.deviation(day))
        _fault(fleet, "doubled tokens", [agent], begins, ends, stolen / DAY, is_countable)


def _partial_silence(fleet: Fleet, random: Random) -> None:
    """A quarter to a half of the agents at work are quiet for some hours, from the same minute on."""
    begins, hours = random.choice(_hours(fleet)), random.randint(4, 12)
    at_work = [one for one in _fit(fleet) if min(one.surprise(begins + hour) for hour in range(-1, 4)) > 1]
    number = round(len(at_work) * random.uniform(0.3, 0.5))
    if number < 4:
        return
    stopped = random.sample(at_work, number)
    for agent in stopped:
        agent.usage[begins : begins + hours] = [(NOTHING, NOTHING)] * hours
    _fault(fleet, "partial silence", stopped, begins, begins + hours, 0)


def _backfill(fleet: Fleet, random: Random) -> None:
    """A batch that is worked off at two to five times the agent's peak."""
    for agent in _pick(fleet, random, lambda one: not one.keeps_tokens and one.amount >= 2):
        begins, hours = random.choice(_hours(fleet)), random.randint(2, 8)
        _count(agent, begins, begins + hours, agent.amount * random.uniform(2, 5), random)
        fleet.benign.append(Benign("backfill", [agent], begins, begins + hours))


def _batch(fleet: Fleet, random: Random) -> None:
    """A job of one hour each week, each second week, or on the first of each month."""
    agent = make_agent("sparse", f"batch-{len(fleet.agents) + 1}", "europe", random)
    agent.joins, agent.leaves = 0, HOURS
    _enroll(fleet, agent)
    rhythm, begins, size = (
        random.choice(("week", "fortnight", "month")),
        random.randrange(WEEK),
        random.uniform(100, 900),
    )
    for hour in range(HOURS):
        runs = hour % (2 * WEEK) == begins if rhythm == "fortnight" else hour % WEEK == begins
        if rhythm == "month":
            runs = fleet.at(hour).day == 1 and hour % DAY == begins % DAY
        if runs:
            _count(agent, hour, hour + 1, size * random.uniform(0.8, 1.2), random)
    fleet.benign.append(Benign("batch", [agent], 0, HOURS))


def _blue_green(fleet: Fleet, random: Random) -> None:
    """A deployment runs twice the instances for some hours, each with a token of its own."""
    for agent in _pick(fleet, random, lambda one: one.keeps_tokens and one.instances >= 4):
        begins, hours = random.choice(_hours(fleet)), random.randint(1, 4)
        for hour in range(begins, begins + hours):
            _count(agent, hour, hour + 1, agent.expected(hour), random)
        fleet.benign.append(Benign("blue-green", [agent], begins, begins + hours))


def _replicas(fleet: Fleet, random: Random) -> None:
    """A busy agent of ten to forty instances that keep their tokens, which goes on being so."""
    agent = make_agent("constant", f"replicas-{len(fleet.agents) + 1}", "europe", random)
    agent.style, agent.instances, agent.amount, agent.growth = "keeps", random.randint(10, 40), 20.0, 1.0
    agent.joins, agent.leaves, agent.changes = 0, HOURS, (0, 1.0)
    _enroll(fleet, agent)
    fleet.benign.append(Benign("replicas", [agent], 0, HOURS))


def _replaced(fleet: Fleet, random: Random) -> None:
    """An agent is suspended, and another one does its work from then on."""
    for agent in _pick(fleet, random, lambda one: one.active_mean() >= 2):
        at = random.choice(_hours(fleet))
        successor = make_agent("office", f"successor-{len(fleet.agents) + 1}", "europe", random)
        successor.joins, successor.leaves = at, HOURS
        successor.usage = [(NOTHING, NOTHING)] * at + agent.usage[at:]
        successor.levels = [0.0] * at + agent.levels[at:]
        fleet.agents.append(successor)
        agent.usage[at:] = [(NOTHING, NOTHING)] * (HOURS - at)
        agent.leaves, agent.leaves_by = at, "suspended"
        fleet.benign.append(Benign("replaced", [agent, successor], at, HOURS))


def _webhook(fleet: Fleet, random: Random) -> None:
    """An agent whose bursts have a heavy tail."""
    agent = make_agent("sparse", f"webhook-{len(fleet.agents) + 1}", "europe", random)
    agent.joins, agent.leaves = 0, HOURS
    _enroll(fleet, agent)
    amount, left, burst = random.uniform(4, 60), 0, 0.0
    for hour in range(HOURS):
        if left == 0:
            starts = random.random() < 0.03
            burst = min(40, 0.7 * random.random() ** (-1 / 1.3)) if starts else 0.0
            left = random.randint(1, 5) if starts else 1
        left -= 1
        _count(agent, hour, hour + 1, amount * (0.2 + burst / 2), random)
    fleet.benign.append(Benign("webhook", [agent], 0, HOURS))


def _healthy_newcomer(fleet: Fleet, random: Random) -> None:
    """An agent that joins and works as agents do."""
    joins = EVALUATED + random.randrange(8 * DAY)
    agent = _newcomer(fleet, random, random.choice(("office", "customers", "bursty", "uncached")), joins)
    if not agent.name.startswith("uncached"):
        fleet.benign.append(Benign("newcomer", [agent], joins, HOURS))
    else:
        _fault(fleet, "uncached client", [agent], joins, HOURS, agent.amount, False)


SITUATIONS: list[Situation] = [
    _repeated_loop,
    _second_loop,
    _night_loop,
    _newcomers_loop,
    _backoff_loop,
    _doubled,
    _partial_silence,
    _backfill,
    _batch,
    _blue_green,
    _replicas,
    _replaced,
    _webhook,
    _healthy_newcomer,
]


def _fit(fleet: Fleet) -> list[Agent]:
    """Agents with five weeks of history that nothing happens to; none while or near an outage happens to all."""
    busy = {agent for fault in fleet.faults for agent in fault.agents}
    busy |= {agent for benign in fleet.benign for agent in benign.agents}
    return [one for one in fleet.agents if one not in busy and one.joins + 5 * WEEK < EVALUATED and one.leaves >= HOURS]


def _pick(fleet: Fleet, random: Random, is_fit: Callable[[Agent], bool]) -> list[Agent]:
    """One of the fit agents, in a list; or none."""
    fit = [one for one in _fit(fleet) if one.style != "run" and is_fit(one)]
    return [random.choice(fit)] if fit and _hours(fleet) else []


def _loop(fleet: Fleet, random: Random, hours: float) -> list[tuple[Agent, float, float, float]]:
    """A loop of an agent, already counted: the agent, its begin and end, and tokens an hour; or none."""
    for agent in _pick(fleet, random, lambda one: one.active_mean() >= 1):
        begins = random.choice(_hours(fleet)) + random.random()
        size = max(random.uniform(300, 3000), 3.5 * max(map(_tokens, agent.usage[EVALUATED - 4 * WEEK : EVALUATED])))
        _count(agent, begins, begins + hours, size, random)
        return [(agent, begins, begins + hours, size)]
    return []


def _hours(fleet: Fleet) -> list[int]:
    """The hours of the evaluated span at which something may begin: a day and more from any outage and from its end."""
    outages = [fault for fault in fleet.faults if fault.kind == "outage"]
    return [
        hour
        for hour in range(EVALUATED + DAY, HOURS - 2 * DAY)
        if not any(one.begins - 2 * DAY < hour < one.ends + 2 * DAY for one in outages)
    ]


def _newcomer(fleet: Fleet, random: Random, kind: str, joins: int) -> Agent:
    agent = make_agent(kind, f"{kind}-{len(fleet.agents) + 1}", random.choice(("europe", "americas", "asia")), random)
    agent.joins, agent.leaves = joins, HOURS
    _enroll(fleet, agent)
    return agent


def _enroll(fleet: Fleet, agent: Agent) -> None:
    set_levels(agent, fleet, Random(f"levels {fleet.seed} {agent.name}"))
    simulate(agent, fleet, Random(f"usage {fleet.seed} {agent.name}"))
    for outage in fleet.faults:
        if outage.kind == "outage":
            hours = outage.hours()
            agent.usage[hours.start : hours.stop] = [(NOTHING, NOTHING)] * len(hours)
    fleet.agents.append(agent)


def _count(agent: Agent, begins: float, ends: float, size: float, random: Random) -> None:
    """Count so many tokens an hour in addition."""
    for half in range(int(begins * 2), min(HOURS * 2, -int(-ends * 2 // 1))):
        covered = max(0.0, min(ends, half / 2 + 0.5) - max(begins, half / 2))
        tokens = poisson(size * covered, random)
        pair = list(agent.usage[half // 2])
        pair[half % 2] = pair[half % 2].plus(Usage(tokens, tokens))
        agent.usage[half // 2] = (pair[0], pair[1])


def _tokens(usage: tuple[Usage, Usage]) -> int:
    return usage[0].tokens + usage[1].tokens


def _typical(agent: Agent, hour: int) -> float:
    """The most tokens of this hour of the week in four weeks."""
    return max(_tokens(agent.usage[hour - weeks * WEEK]) for weeks in range(1, 5))


def _fault(
    fleet: Fleet, kind: str, agents: list[Agent], begins: float, ends: float, size: float, is_countable: bool = True
) -> None:
    fleet.faults.append(Fault(kind, agents, begins, min(ends, HOURS), size, countable=is_countable))
