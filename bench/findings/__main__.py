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
from bench.findings import __doc__ as description
from bench.findings.fleets import EVALUATED, HOURS, Fleet, make_fleet
from bench.findings.replay import CountedFleet
from bench.findings.scoring import Score, reported, table_of_faults, table_of_findings

HOURS_BETWEEN = 12
"""Hours between two evaluations where no fault begins."""

EARLY_HOURS = 6
"""Hours after a fault's beginning in which the fleet is evaluated every half hour."""


def evaluations(fleet: Fleet) -> Iterator[int]:
    """Yield the half hours of the evaluated span at whose end the fleet is evaluated."""
    for hour in range(EVALUATED, HOURS):
        is_early = any(fault.begins < hour + 1 and hour < fault.begins + EARLY_HOURS for fault in fleet.faults)
        if is_early:
            yield 2 * hour + 1
        if is_early or hour % HOURS_BETWEEN == HOURS_BETWEEN - 1 or hour == HOURS - 1:
            yield 2 * hour + 2


def replay(seed: str, url: str) -> Score:
    """Return the score of a seed's fleet."""
    score = Score(make_fleet(seed))
    with connect(url) as connection:
        counted = CountedFleet(score.fleet, connection)
        for halves in evaluations(score.fleet):
            score.add(reported(*counted.evaluate(halves)))
    return score


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
    parser.add_argument("--verbose", action="store_true", help="list missed faults and false findings per fleet")
    options = parser.parse_args()
    if options.fleets < 1:
        parser.error("--fleets must be greater than zero")
    seeds = [f"{options.seeds} {options.first + number}" for number in range(options.fleets)]
    scores = []
    with temporary() as postgres, ProcessPoolExecutor(len(os.sched_getaffinity(0))) as processes:
        migrate(postgres.url)
        for score in processes.map(partial(replay, url=postgres.url), seeds):
            scores.append(score)
            if options.verbose:
                print("\n".join(errors(score)), flush=True)
    agents = sum(len(score.fleet.agents) for score in scores)
    print(f"{len(seeds)} fleets ({options.seeds} seeds from {options.first} on) of {agents} agents\n")
    print(table_of_faults(scores), table_of_findings(scores), sep="\n\n")


if __name__ == "__main__":
    main()
