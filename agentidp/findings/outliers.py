"""Gross outliers of the past: hours that must not become the baseline, although no statistic is fitted to them yet.

Rule: an hour above 3 times the expected tokens, or those of its precedent, and 30 more.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK
from agentidp.findings.seasonal import expected_tokens, median, precedent


def without_gross_outliers(counts: Sequence[int], first: int, until: int) -> list[float]:
    """The counts; before *until*, the expected ones in place of gross outliers.

    :param first: the hour from which on there is something to compare with.
    """
    baseline = [float(count) for count in counts]
    for hour in _tall_hours(counts, first + thresholds.MIN_SEASON_WEEKS * WEEK, until):
        expected = expected_tokens(baseline, hour, first)
        if is_gross(counts[hour], max(expected, precedent(baseline, hour, first))):
            baseline[hour] = expected
    return baseline


def is_gross(count: float, expected: float) -> bool:
    """Whether a count is a gross outlier."""
    return count > thresholds.GROSS_TIMES * expected + thresholds.MIN_EXCESS


def _tall_hours(counts: Sequence[int], begins: int, ends: int) -> list[int]:
    """Those far above the median of their hour of the day: a shortcut, since the seasonal median of each takes long."""
    if begins >= ends:
        return []
    usual = [median(list(counts[hour:ends:DAY])) for hour in range(DAY)]
    return [hour for hour in range(begins, ends) if is_gross(counts[hour], usual[hour % DAY])]
