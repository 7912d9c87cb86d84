"""Selection of the findings that a page shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from agentidp.caller import Caller
from agentidp.dashboard.period import DAY, WEEK, Period
from agentidp.db.errors import DatabaseUnavailable
from agentidp.findings.finding import Severity, StoredFinding
from agentidp.findings.listing import read_callers_listing
from agentidp.findings.store import Listing
from agentidp.http.schemas import MAX_DAYS

MAX_FINDINGS = 50
"""Maximum number of findings on a page."""


RECENT = timedelta(days=7)
"""Maximum time since the end of a recent finding."""

BadgesByAgent = dict[UUID, list[StoredFinding]]
"""Agent -> the findings shown as badges next to its name, the most severe first."""


@dataclass(frozen=True, slots=True)
class PageFindings:
    """The findings of a page.

    :param shown: findings about the period; ``None`` if computing them failed, because the database was slow or busy.
    :param folded: findings about the period that are folded away.
    :param outside: ongoing findings that are not about the period.
    :param not_computed: kinds that could not be computed at the last evaluation, so that their findings are older.
    :param earlier: findings about the earlier days that the period is compared with.
    """

    shown: list[StoredFinding] | None
    folded: list[StoredFinding]
    outside: list[StoredFinding]
    not_computed: tuple[str, ...]
    earlier: list[StoredFinding] = field(default_factory=list)

    @property
    def listed(self) -> list[StoredFinding]:
        """All findings about the period, in the order of the page."""
        return [*(self.shown or []), *self.folded]


def page_findings(
    caller: Caller, period: Period, agent_id: UUID | None = None, *, is_compared: bool = False
) -> PageFindings:
    """Return the stored findings about a period, ongoing ones first, then by severity. If the period includes today,
    ended findings are folded away unless they are recent and critical.

    :param agent_id: the agent that the findings must name; ``None`` for all findings.
    :param is_compared: whether the page also shows the days that the period is compared with.
    """
    earlier_days = WEEK.days * period.weeks_earlier if is_compared else 0
    days = period.days_ago + earlier_days if (period.today - period.last).days < MAX_DAYS else 1
    stored = listing(caller, min(days, MAX_DAYS))
    if stored is None:
        return PageFindings(None, [], [], ())
    known = sorted(
        (one for one in stored.findings if agent_id in (None, *one.agent_ids)),
        key=lambda one: (not one.is_ongoing, -one.severity),
    )
    inside = _between(known, period.first, period.last)
    listed = {one.finding_id for one in inside}
    return PageFindings(
        shown=[one for one in inside if not _is_folded(one, period, caller.at)],
        folded=[one for one in inside if _is_folded(one, period, caller.at)],
        outside=[one for one in known if one.is_ongoing and one.finding_id not in listed],
        not_computed=stored.not_computed,
        earlier=_between(known, period.earlier_first, period.last - earlier_days * DAY) if is_compared else [],
    )


def _between(known: list[StoredFinding], first: date, last: date) -> list[StoredFinding]:
    """Return the findings about at least one of the UTC days from *first* to *last*."""
    begins, ends = (datetime.combine(day, time(), UTC) for day in (first, last + DAY))
    return [one for one in known if one.begins < ends and one.ends > begins]


def _is_folded(one: StoredFinding, period: Period, at: datetime) -> bool:
    is_pressing = one.severity is Severity.critical and is_recent(one, at)
    return period.is_running and not one.is_ongoing and not is_pressing


def is_recent(one: StoredFinding, at: datetime) -> bool:
    """Return whether a finding is ongoing, or ended less than :data:`RECENT` ago."""
    return one.ended_at is None or one.ended_at > at - RECENT


def badges(findings: list[StoredFinding]) -> BadgesByAgent:
    """Return the findings by agent. A finding that names several agents belongs to each of them."""
    by_agent: BadgesByAgent = {}
    for known in sorted(findings, key=lambda one: -one.severity):
        for agent_id in known.agent_ids:
            by_agent.setdefault(agent_id, []).append(known)
    return by_agent


def unusual_agents(caller: Caller) -> BadgesByAgent | None:
    """Return the agents that ongoing or recent findings name; ``None`` as for :func:`listing`."""
    stored = listing(caller, RECENT.days + 1)
    if stored is None:
        return None
    return badges([one for one in stored.findings if is_recent(one, caller.at)])


def listing(caller: Caller, days: int) -> Listing | None:
    """Return the findings that are ongoing or ended in the last *days* days; ``None`` if computing them failed."""
    try:
        return read_callers_listing(caller, days=days)
    except DatabaseUnavailable:
        return None
