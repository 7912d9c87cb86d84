"""``python -m bench.findings.ablation``: what each rule of each kind is worth, by leaving it out.

With ``--by 20`` nothing is left out, but one threshold at a time is 20 % lower, and then higher.

The fleets are those of ``bench.findings``, half of them with situations. Each is looked at every so many hours, by the
one kind alone. Use seeds that no threshold was chosen on.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from inspect import getsource
from types import ModuleType
from typing import Any
from unittest.mock import patch

from agentidp.findings import (
    quiet_agent,
    quiet_organization,
    rejections,
    silence,
    spike,
    surprise,
    thresholds,
    uncached_tokens,
    weekend,
    zero_day,
)
from agentidp.findings.finding import Finding, Severity
from agentidp.findings.thresholds import SpikeRule
from bench.findings.__main__ import add_fleet_options, fleet_of
from bench.findings.fleets import EVALUATED, EVALUATED_DAYS, HOURS, Fleet
from bench.findings.memory import InMemory, found
from bench.findings.scoring import MEANT, Score, countable, sightings

Patch = tuple[Any, str, Any]

ALL = "all rules"

TIMES = ("times", "min_surprise")
"""The limits of each rule of spike."""


def never(rule: SpikeRule) -> SpikeRule:
    """A rule that reports nothing."""
    return rule._replace(times=math.inf)


def multiplied(rule: SpikeRule, name: str, times: float) -> SpikeRule:
    """A rule with one of its limits multiplied."""
    return rule._replace(**{name: getattr(rule, name) * times})


def _rules(change: Callable[[SpikeRule], SpikeRule], place: int | None = None) -> list[Patch]:
    """The rules of spike with one of them changed, or all."""
    rules = [change(rule) if place in (None, each) else rule for each, rule in enumerate(thresholds.SPIKE_RULES)]
    return [(thresholds, "SPIKE_RULES", tuple(rules))]


RULES: dict[str, dict[str, list[Patch]]] = {
    "spike": {
        "without the rule of an hour": _rules(never, 0),
        "without the rule of eight hours": _rules(never, 1),
        "without the rule of three nights": _rules(never, 2),
        "no least surprise": _rules(lambda rule: rule._replace(min_surprise=0.01)),
        "no minimum of 30 tokens": [(thresholds, "MIN_EXCESS", 1)],
        "no minimum of a tenth of a day": [(thresholds, "MIN_EXCESS_SHARE", 0.0)],
        "no minimum of twice the expected": [(thresholds, "MIN_TIMES", 0)],
        "no hour of a night need be raised": [(thresholds, "MIN_RAISED_HOURS", 0)],
        "three nights at any time of the day": [(thresholds, "REST_SHARE", 1.0)],
        "the last five days are usual too": [(thresholds, "NEW_LEVEL_DAYS", 1)],
        "no limit for new agents": [(spike, "newcomers_hours", lambda *_: [])],
        "new agents need not exceed 8 times": [(thresholds, "NEW_TIMES", 1)],
        "not the organization": [(thresholds, "EXPLAINED_SHARE", -math.inf)],
        "agents do not explain the organization": [(thresholds, "EXPLAINED_SHARE", math.inf)],
    },
    "silence": {
        "no agent judged by hours": [(quiet_agent, "silence_by_hours", lambda *_: None)],
        "an agent that hardly worked is judged by hours": [(quiet_agent, "is_at_work", lambda *_: True)],
        "a silence is always news": [(thresholds, "SILENCE_NEWS_DAYS", 7 * thresholds.MAX_SILENCE_WEEKS + 1)],
        "earlier pauses say nothing": [(thresholds, "PAUSE_TIMES", 0)],
        "no rest": [(thresholds, "REST_HOURS", 10**6)],
        "a successor says nothing": [(silence, "successor_of", lambda *_: None)],
        "no more days where a holiday may be": [(thresholds, "MIN_EVIDENCE_WORKDAYS", thresholds.MIN_EVIDENCE_DAYS)],
        "hours of a quiet organization count": [(silence, "runs_of_quiet_hours", lambda *_: [])],
        "not the organization": [(silence, "quiet_times", lambda *_: [])],
        "a quiet organization need not be unlikely": [(quiet_organization, "is_unlikely", lambda *_: True)],
        "nor begin or end amid work": [(quiet_organization, "at_work", lambda *_: True)],
        "not a part of the organization": [(silence, "partial_silences", lambda *_: [])],
        "a part may be less than a quarter": [(thresholds, "MIN_STOPPED_SHARE", 0.0)],
        "every weekday with work counts": [(quiet_agent, "is_workday", lambda weekday, _: any(weekday))],
    },
    "weekend": {
        "no hours of rest": [(thresholds, "PART_PERCENT", thresholds.QUIET_PERCENT)],
    },
    "uncached_tokens": {
        "no replicas": [(uncached_tokens, "are_replicas", lambda *_: False)],
        "one day is enough": [(thresholds, "MIN_UNCACHED_DAYS", 1)],
        "all are warnings": [(thresholds, "UNCACHED_WARNING_FACTOR", thresholds.UNCACHED_FACTOR)],
    },
    "rejections": {
        "not against the 75th percentile": [(thresholds, "REJECTED_TIMES", 0)],
        "six are enough": [(thresholds, "MIN_REJECTED", 6)],
    },
    "zero_day": {"any number is usual": [(thresholds, "MIN_ZERO_DAY_TOKENS", 1)]},
}
"""Kind -> rule that is left out -> what stands in its place."""

MODULES: dict[str, tuple[ModuleType, ...]] = {
    "spike": (spike, surprise),
    "silence": (silence, quiet_agent, quiet_organization),
    "weekend": (weekend,),
    "uncached_tokens": (uncached_tokens,),
    "rejections": (rejections,),
    "zero_day": (zero_day,),
}
"""Kind -> the modules whose thresholds ``--by`` changes."""


def changes(kind: str, percent: int | None) -> dict[str, list[Patch]]:
    """What is changed -> what stands in its place. Without *percent*, rules are left out."""
    if percent is None:
        return {ALL: []} | RULES[kind]
    result: dict[str, list[Patch]] = {ALL: []}
    source = "".join(map(getsource, MODULES[kind]))
    for sign in (-1, 1):
        times = 1 + sign * percent / 100
        for name, value in vars(thresholds).items():
            if f"thresholds.{name}" in source and isinstance(value, int | float):
                # A whole number stays one, and changes by one at least.
                changed = (
                    value + sign * max(round(value * percent / 100), 1) if isinstance(value, int) else value * times
                )
                result[f"{name} {changed:g}"] = [(thresholds, name, changed)]
        for name in TIMES if kind == "spike" else ():
            result[f"{name} {sign * percent:+d} %"] = _rules(partial(multiplied, name=name, times=times))
    return result


def look(fleet: Fleet, kind: str, every: int) -> Iterator[tuple[list[Finding], datetime]]:
    """What a kind finds in the evaluated span, and when.

    ``spike`` judges each hour by those before it, so one look at the whole span finds what a look a day finds, at the
    end of each finding.
    """
    counters = InMemory(fleet, [kind])
    if kind == "spike":
        spikes, _ = found(counters, 2 * HOURS, EVALUATED_DAYS)
        yield from (([one], one.ends) for one in spikes)
    else:
        for hour in range(EVALUATED + every, HOURS + 1, every):
            yield found(counters, 2 * hour)


def judge(fleet: Fleet, kind: str, every: int) -> Counter[tuple[str, str]]:
    """What came of the faults that a kind is meant for, and how many of its findings are false or benign."""
    result: Counter[tuple[str, str]] = Counter()
    warned, listed = Score(fleet), Score(fleet)
    for each, at in look(fleet, kind, every):
        warned.see(sightings(each, at))
        listed.see(sightings(each, at, Severity.info))
    faults = [fault for fault, kinds in MEANT.items() if kind in kinds]
    result.update((fault.kind, "faults") for _, fault in countable([warned], faults))
    for name, score in (("warned", warned), ("listed", listed)):
        result.update((fault.kind, name) for _, fault in countable([score], faults) if fault in score.reported_at)
        result.update((verdict, name) for _, verdict in score.judged())
    return result


def judge_all(
    seed: str, kinds: list[str], percent: int | None, every: int
) -> dict[tuple[str, str], Counter[tuple[str, str]]]:
    """(Kind, what is changed) -> what came of the fleet of a seed."""
    fleet, result = fleet_of(seed), {}
    for kind in kinds:
        for name, patches in changes(kind, percent).items():
            with ExitStack() as patched:
                for module, attribute, value in patches:
                    patched.enter_context(patch.object(module, attribute, value))
                result[kind, name] = judge(fleet, kind, every)
    return result


def table(kind: str, results: dict[str, Counter[tuple[str, str]]], fleets: int) -> str:
    """A table in Markdown: a row for each rule; a column for each fault with what was warned of (and listed)."""
    faults = [fault for fault, kinds in MEANT.items() if kind in kinds and results[ALL][fault, "faults"]]
    weeks = fleets * EVALUATED_DAYS / 7
    columns = [kind, *faults, "false a week (and listed)", "benign a week (and listed)"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, counts in results.items():
        cells = [f"{counts[fault, 'warned']} ({counts[fault, 'listed']})/{counts[fault, 'faults']}" for fault in faults]
        for verdict in ("false", "benign"):
            warned, listed = (counts[verdict, least] / weeks for least in ("warned", "listed"))
            cells.append(f"{warned:.3f} ({listed:.3f})")
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.findings.ablation", description=__doc__)
    add_fleet_options(parser, every=24)
    parser.add_argument("--kind", choices=tuple(RULES), action="append", help="default: all")
    parser.add_argument("--by", type=int, metavar="PERCENT", help="change each threshold instead of leaving out rules")
    options = parser.parse_args()
    kinds = options.kind or list(RULES)
    prefixes = ("", "situations ")
    seeds = [f"{prefixes[n % 2]}{options.seeds} {options.first + n // 2}" for n in range(options.fleets)]
    total: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    with ProcessPoolExecutor(options.processes) as processes:
        judge_fleet = partial(judge_all, kinds=kinds, percent=options.by, every=options.every)
        for of_fleet in processes.map(judge_fleet, seeds):
            for key, counts in of_fleet.items():
                total.setdefault(key, Counter()).update(counts)
    for kind in kinds:
        print(table(kind, {name: total[kind, name] for name in changes(kind, options.by)}, len(seeds)), end="\n\n")


if __name__ == "__main__":
    main()
