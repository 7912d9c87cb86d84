"""The command: make the fleets, look at them as the product does, print what was found."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial

from agentidp.findings.finding import Severity
from bench.findings import __doc__ as description
from bench.findings.fleets import EVALUATED, HISTORY_DAYS, HOURS, Fleet, make_fleet
from bench.findings.memory import InMemory, found
from bench.findings.scoring import Score, countable, sightings, table_of_faults, table_of_findings
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


def watch(seed: str, every: int) -> tuple[Score, Score, list[float]]:
    """What is found in the fleet of a seed: by warnings, by findings of any severity, and in how many seconds each."""
    fleet = fleet_of(seed)
    counters, score, listed, seconds = InMemory(fleet), Score(fleet), Score(fleet), []
    for halves in looks(fleet, every):
        began = time.perf_counter()
        each, at = found(counters, halves)
        seconds.append(time.perf_counter() - began)
        score.see(sightings(each, at))
        listed.see(sightings(each, at, Severity.info))
    return score, listed, seconds


def report(scores: list[Score], listed: list[Score], seconds: list[float]) -> str:
    """What is printed."""
    loops = countable(scores, ["retry loop"])
    within = sum(
        score.reported_at[fault] - score.fleet.at(fault.begins) <= timedelta(hours=1)
        for score, fault in loops
        if fault in score.reported_at
    )
    seconds = sorted(seconds)
    return "\n\n".join(
        (
            table_of_faults(scores, listed),
            table_of_findings(scores, listed),
            f"{within} of {len(loops)} retry loops were reported within an hour",
            f"{len(seconds):,} evaluations, the median one in {seconds[len(seconds) // 2] * 1000:.1f} ms, "
            f"99 of 100 in {seconds[len(seconds) * 99 // 100] * 1000:.1f} ms",
        )
    )


def errors(score: Score) -> list[str]:
    """A line for each fault of a fleet that was not reported, and each false finding."""
    fleet, lines = score.fleet, []
    names = {agent.agent_id: agent.name for agent in fleet.agents}
    for fault in fleet.faults:
        if fault.countable and fault not in score.reported_at:
            agents = ", ".join(agent.name for agent in fault.agents)
            lines.append(
                f"missed  {fleet.seed:<12}{fault.kind:<17}{agents}: {fleet.at(fault.begins):%F %H:%M} to "
                f"{fleet.at(fault.ends):%F %H:%M}, {fault.size:.1f}/h"
            )
    for one, verdict in score.judged():
        if verdict != "true":
            agents = ", ".join(names.get(agent_id, "?") for agent_id in one.agent_ids)
            lines.append(
                f"{verdict:<8}{fleet.seed:<12}{one.kind:<17}{agents}: {one.begins:%a %F %H:%M} to "
                f"{one.ends:%F %H:%M}, seen {one.seen_at:%F %H:%M}: {one.summary}"
            )
    return lines


def add_fleet_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose fleets."""
    parser.add_argument("--seeds", choices=("tuning", "held-out"), default="held-out", help="default: held-out")
    parser.add_argument("--fleets", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default: 0)")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")


def main() -> None:
    """Look at the fleets of all seeds, in several processes, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.findings", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_fleet_options(parser)
    parser.add_argument("--every", type=int, default=12, help="hours between looks away from faults (default: 12)")
    parser.add_argument(
        "--situations", action="store_true", help="add what plain fleets lack (bench/findings/situations.py)"
    )
    parser.add_argument("--verbose", action="store_true", help="list what was missed and what was false, by fleet")
    options = parser.parse_args()
    if options.fleets < 1 or options.every < 1:
        parser.error("--fleets and --every must be greater than zero")
    began = time.monotonic()
    prefix = "situations " if options.situations else ""
    seeds = [f"{prefix}{options.seeds} {options.first + number}" for number in range(options.fleets)]
    watched = []
    with ProcessPoolExecutor(options.processes) as processes:
        for done in processes.map(partial(watch, every=options.every), seeds):
            watched.append(done)
            if options.verbose:
                print("\n".join([f"        {done[0].fleet.seed}", *errors(done[0])]), flush=True)
    scores, listed, seconds = zip(*watched, strict=True)
    print(
        f"{len(seeds)} fleets ({options.seeds} seeds from {options.first} on), "
        f"{sum(len(score.fleet.agents) for score in scores)} agents, {HISTORY_DAYS} days of history, "
        f"{time.monotonic() - began:.0f} s\n"
    )
    print(report(list(scores), list(listed), [each for of_fleet in seconds for each in of_fleet]))


if __name__ == "__main__":
    main()
