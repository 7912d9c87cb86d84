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

from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from statistics import median_low

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import days_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity

DAY = timedelta(days=1)


def call(query: FindingsQuery) -> Call:
    """The organization's days, and the weeks before them."""
    return Call("findings/zero_day", {"first_day": query.since - timedelta(weeks=thresholds.ZERO_DAY_WEEKS)})


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each day, or for several in a row."""
    tokens = {row.day: int(row.tokens) for row in rows}
    first = min(tokens, default=query.today)
    usual = {}
    for number in range(query.days - 1):
        day = query.since + number * DAY
        weekdays = [day - timedelta(weeks=week) for week in range(1, thresholds.ZERO_DAY_WEEKS + 1)]
        counts = [tokens.get(each, 0) for each in weekdays if each >= first]
        if (
            day not in tokens
            and len(counts) >= thresholds.MIN_ZERO_DAY_WEEKS
            and median_low(counts) >= thresholds.MIN_ZERO_DAY_TOKENS
            and not query.is_holiday(_midnight(day), _midnight(day + DAY))
        ):
            usual[day] = median_low(counts)
    # Days in a row have as many days with tokens before them.
    in_a_row = groupby(usual, key=lambda day: sum(1 for each in tokens if each < day))
    return [_finding({day: usual[day] for day in days}) for _, days in in_a_row]


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


KIND = Kind(call=call, findings=findings)
