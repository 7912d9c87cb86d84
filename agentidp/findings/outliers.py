"""Gross outliers of the past: hours that must not become the baseline, although no statistic is fitted to them yet.

Rule: an hour above 3 times its highest seasonal median and 30 tokens more, with a surprise above 12.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK
from agentidp.findings.seasonal import Expected, median, precedent, surprise


def without_gross_outliers(counts: Sequence[int], first: int, until: int) -> list[float]:
    """The counts; before *until*, the seasonal median in place of each gross outlier without a precedent.

    :param first: the hour from which on there is something to compare with.
    """
    baseline = [float(count) for count in counts]
    for hour in _tall_hours(counts, first + thresholds.MIN_SEASON_WEEKS * WEEK, until):
        expected = Expected.at(baseline, hour, first)
        if is_gross(counts[hour], expected, precedent(baseline, hour, first)):
            baseline[hour] = expected.mean
    return baseline


def is_gross(count: float, expected: Expected, before: float = 0.0) -> bool:
    """Whether a count is a gross outlier.

    :param before: its precedent.
    """
    is_far = count > thresholds.GROSS_TIMES * expected.highest + thresholds.MIN_EXCESS
    return is_far and surprise(count, max(expected.mean, before)) > thresholds.GROSS_SURPRISE


def _tall_hours(counts: Sequence[int], begins: int, ends: int) -> list[int]:
    """Those that can be gross outliers: a shortcut, since the seasonal median of each hour takes long."""
    if begins >= ends:
        return []
    bound = [
        thresholds.GROSS_TIMES * median(list(counts[hour:ends:DAY])) + thresholds.MIN_EXCESS for hour in range(DAY)
    ]
    return [hour for hour in range(begins, ends) if counts[hour] > bound[hour % DAY]]
