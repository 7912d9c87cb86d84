"""Situations that a rule needs and that neither plain fleets nor the second generator have, put into a fleet.

Each is a function that picks its agents among those that nothing else happens to, changes their usage, and adds what it
was to the fleet's faults, or to what is benign. The same seed makes the same. If no agent is fit for it, it does not
happen.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bench.findings.fleets import COUNTRIES, EVALUATED, HOURS, Agent, Event, Fleet, make_agent, set_levels, simulate

DAY, WEEK = 24, 168


def add_situations(fleet: Fleet) -> None:
    """Put a few of them into a fleet."""
    random = Random(f"situations {fleet.seed}")
    for situation in random.sample(SITUATIONS, random.randint(2, 3)):
        situation(fleet, random)


def _repeated_loop(fleet: Fleet, random: Random) -> None:
    """The same loop on the same weekday of every week for up to nine weeks."""
    if picked := _pick(fleet, random):
        (agent, begins, size), hours = picked, random.uniform(1, 4)
        for weeks in range(random.randint(3, 9)):
            before = begins - weeks * WEEK
            loop = Event("repeated loop", [agent], before, before + hours, size)
            loop.change(agent, random)
            if loop.ends > EVALUATED:
                fleet.faults.append(loop)


def _second_loop(fleet: Fleet, random: Random) -> None:
    """A loop, up to five weeks after another one that lasted for days."""
    if picked := _pick(fleet, random):
        (agent, begins, size), hours = picked, random.uniform(1, 6)
        before = EVALUATED - random.uniform(8, 35) * DAY
        first = Event(
            "first loop", [agent], before, before + random.uniform(2, 5) * DAY, size * random.uniform(0.8, 1.5)
        )
        second = Event("second loop", [agent], begins, begins + hours, size)
        first.change(agent, random)
        second.change(agent, random)
        fleet.faults.append(second)


def _newcomers_loop(fleet: Fleet, random: Random) -> None:
    """A loop of an agent that joined up to ten days before."""
    joins = EVALUATED + random.randrange(3 * DAY)
    agent = _add_agent(fleet, random, random.choice(("office", "constant", "customers")), joins)
    begins, hours, size = joins + random.uniform(6, 240), random.uniform(2, 8), random.uniform(700, 4000)
    loop = Event("newcomer's loop", [agent], begins, begins + hours, size)
    loop.change(agent, random)
    fleet.faults.append(loop)
    fleet.benign.append(Event("newcomer", [agent], joins, HOURS))


def _replicas(fleet: Fleet, random: Random) -> None:
    """A busy agent of ten to forty instances that keep their tokens, which goes on being so."""
    instances = random.randint(10, 40)
    agent = _add_agent(
        fleet, random, "constant", style="keeps", instances=instances, amount=20.0, growth=1.0, changes=(0, 1.0)
    )
    fleet.benign.append(Event("replicas", [agent], 0, HOURS))


SITUATIONS: tuple[Callable[[Fleet, Random], None], ...] = (_repeated_loop, _second_loop, _newcomers_loop, _replicas)


def _pick(fleet: Fleet, random: Random) -> tuple[Agent, float, float] | None:
    """An agent with five weeks of history that nothing happens to, and when its loop begins: two days and more from any
    outage and from the end of the span; and the loop's tokens an hour, above what is countable. ``None`` if there is
    none, or outages leave no time.
    """
    busy = {agent for event in [*fleet.faults, *fleet.benign] for agent in event.agents}
    fit = [
        one
        for one in fleet.agents
        if one not in busy
        and one.joins + 5 * WEEK < EVALUATED
        and one.leaves >= HOURS
        and one.style != "run"
        and one.active_mean() >= 1
    ]
    outages = [fault for fault in fleet.faults if fault.kind == "outage"]
    hours = [
        hour
        for hour in range(EVALUATED + DAY, HOURS - 2 * DAY)
        if not any(one.begins - 2 * DAY < hour < one.ends + 2 * DAY for one in outages)
    ]
    if not fit or not hours:
        return None
    agent = random.choice(fit)
    busiest = max(sum(half.tokens for half in agent.usage[hour]) for hour in range(EVALUATED - 4 * WEEK, EVALUATED))
    return agent, random.choice(hours) + random.random(), max(random.uniform(300, 3000), 3.5 * busiest)


def _add_agent(fleet: Fleet, random: Random, kind: str, joins: int = 0, **attributes: object) -> Agent:
    """Add an agent of a kind that stays, with its usage."""
    agent = make_agent(kind, f"{kind}-{len(fleet.agents) + 1}", random.choice(list(COUNTRIES)), random)
    for name, value in ({"joins": joins, "leaves": HOURS} | attributes).items():
        setattr(agent, name, value)
    agent.faults = [fault for fault in fleet.faults if fault.kind == "outage"]
    set_levels(agent, fleet, Random(f"levels {fleet.seed} {agent.name}"))
    simulate(agent, fleet, Random(f"usage {fleet.seed} {agent.name}"))
    fleet.agents.append(agent)
    return agent
