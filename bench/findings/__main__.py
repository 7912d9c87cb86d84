"""The command: generate the fleets, evaluate them as the product does, and print the scores."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from agentidp.db.database import connect
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from agentidp.findings.finding import Severity
from bench.findings import __doc__ as description
from bench.findings.fleets import EVALUATED, HOURS, Fleet, make_fleet
from bench.findings.replay import CountedFleet
from bench.findings.scoring import Score, reported, table_of_faults, table_of_findings

EARLY_HOURS = 6
"""Hours after a fault's beginning in which the fleet is evaluated every half hour."""


def evaluations(fleet: Fleet, every: int) -> Iterator[int]:
    """Yield the half hours of the evaluated span at whose end the fleet is evaluated.

    :param every: hours between two evaluations where no fault begins.
    """
    for hour in range(EVALUATED, HOURS):
        is_early = any(fault.begins < hour + 1 and hour < fault.begins + EARLY_HOURS for fault in fleet.faults)
        if is_early:
            yield 2 * hour + 1
        if is_early or hour % every == every - 1 or hour == HOURS - 1:
            yield 2 * hour + 2


def replay(seed: str, url: str, every: int) -> tuple[Score, Score]:
    """Return the scores of a seed's fleet: one for its warnings, and one for its findings of any severity."""
    fleet = make_fleet(seed)
    warnings, listed = Score(fleet), Score(fleet)
    with connect(url) as connection:
        counted = CountedFleet(fleet, connection)
        for halves in evaluations(fleet, every):
            findings, at = counted.evaluate(halves)
            warnings.add(reported(findings, at))
            listed.add(reported(findings, at, Severity.info))
    return warnings, listed


def errors(score: Score) -> list[str]:
    """Return a line for each countable fault that was not detected and for each false finding."""
    fleet = score.fleet
    missed = [
        f"missed  {fleet.seed:<12}{fault.kind:<17}{', '.join(agent.name for agent in fault.agents)}: "
        f"{fleet.at(fault.begins):%F %H:%M} to {fleet.at(fault.ends):%F %H:%M}, {fault.size:.1f}/h"
        for fault in fleet.faults
        if fault.countable and fault not in score.detected_at
    ]
    return missed + [
        f"false   {fleet.seed:<12}{finding.kind:<17}{finding.begins:%a %F %H:%M} to {finding.ends:%F %H:%M}, "
        f"seen {finding.seen_at:%F %H:%M}: {finding.summary}"
        for finding, is_true in score.judged()
        if not is_true
    ]


def main() -> None:
    """Replay the fleets of all seeds in several processes and print the scores."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.findings", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", choices=("tuning", "held-out"), default="held-out", help="default: held-out")
    parser.add_argument("--fleets", type=int, default=40, help="number of fleets (default: 40)")
    parser.add_argument("--first", type=int, default=0, help="number of the first seed (default: 0)")
    parser.add_argument("--every", type=int, default=12, help="hours between two evaluations (default: 12)")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: one per core")
    parser.add_argument("--verbose", action="store_true", help="list missed faults and false findings per fleet")
    options = parser.parse_args()
    if options.fleets < 1 or options.every < 1:
        parser.error("--fleets and --every must be greater than zero")
    seeds = [f"{options.seeds} {options.first + number}" for number in range(options.fleets)]
    warnings, listed = [], []
    with temporary() as postgres, ProcessPoolExecutor(options.processes) as processes:
        migrate(postgres.url)
        for fleet_warnings, fleet_listed in processes.map(
            partial(replay, url=postgres.url, every=options.every), seeds
        ):
            warnings.append(fleet_warnings)
            listed.append(fleet_listed)
            if options.verbose:
                print("\n".join(errors(fleet_warnings)), flush=True)
    agents = sum(len(score.fleet.agents) for score in warnings)
    print(f"{len(seeds)} fleets ({options.seeds} seeds from {options.first} on) of {agents} agents\n")
    print(table_of_faults(warnings, listed), table_of_findings(warnings, listed), sep="\n\n")


if __name__ == "__main__":
    main()
