"""``python -m bench.findings.series``: how ``spike`` judges count series that are unlike fleets.

A series is eight weeks of counts by the hour, as of posts about a company: negative binomial counts with a slow daily
cycle, moods that last for days, bursts with a heavy tail that mean nothing, and a level that shifts now and then. It
has labelled incidents of several lengths, from an hour to three days. The series are made from nothing but a seed,
and by no part of the fleets. They are there to see whether a statistic carries over. Limits were chosen
on series 0 to 999, so judge them from 2000 on.

A window is **found** if it contains an unusual hour. Unusual hours outside all windows, with at most a day from one to
the next, are one **false** finding. Judged is what follows the first two weeks. The curve comes from the limits of
the rules multiplied by a factor; at 1 they are the product's.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from math import cos, exp, pi, sqrt
from random import Random

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, runs
from agentidp.findings.surprise import unusual_hours
from bench.findings.fleets import poisson

WEEKS = 8
HOURS = WEEKS * WEEK
JUDGED = 2 * WEEK
"""The first hour that is judged."""

MARGIN = 6
"""Hours before and after an incident that belong to its window."""


@dataclass
class Series:
    """Counts by the hour, and the windows of its incidents: the first hour, and the one after the last."""

    counts: list[int]
    windows: list[tuple[int, int]] = field(default_factory=list)


def make_series(seed: str) -> Series:
    """The series of a seed."""
    random = Random(f"series {seed}")
    rates = _rates(random)
    windows = []
    begins = JUDGED
    for _ in range(3):
        begins += random.randint(DAY, 9 * DAY)
        hours = random.choice((1, 2, 4, 12, 24, 72))
        if begins + hours > HOURS - DAY:
            break
        # A short incident is high, a long one is low.
        times = random.uniform(2, 8) / (1 + hours / DAY) + 1.3
        for hour in range(begins, begins + hours):
            rates[hour] *= times
        windows.append((begins - MARGIN, begins + hours + MARGIN))
        begins += hours
    shape = exp(random.uniform(0.7, 3.4))
    return Series([poisson(random.gammavariate(shape, rate / shape), random) for rate in rates], windows)


def _rates(random: Random) -> list[float]:
    """The ordinary rate of each hour."""
    level, swing, peak = exp(random.uniform(1.6, 6)), random.uniform(0.1, 0.6), random.randrange(DAY)
    weekend, restless = random.uniform(0.6, 1.1), random.uniform(0.02, 0.2)
    mood, burst, rates = 0.0, 0.0, []
    for hour in range(HOURS):
        # An autoregression whose memory is two days.
        mood = (1 - 1 / 48) * mood + restless * sqrt(2 / 48) * random.gauss(0, 1)
        burst *= 0.5
        if random.random() < 1 / 200:
            burst += min(30, 0.4 * random.random() ** (-1 / 1.5))
        if random.random() < 1 / (6 * WEEK):
            level *= random.choice((0.6, 0.75, 1.3, 1.6))
        of_day = 1 + swing * cos(2 * pi * (hour % DAY - peak) / DAY)
        of_week = weekend if hour // DAY % 7 >= 5 else 1.0
        rates.append(level * of_day * of_week * exp(mood) * (1 + burst))
    return rates


def judge(series: Series, least: Severity) -> tuple[int, int]:
    """How many windows are found, and how many findings are false; as of the only agent of an organization."""
    unusual = unusual_hours(series.counts, 0, JUDGED)
    hours = [one.hour for one in unusual if one.hour >= JUDGED and one.severity >= least]
    found = sum(any(begins <= hour < ends for hour in hours) for begins, ends in series.windows)
    outside = [hour for hour in hours if not any(begins <= hour < ends for begins, ends in series.windows)]
    return found, len(runs(outside, thresholds.MAX_SPIKE_GAP_HOURS))


def curve(all_series: list[Series]) -> str:
    """A table in Markdown: a row for each factor of the limits."""
    windows = sum(len(series.windows) for series in all_series)
    weeks = len(all_series) * (HOURS - JUDGED) / WEEK
    columns = ("limits times", "found as a warning", "false a week", "found or listed", "false a week, listed too")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    rules = thresholds.SPIKE_RULES
    for factor in (0.8, 0.9, 1, 1.1, 1.2):
        thresholds.SPIKE_RULES = tuple(
            rule._replace(times=factor * rule.times, min_surprise=factor * rule.min_surprise) for rule in rules
        )
        cells = []
        for least in (Severity.warning, Severity.info):
            found, false = map(sum, zip(*(judge(series, least) for series in all_series), strict=True))
            cells += [f"{found} of {windows} ({found / windows:.2f})", f"{false / weeks:.3f}"]
        lines.append(f"| {factor} | {' | '.join(cells)} |")
    thresholds.SPIKE_RULES = rules
    return "\n".join(lines)


def main() -> None:
    """Print the curve."""
    parser = argparse.ArgumentParser(
        "python -m bench.findings.series", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default: 0)")
    options = parser.parse_args()
    print(curve([make_series(str(options.first + number)) for number in range(options.series)]))


if __name__ == "__main__":
    main()
