"""``python -m bench.findings.ablation``: what each rule of ``spike`` is worth, by leaving it out.

The fleets are those of ``bench.findings --situations``. Their agents are judged by the functions of the product on
whole lists of counts, at the end of the evaluated span and without a database, which takes seconds. Use seeds that no
threshold was chosen on.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from agentidp.findings import spike, surprise, thresholds
from agentidp.findings.finding import Severity
from bench.findings.fleets import EVALUATED, EVALUATED_DAYS, Agent, Fault, Fleet, make_fleet
from bench.findings.scoring import ALSO_TRUE, MEANT
from bench.findings.situations import add_situations

Patch = tuple[Any, str, Any]

RULES: dict[str, list[Patch]] = {
    "all rules": [],
    "without the return period of an hour": [
        (thresholds, "INFO_RETURN_DAYS", math.inf),
        (thresholds, "WARNING_RETURN_DAYS", math.inf),
    ],
    "without the z-score of a day": [
        (thresholds, "INFO_Z_SCORE", math.inf),
        (thresholds, "WARNING_Z_SCORE", math.inf),
    ],
    "one tail index for all agents": [(thresholds, "PRIOR_WEIGHT", 1e9)],
    "surprises of a day not clipped": [(thresholds, "CLIPPED_SURPRISE", 1e9)],
    "no higher limits for many agents": [(thresholds, "MAX_CHANCES", 1)],
    "unusual hours stay in the history": [
        (surprise, "without_gross_outliers", lambda counts, *_: [*map(float, counts)])
    ],
    "no precedents": [(surprise, "precedent", lambda *_: 0.0)],
    "no month ends": [(spike, "without_month_ends", lambda hours, *_: hours)],
    "no minimum of 1.5 times": [(thresholds, "MIN_TIMES", 1.0)],
    "no limit for new agents": [(thresholds, "MIN_NEW", 10**12), (thresholds, "MIN_YOUNG", 10**12)],
}
"""Rule that is left out -> what stands in its place."""

LOOPS = ("retry loop", "repeated loop", "second loop", "night loop", "newcomer's loop")
GROUPS = {"loops": LOOPS, "backoff": ("backoff loop",), "leaks": ("leak", "doubled tokens")}


@contextmanager
def patched(patches: list[Patch]) -> Iterator[None]:
    """Some values of modules replaced."""
    before = [getattr(module, name) for module, name, _ in patches]
    for module, name, value in patches:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(patches, before, strict=True):
            setattr(module, name, value)


def tokens_of(agent: Agent) -> list[int]:
    """By the hour."""
    return [first.tokens + second.tokens for first, second in agent.usage]


def spikes_of(fleet: Fleet, counts: dict[Agent, list[int]]) -> list[spike.Spike]:
    """Of the agents, and of the organization what they do not explain."""
    first_day = fleet.start.date()
    number = sum(any(one[EVALUATED:]) for one in counts.values())
    judge: Callable[..., list[spike.Spike]] = functools.partial(
        spike.spikes, since=EVALUATED, first_day=first_day, agents=number
    )
    of_agents = [
        each for agent, of_agent in counts.items() for each in judge(of_agent, agent_id=agent.agent_id, agent_name="")
    ]
    of_new = spike.new_agents([("", of_agent) for of_agent in counts.values()], EVALUATED)
    whole = [sum(hour) for hour in zip(*counts.values(), strict=True)]
    found = [*of_agents, *spike.unexplained(judge(whole), of_agents, of_new)]
    return [one for one in found if one.hours[-1].hour >= EVALUATED]


def _is_about(one: spike.Spike, fault: Fault) -> bool:
    is_then = one.begins < fault.ends and fault.begins < one.hours[-1].hour + 1
    return is_then and (one.agent_id is None or one.agent_id in {agent.agent_id for agent in fault.agents})


def score(fleet: Fleet, found: list[spike.Spike]) -> Counter[str]:
    """Faults by group, those of them that were warned of or listed, and false and benign warnings and listed ones."""
    result: Counter[str] = Counter()
    for group, kinds in GROUPS.items():
        for fault in fleet.faults:
            if fault.kind in kinds and fault.countable:
                highest = max((one.severity for one in found if _is_about(one, fault)), default=0)
                result[group] += 1
                result[f"{group} warning"] += highest >= Severity.warning
                result[f"{group} info"] += highest >= Severity.info
    true = [fault for fault in fleet.faults if "spike" in MEANT[fault.kind] | ALSO_TRUE.get(fault.kind, set())]
    benign = {agent.agent_id for each in fleet.benign for agent in each.agents}
    for one in found:
        if not any(_is_about(one, fault) for fault in true):
            severity = "warning" if one.severity >= Severity.warning else "info"
            result[f"{'benign' if one.agent_id in benign else 'false'} {severity}"] += 1
    return result


def scores(seed: str) -> dict[str, Counter[str]]:
    """Rule that is left out -> what came of the fleet of a seed."""
    fleet = make_fleet(seed)
    add_situations(fleet)
    counts = {agent: tokens_of(agent) for agent in fleet.agents}
    result = {}
    for name, patches in RULES.items():
        with patched(patches):
            result[name] = score(fleet, spikes_of(fleet, counts))
    return result


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.findings.ablation", description=__doc__)
    parser.add_argument("--seeds", choices=("tuning", "held-out"), default="held-out", help="default: held-out")
    parser.add_argument("--fleets", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default: 0)")
    options = parser.parse_args()
    seeds = [f"situations {options.seeds} {options.first + number}" for number in range(options.fleets)]
    total: dict[str, Counter[str]] = {name: Counter() for name in RULES}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as processes:
        for of_fleet in processes.map(scores, seeds):
            for name, counts in of_fleet.items():
                total[name].update(counts)
    weeks = options.fleets * EVALUATED_DAYS / 7
    print(f"| | {' | '.join(GROUPS)} | false warnings a week | benign | false and listed |")
    print("|---|---|---|---|---|---|---|")
    for name, counts in total.items():
        cells = [f"{counts[f'{group} warning']} ({counts[f'{group} info']})/{counts[group]}" for group in GROUPS]
        cells += [f"{counts[each] / weeks:.3f}" for each in ("false warning", "benign warning", "false info")]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
