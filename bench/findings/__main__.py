"""The command: make the fleets, look at them as the product does, print what was found."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial

from bench.findings import __doc__ as description
from bench.findings.fleets import HISTORY_DAYS, Fleet, make_fleet
from bench.findings.looks import Looks
from bench.findings.scoring import Score, countable, table_of_faults, table_of_findings
from bench.findings.situations import add_situations


def fleet_of(seed: str) -> Fleet:
    """The fleet of a seed; with situations if the seed says so."""
    fleet = make_fleet(seed)
    if seed.startswith("situations "):
        add_situations(fleet)
    return fleet


def watch(seed: str, every: int) -> Looks:
    """Make the fleet of a seed, and look at it from the beginning of its evaluated span to the end."""
    looks = Looks(fleet_of(seed))
    looks.watch(every)
    return looks


def report(watched: list[Looks]) -> str:
    """What is printed."""
    scores, listed = [one.score for one in watched], [one.listed_score for one in watched]
    parts = [table_of_faults(scores, listed), table_of_findings(scores, listed)]
    loops = countable(scores, ["retry loop"])
    within = sum(
        score.reported_at[fault] - score.fleet.at(fault.begins) <= timedelta(hours=1)
        for score, fault in loops
        if fault in score.reported_at
    )
    parts.append(f"{within} of {len(loops)} retry loops were reported within an hour")
    looks = sorted(seconds for one in watched for seconds in one.seconds)
    parts.append(
        f"{len(looks):,} evaluations, the median one in {looks[len(looks) // 2] * 1000:.1f} ms, "
        f"99 of 100 in {looks[len(looks) * 99 // 100] * 1000:.1f} ms"
    )
    return "\n\n".join(parts)


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
                print("\n".join([f"        {done.fleet.seed}", *errors(done.score)]), flush=True)
    print(
        f"{len(seeds)} fleets ({options.seeds} seeds from {options.first} on), "
        f"{sum(len(one.fleet.agents) for one in watched)} agents, {HISTORY_DAYS} days of history, "
        f"{time.monotonic() - began:.0f} s\n"
    )
    print(report(watched))


if __name__ == "__main__":
    main()
