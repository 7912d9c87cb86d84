"""What an hour's count is compared with, and how surprising it is: arithmetic on plain lists of counts by the hour."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK


def median(values: list[float]) -> float:
    """The middle one, or the mean of the middle two; zero of none."""
    if not values:
        return 0.0
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def seasonal_median(counts: list[float], hour: int, first: int = 0) -> float:
    """The median of the same hour of the week in 8 weeks; with fewer than 3 weeks, of the hour of the day in 14 days.

    :param first: the hour from which on there is something to compare with.
    """
    if hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK:
        return median(counts[max(first + (hour - first) % WEEK, hour - thresholds.SEASON_WEEKS * WEEK) : hour : WEEK])
    return median(counts[max(first + (hour - first) % DAY, hour - thresholds.SEASON_DAYS * DAY) : hour : DAY])


def mean_of_three(before: float, same: float, after: float) -> float:
    """What is expected of an hour: the mean of the seasonal medians of it and of those beside it."""
    return (before + same + after) / 3


def expected_tokens(counts: list[float], hour: int, first: int) -> float:
    """What is expected of an hour of a list."""
    return mean_of_three(*(seasonal_median(counts, near, first) for near in (hour - 1, hour, hour + 1)))


def precedent(counts: Sequence[float], hour: int, first: int) -> float:
    """The highest count so far at this hour of the week or one beside it: a job may run each second week."""
    return max(
        (max(counts[max(before - 1, 0) : before + 2]) for before in range(hour - WEEK, first - 1, -WEEK)), default=0.0
    )


def surprise(count: float, expected: float) -> float:
    """About how many standard deviations a Poisson count is above its expectation, at any level."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))
