"""The unusual hours of an agent's first two weeks, in which it has no baseline: by fixed limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, first_active_day
from agentidp.findings.surprise import UnusualHour


def newcomers_hours(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """Hours with as many tokens as no healthy client needs, and 8 times the busiest hour up to the day before.

    :param first: the midnight of the first day with any count.
    """
    found: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        # The last day is left out, so that what lasts for hours does not raise its own bound; after a day it does.
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        has_two_days = hour - first >= thresholds.YOUNG_DAYS * DAY
        enough = thresholds.MIN_YOUNG if has_two_days else thresholds.MIN_NEW
        if counts[hour] >= enough and counts[hour] > thresholds.YOUNG_TIMES * busiest:
            found.append(UnusualHour(hour, counts[hour], float(busiest), Severity.warning))
    return found


def newcomers_tokens(histories: Iterable[Sequence[int]], since: int) -> dict[int, int]:
    """Of each hour: the tokens of agents in their first two weeks, of each up to the limit of a healthy one."""
    tokens: dict[int, int] = {}
    for counts in histories:
        first = first_active_day(counts)
        if first is None:
            continue
        for hour in range(max(since, first), min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
            tokens[hour] = tokens.get(hour, 0) + min(counts[hour], thresholds.MIN_NEW)
    return tokens
