"""Who caused a finding about the whole organization: a budget, the organization's quota, or its spike.

1. Whoever was issued at least a tenth of its tokens caused it, up to five agents. Its summary names them, and how many
   tokens these are.
2. If another finding says that one of them wasted, or was issued without need, at least a tenth of its tokens, that is
   the likely cause, and what to check next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import in_words, number_of
from agentidp.findings.finding import Contributor, Finding, FindingsQuery
from agentidp.findings.kinds import kind_of


def with_contributors(run: Callable[..., list[Rows]], found: list[Finding], query: FindingsQuery) -> list[Finding]:
    """The findings, of which those about the whole organization say who caused them.

    :param run: as in :func:`agentidp.findings.findings`. If it fails, budgets and quotas name nobody.
    """
    calls = {
        place: _call(one, query) for place, one in enumerate(found) if is_of_organization(one) and one.kind != "spike"
    }
    if calls:
        with contextlib.suppress(DatabaseUnavailable):
            for place, rows in zip(calls, run(*calls.values()), strict=True):
                found[place] = replace(found[place], agents=tuple(map(_contributor, rows)))
    return [_explained(_named(one), found) for one in found]


def is_of_organization(one: Finding) -> bool:
    """Whether it is about the tokens of the whole organization."""
    return one.agent_id is None and kind_of(one).names_contributors


def _call(one: Finding, query: FindingsQuery) -> Call:
    """The statement that reads the agents with the most tokens in a window of a month, a day or an hour."""
    first, limit = one.begins.date(), {"limit": thresholds.MAX_CONTRIBUTORS}
    length = one.ends - one.begins
    if length > timedelta(days=1):
        return Call("analytics/agent_usage", {"first": first, "last": query.today, "with_names": True} | limit)
    hour = one.begins.hour if length < timedelta(days=1) else None
    return Call("dashboard/agents_of_the_day", {"on_day": first, "at_hour": hour, "by_rejected": False} | limit)


def _contributor(row: Any) -> Contributor:
    if hasattr(row, "token_count"):
        return Contributor(agent_id=UUID(row.agent_id), agent_name=row.agent_name, count=row.token_count)
    return Contributor(agent_id=row.agent_id, agent_name=row.name, count=row.tokens)


def _named(one: Finding) -> Finding:
    """The finding with those who caused it. Of a spike, the agents that grew the most are kept as well."""
    if not is_of_organization(one):
        return one
    causing = [each for each in one.agents if 100 * each.count >= thresholds.MIN_CONTRIBUTOR_PERCENT * one.observed]
    agents = one.agents if one.kind == "spike" else tuple(causing)
    if not causing:
        return replace(one, agents=agents)
    # It was read after the finding, and counters grow.
    count = min(sum(each.count for each in causing), one.observed)
    were = "was" if len(causing) == 1 else "were"
    summary = (
        f"{one.summary} {in_words([each.agent_name for each in causing])} {were} issued {count:,.0f} of the "
        f"{number_of(one.observed, 'token')} ({100 * count / one.observed:.0f} %)."
    )
    return replace(one, agents=agents, summary=summary)


def _explained(one: Finding, found: list[Finding]) -> Finding:
    """The finding with the causes that another one knows of those who caused it."""
    if not is_of_organization(one):
        return one
    for other in sorted(found, key=lambda each: kind_of(each).cause_rank):
        is_large = 100 * other.excess >= thresholds.MIN_CONTRIBUTOR_PERCENT * one.observed
        is_then = other.begins < one.ends and one.begins < other.ends
        if kind_of(other).cause_rank and other.agent_id and other.agent_id in one.agent_ids and is_large and is_then:
            return replace(one, causes=f"{other.summary} {other.causes}", next_step=other.next_step)
    return one
