"""The command: make the fleets, look at them as the product does, print what was found."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from agentidp.findings.finding import Severity
from bench.findings import __doc__ as description
from bench.findings.fleets import EVALUATED, HOURS, Fleet, make_fleet
from bench.findings.memory import InMemory, found
from bench.findings.scoring import Score, sightings, table_of_faults, table_of_findings
from bench.findings.situations import add_situations

SOON = 6
"""Hours from a fault's beginning in which each hour is looked at, and half of each."""


def fleet_of(seed: str) -> Fleet:
    """The fleet of a seed; with situations if the seed says so."""
    fleet = make_fleet(seed)
    if seed.startswith("situations "):
        add_situations(fleet)
    return fleet


def looks(fleet: Fleet, every: int) -> Iterator[int]:
    """The half hours of the evaluated span at the end of which the product is asked.

    :param every: how many hours lie between two looks where no fault begins.
    """
    for hour in range(EVALUATED, HOURS):
        is_early = any(fault.begins < hour + 1 and hour < fault.begins + SOON for fault in fleet.faults)
        if is_early:
            yield 2 * hour + 1
        if is_early or hour % every == every - 1 or hour == HOURS - 1:
            yield 2 * hour + 2


def watch(seed: str, every: int) -> tuple[Score, Score]:
    """What is found in the fleet of a seed: by warnings, and by findings of any severity."""
    fleet = fleet_of(seed)
    counters, warned, listed = InMemory(fleet), Score(fleet), Score(fleet)
    for halves in looks(fleet, every):
        each, at = found(counters, halves)
        warned.see(sightings(each, at))
        listed.see(sightings(each, at, Severity.info))
    return warned, listed


def errors(score: Score) -> list[str]:
    """A line for each fault of a fleet that was not reported, and each false finding."""
    fleet = score.fleet
    missed = [
        f"missed  {fleet.seed:<12}{fault.kind:<17}{', '.join(agent.name for agent in fault.agents)}: "
        f"{fleet.at(fault.begins):%F %H:%M} to {fleet.at(fault.ends):%F %H:%M}, {fault.size:.1f}/h"
        for fault in fleet.faults
        if fault.countable and fault not in score.reported_at
    ]
    return missed + [
        f"{verdict:<8}{fleet.seed:<12}{one.kind:<17}{one.begins:%a %F %H:%M} to {one.ends:%F %H:%M}, "
        f"seen {one.seen_at:%F %H:%M}: {one.summary}"
        for one, verdict in score.judged()
        if verdict != "true"
    ]


def add_fleet_options(parser: argparse.ArgumentParser, every: int) -> None:
    """Add the options that choose fleets, and when they are looked at."""
    parser.add_argument("--seeds", choices=("tuning", "held-out"), default="held-out", help="default: held-out")
    parser.add_argument("--fleets", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default: 0)")
    parser.add_argument("--every", type=int, default=every, help=f"hours between two looks (default: {every})")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")


def main() -> None:
    """Look at the fleets of all seeds, in several processes, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.findings", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_fleet_options(parser, every=12)
    parser.add_argument(
        "--situations", action="store_true", help="add what plain fleets lack (bench/findings/situations.py)"
    )
    parser.add_argument("--verbose", action="store_true", help="list what was missed and what was false, by fleet")
    options = parser.parse_args()
    if options.fleets < 1 or options.every < 1:
        parser.error("--fleets and --every must be greater than zero")
    prefix = "situations " if options.situations else ""
    seeds = [f"{prefix}{options.seeds} {options.first + number}" for number in range(options.fleets)]
    scores, listed = [], []
    with ProcessPoolExecutor(options.processes) as processes:
        for of_fleet, listed_of_fleet in processes.map(partial(watch, every=options.every), seeds):
            scores.append(of_fleet)
            listed.append(listed_of_fleet)
            if options.verbose:
                print("\n".join(errors(of_fleet)), flush=True)
    agents = sum(len(score.fleet.agents) for score in scores)
    print(f"{len(seeds)} fleets ({options.seeds} seeds from {options.first} on) of {agents} agents\n")
    print(table_of_faults(scores, listed), table_of_findings(scores, listed), sep="\n\n")


if __name__ == "__main__":
    main()
