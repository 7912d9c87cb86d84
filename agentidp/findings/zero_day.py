"""``zero_day``: the organization was issued no token on a whole UTC day on which it usually is.

Statistic: the median of the same weekday in up to 8 weeks before.

1. Only completed days are judged, and only from the organization's fourth week on.
2. A day without a token is reported if the median of its weekday is at least 20 tokens.
3. Such days in a row, also across days that are usually empty, are one finding.

A quiet time of the organization that has ended and contains such a day is reported here alone. Any other that covers
part of each of the days, because it still lasts or is shorter, is reported as a ``silence`` alone
(:mod:`agentidp.findings.causes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import days_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.findings.quiet_organization import median_low

DAY = timedelta(days=1)


def call(query: FindingsQuery) -> Call:
    """The organization's days, and the weeks before them."""
    return Call("findings/zero_day", {"first_day": query.since - timedelta(weeks=thresholds.ZERO_DAY_WEEKS)})


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each day, or for several in a row."""
    tokens = {row.day: int(row.tokens) for row in rows}
    days = [query.since + number * DAY for number in range(query.days - 1)]
    empty = [day for day in days if day not in tokens and not query.is_holiday(_midnight(day), _midnight(day + DAY))]
    usual = {day: usual_tokens(tokens, day) for day in empty}
    zero = {day: number for day, number in usual.items() if number and number >= thresholds.MIN_ZERO_DAY_TOKENS}
    return [_finding({day: zero[day] for day in run}) for run in runs_of_days(list(zero), tokens)]


def usual_tokens(tokens: Mapping[date, int], day: date) -> int | None:
    """The median of the same weekday in the weeks before a day; ``None`` if too few weeks are known.

    :param tokens: of each day that has some.
    """
    begins = min(tokens, default=day)
    weekdays = [day - timedelta(weeks=week) for week in range(1, thresholds.ZERO_DAY_WEEKS + 1)]
    counts = [tokens.get(each, 0) for each in weekdays if each >= begins]
    return median_low(counts) if len(counts) >= thresholds.MIN_ZERO_DAY_WEEKS else None


def runs_of_days(days: list[date], tokens: Mapping[date, int]) -> list[list[date]]:
    """The days in groups between which no token was issued: those of a group have as many days with tokens before them.

    :param tokens: of each day that has some.
    """
    groups: dict[int, list[date]] = {}
    for day in days:
        days_with_tokens_before = sum(1 for each in tokens if each < day)
        groups.setdefault(days_with_tokens_before, []).append(day)
    return list(groups.values())


def _finding(usual: dict[date, int]) -> Finding:
    first, last = min(usual), max(usual)
    expected = sum(usual.values()) / len(usual)
    return Finding(
        kind="zero_day",
        severity=Severity.warning,
        begins=_midnight(first),
        ends=_midnight(last + DAY),
        unit="tokens a day",
        observed=0,
        expected=expected,
        baseline=f"the median of the same weekday in up to {thresholds.ZERO_DAY_WEEKS} weeks before",
        summary=f"No token was issued {days_in_words(first, last)}; typically {expected:,.0f} are issued a day.",
        causes="A deployment that broke issuance, or an outage of the service or of all agents; where nobody works"
        " on a public holiday, that.",
        next_step="See what was deployed or changed at its beginning, and the service's log of that time.",
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
