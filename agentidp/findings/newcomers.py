"""The unusual hours of an agent's first two weeks, in which it has no baseline: by fixed limits."""

from __future__ import annotations

from collections.abc import Sequence

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY
from agentidp.findings.surprise import UnusualHour


def newcomers_hours(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """Hours with more tokens than any healthy client needs, above 8 times the busiest hour up to the day before.

    :param first: the midnight of the first day with any count.
    """
    found: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        # The last day is left out, so that what lasts for hours does not raise its own bound; after a day it does.
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        if counts[hour] >= thresholds.MIN_NEW and counts[hour] > thresholds.NEW_TIMES * busiest:
            found.append(UnusualHour(hour, counts[hour], float(busiest), Severity.warning))
    return found
