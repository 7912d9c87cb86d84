"""``quota``: a quota that is nearly or wholly used, of an agent or of the organization, and when it ends at this pace.

1. It is listed (``info``) from 80 % on. If nothing is left it is a warning, and critical if the quota is enforced: then
   tokens are refused until the window ends.
2. Several quotas of one holder are one finding, about the most urgent one, and of these the one that ends last.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words, number_of
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.oauth.quotas import bounds, exhausted_at


class Pressure(NamedTuple):
    """A quota of which much is used. Compared in the order of its members: the most urgent one is the greatest."""

    severity: Severity
    ends: datetime
    begins: datetime
    row: Any


def call(query: FindingsQuery) -> Call:
    """The quotas that are near their limit now."""
    return Call("findings/quota", {"percent": thresholds.QUOTA_NEAR_PERCENT})


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each holder of a quota that is near its limit."""
    holders = groupby(rows, key=lambda row: row.agent_id)
    most_urgent = [most_urgent_of(list(of_holder), query.at) for _, of_holder in holders]
    return [_finding(one, query.at) for one in most_urgent if one is not None]


def most_urgent_of(rows: Iterable[Any], at: datetime) -> Pressure | None:
    """The most urgent of one holder's quotas, if any is near its limit."""
    near = []
    for row in rows:
        severity = severity_of(row.used, row.tokens, is_enforced=row.is_enforced)
        if severity is not None:
            begins, ends = bounds(row.quota_window, at)
            near.append(Pressure(severity, ends, begins, row))
    return max(near, key=lambda one: one[:2], default=None)


def severity_of(used: int, tokens: int, *, is_enforced: bool) -> Severity | None:
    """How urgent it is that so many of a quota's tokens are used."""
    if used >= tokens:
        return Severity.critical if is_enforced else Severity.warning
    return Severity.info if used * 100 >= tokens * thresholds.QUOTA_NEAR_PERCENT else None


def _finding(one: Pressure, at: datetime) -> Finding:
    row = one.row
    return Finding(
        kind="quota",
        severity=one.severity,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=one.begins,
        ends=one.ends,
        unit=f"tokens in the {row.quota_window}",
        observed=row.used,
        expected=row.tokens,
        baseline=f"the {'agent' if row.agent_id else 'organization'}'s quota per {row.quota_window}",
        summary=_summary(one, at),
        causes="There is more work than the quota was made for, or an agent asks for more tokens than it needs.",
        next_step="See whether other findings explain the tokens. If they are needed, raise the quota, which works at "
        "once.",
    )


def _summary(one: Pressure, at: datetime) -> str:
    row, ends = one.row, instant_in_words(one.ends)
    whose = f"{row.agent_name}'s quota" if row.agent_id else "The organization's quota"
    whose += f" of {number_of(row.tokens, 'token')} per {row.quota_window}"
    if one.severity is Severity.critical:
        return f"{whose} has been used. Tokens are refused until it ends, at {ends}."
    if one.severity is Severity.warning:
        return f"{whose} has been used. It is not enforced, so no token is refused. It ends at {ends}."
    percent = f"{int(100 * row.used / row.tokens)} % of {whose[0].lower() if not row.agent_id else whose[0]}{whose[1:]}"
    runs_out = exhausted_at(row.used, row.tokens, one.begins, one.ends, at)
    if runs_out is None:
        return f"{percent} are used. At this pace it lasts until it ends, at {ends}."
    return (
        f"{percent} are used. At this pace nothing is left at {instant_in_words(runs_out)}, before it ends at {ends}."
    )
