"""Situations that a rule needs and that neither plain fleets nor the second generator have, put into a fleet.

Each is a function that picks its agents among those that nothing else happens to, changes their usage, and adds what it
was to the fleet's faults, or to what is benign. The same seed makes the same. If no agent is fit for it, it does not
happen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from bench.findings.fleets import (
    EVALUATED,
    HOURS,
    NOTHING,
    Agent,
    Event,
    Fleet,
    Usage,
    make_agent,
    poisson,
    set_levels,
    simulate,
)

DAY, WEEK = 24, 168


def add_situations(fleet: Fleet) -> None:
    """Put a few of them into a fleet."""
    random = Random(f"situations {fleet.seed}")
    for situation in random.sample(SITUATIONS, random.randint(2, 4)):
        situation(fleet, random)


def _repeated_loop(fleet: Fleet, random: Random) -> None:
    """The same loop on the same weekday of every week for up to nine weeks."""
    if agent := _pick(fleet, random, 1):
        begins, hours, size = _begins(fleet, random), random.uniform(1, 4), _size_of_loop(agent, random)
        for weeks in range(random.randint(3, 9)):
            before = begins - weeks * WEEK
            _count(agent, before, before + hours, size, random)
            if before + hours > EVALUATED:
                fleet.faults.append(Event("repeated loop", [agent], before, before + hours, size))


def _second_loop(fleet: Fleet, random: Random) -> None:
    """A loop, up to five weeks after another one that lasted for days."""
    if agent := _pick(fleet, random, 1):
        begins, hours, size = _begins(fleet, random), random.uniform(1, 6), _size_of_loop(agent, random)
        before = EVALUATED - random.uniform(8, 35) * DAY
        _count(agent, before, before + random.uniform(2, 5) * DAY, size * random.uniform(0.8, 1.5), random)
        _count(agent, begins, begins + hours, size, random)
        fleet.faults.append(Event("second loop", [agent], begins, begins + hours, size))


def _night_loop(fleet: Fleet, random: Random) -> None:
    """A loop of a busy agent while it rests, that is no more than one and a half of its busiest hour."""
    if agent := _pick(fleet, random, 5):
        busiest = _busiest(agent, range(EVALUATED - WEEK, EVALUATED))
        same_hours = {hour: range(hour - 4 * WEEK, hour, WEEK) for hour in _hours(fleet)}
        quiet = [hour for hour, before in same_hours.items() if _busiest(agent, before) < busiest / 10]
        if quiet and busiest >= 40:
            begins, size = random.choice(quiet), busiest * random.uniform(0.8, 1.5)
            _count(agent, begins, begins + 3, size, random)
            fleet.faults.append(Event("night loop", [agent], begins, begins + 3, size))


def _newcomers_loop(fleet: Fleet, random: Random) -> None:
    """A loop of an agent that joined up to ten days before."""
    joins = EVALUATED + random.randrange(3 * DAY)
    agent = _add_agent(fleet, random, random.choice(("office", "constant", "customers")), joins)
    begins, hours, size = joins + random.uniform(6, 240), random.uniform(2, 8), random.uniform(700, 4000)
    _count(agent, begins, begins + hours, size, random)
    fleet.faults.append(Event("newcomer's loop", [agent], begins, begins + hours, size))
    fleet.benign.append(Event("newcomer", [agent], joins, HOURS))


def _batch(fleet: Fleet, random: Random) -> None:
    """A job of one hour each week, each second week, or on the first of each month."""
    agent = _add_agent(fleet, random, "sparse")
    rhythm, begins, size = random.choice((WEEK, 2 * WEEK, None)), random.randrange(WEEK), random.uniform(100, 900)
    for hour in range(HOURS):
        is_first = fleet.at(hour).day == 1 and hour % DAY == begins % DAY
        if hour % rhythm == begins if rhythm else is_first:
            _count(agent, hour, hour + 1, size * random.uniform(0.8, 1.2), random)
    fleet.benign.append(Event("batch", [agent], 0, HOURS))


def _replicas(fleet: Fleet, random: Random) -> None:
    """A busy agent of ten to forty instances that keep their tokens, which goes on being so."""
    instances = random.randint(10, 40)
    agent = _add_agent(
        fleet, random, "constant", style="keeps", instances=instances, amount=20.0, growth=1.0, changes=(0, 1.0)
    )
    fleet.benign.append(Event("replicas", [agent], 0, HOURS))


SITUATIONS: list[Callable[[Fleet, Random], None]] = [
    _repeated_loop,
    _second_loop,
    _night_loop,
    _newcomers_loop,
    _batch,
    _replicas,
]


def _pick(fleet: Fleet, random: Random, min_mean: float) -> Agent | None:
    """An agent with five weeks of history that nothing happens to, and with so many tokens in an hour of work; ``None``
    if there is none, or outages leave no time.
    """
    busy = {agent for event in [*fleet.faults, *fleet.benign] for agent in event.agents}
    fit = [
        one
        for one in fleet.agents
        if one not in busy
        and one.joins + 5 * WEEK < EVALUATED
        and one.leaves >= HOURS
        and one.style != "run"
        and one.active_mean() >= min_mean
    ]
    return random.choice(fit) if fit and _hours(fleet) else None


def _hours(fleet: Fleet) -> list[int]:
    """The hours at which something may begin, two days and more from any outage and from the end of the span."""
    outages = [fault for fault in fleet.faults if fault.kind == "outage"]
    return [
        hour
        for hour in range(EVALUATED + DAY, HOURS - 2 * DAY)
        if not any(one.begins - 2 * DAY < hour < one.ends + 2 * DAY for one in outages)
    ]


def _begins(fleet: Fleet, random: Random) -> float:
    return random.choice(_hours(fleet)) + random.random()


def _size_of_loop(agent: Agent, random: Random) -> float:
    """Tokens an hour, above what is countable."""
    return max(random.uniform(300, 3000), 3.5 * _busiest(agent, range(EVALUATED - 4 * WEEK, EVALUATED)))


def _busiest(agent: Agent, hours: range) -> int:
    """The most tokens of any of these hours."""
    return max(first.tokens + second.tokens for first, second in (agent.usage[hour] for hour in hours))


def _add_agent(fleet: Fleet, random: Random, kind: str, joins: int = 0, **attributes: object) -> Agent:
    """Add an agent of a kind that stays, with its usage."""
    agent = make_agent(kind, f"{kind}-{len(fleet.agents) + 1}", random.choice(("europe", "americas", "asia")), random)
    for name, value in ({"joins": joins, "leaves": HOURS} | attributes).items():
        setattr(agent, name, value)
    set_levels(agent, fleet, Random(f"levels {fleet.seed} {agent.name}"))
    simulate(agent, fleet, Random(f"usage {fleet.seed} {agent.name}"))
    for outage in fleet.faults:
        if outage.kind == "outage":
            hours = outage.hours()
            agent.usage[hours.start : hours.stop] = [(NOTHING, NOTHING)] * len(hours)
    fleet.agents.append(agent)
    return agent


def _count(agent: Agent, begins: float, ends: float, size: float, random: Random) -> None:
    """Count so many tokens an hour in addition."""
    for half in range(int(begins * 2), min(HOURS * 2, math.ceil(ends * 2))):
        covered = max(0.0, min(ends, half / 2 + 0.5) - max(begins, half / 2))
        tokens = poisson(size * covered, random)
        pair = list(agent.usage[half // 2])
        pair[half % 2] = pair[half % 2].plus(Usage(tokens, tokens))
        agent.usage[half // 2] = (pair[0], pair[1])
