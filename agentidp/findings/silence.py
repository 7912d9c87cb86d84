"""``silence``: an agent used to be active and has stopped, or the whole organization is quiet while it should not be.

How unlikely a silence is, is the sum over what has gone by of -ln(1 - p), where p is the share of the weeks before in
which the agent was active, smoothed to (k + 1/2) / (n + 1) for k of n weeks, and nothing where k is 0. An agent that
works around the clock is judged by the hours of the week. Any other, since a holiday silences it for all hours of a
working day at once, is judged by whole UTC days, and only those weekdays on which it does at least half of its most.

Hours in which fewer than half of the agents to be expected were active are unknown, not zero: they count for no agent.
The organization as a whole is told where that began or ended amid work; a holiday comes and goes with the rest around
it. Where it has ended and contains a whole day without a token, that is told as a ``zero_day`` alone.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings.finding import Finding, Look, Severity

WEEKS = 8
"""Weeks before a silence that say what is usual."""

LEAST_WEEKS = 3
"""Of these weeks in which the agent, or the organization, must have been at work already."""

MOST_WEEKS = 4
"""After so long, an agent that has stopped has no recent habit that it could break."""

LEAST_SURPRISE_OF_HOURS = 11.0
"""Of an agent that works around the clock, as -ln of a probability: four whole hours where it missed none before."""

LEAST_SURPRISE_OF_DAYS = 7.5
"""Of any other agent, likewise: three days, or weekly runs, where it missed none before."""

LEAST_SURPRISE_OF_WORKDAYS = 10.0
"""The same within a week, of one that does not work every day: four working days, for a holiday may last for three."""

LEAST_SURPRISE = 8.0
"""Of a quiet organization, likewise, by Poisson's distribution of the agents that are active in an hour."""

AROUND_THE_CLOCK = 18
"""Hours of the 24 up to its last one in which an agent was active that works around the clock, and of a day a week
before."""

LEAST_EXPECTED = 2
"""Agents: in an hour in which fewer are usual nothing can be said of the whole organization."""

SAMPLED = 32
"""Agents by which the organization is judged, so that a large one takes no longer: those with the lowest ids."""

MOST_SILENT = 100
"""Agents that are told, of either sort, those that stopped last."""


def call(look: Look) -> Call:
    """Quiet times of the organization, and silent agents."""
    most_of_one = math.log(2 * (WEEKS + 1))
    return Call(
        "findings/silence",
        {
            "days": look.days,
            "weeks": WEEKS,
            "least_weeks": LEAST_WEEKS,
            "most_weeks": MOST_WEEKS,
            "sampled": SAMPLED,
            "least_expected": LEAST_EXPECTED,
            "least_surprise": LEAST_SURPRISE,
            "least_surprise_of_hours": LEAST_SURPRISE_OF_HOURS,
            "least_surprise_of_days": LEAST_SURPRISE_OF_DAYS,
            "least_surprise_of_workdays": LEAST_SURPRISE_OF_WORKDAYS,
            "least_hours": math.ceil(LEAST_SURPRISE_OF_HOURS / most_of_one),
            "least_days": math.ceil(LEAST_SURPRISE_OF_DAYS / most_of_one),
            "around_the_clock": AROUND_THE_CLOCK,
            "most_agents": MOST_SILENT,
        },
    )


def findings(rows: Rows, look: Look) -> list[Finding]:
    """One for each time in which the organization was quiet, and for each agent that is silent."""
    return [_of_agent(row) if row.agent_id else _of_organization(row) for row in rows]


def _of_organization(row: Any) -> Finding:
    percent = 100 * row.observed / row.expected
    begins, ends = row.begins.astimezone(UTC), row.ends.astimezone(UTC)
    when = f"since {_instant(begins)}" if row.lasts else f"from {_instant(begins)} to {_instant(ends)}"
    return Finding(
        kind="silence",
        severity=Severity.critical,
        begins=begins,
        ends=ends,
        unit="percent of the agents that are usually active",
        observed=percent,
        expected=100,
        baseline=f"the median of the same hours of the week in up to {WEEKS} weeks before",
        summary=f"Hardly any agent {'has been' if row.lasts else 'was'} active {when}: {percent:.0f} % of those that"
        " usually are.",
        causes="Either the service or everything that uses it was down, or the way between them. That nothing was"
        " counted does not say which: unknown is not zero.",
        next_step="See whether the service and its database answered, then what the agents have in common: their"
        " network, their platform, a deployment.",
    )


def _of_agent(row: Any) -> Finding:
    begins, ends = row.begins.astimezone(UTC), row.ends.astimezone(UTC)
    return Finding(
        kind="silence",
        severity=Severity.warning,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=begins,
        ends=ends,
        unit=f"{row.unit} with activity",
        observed=0,
        expected=row.expected,
        baseline=f"{'the same hours of the week' if row.unit == 'hours' else 'its working days'} in up to {WEEKS} weeks"
        " before",
        summary=f"{row.agent_name} has made no request since {_instant(begins)}, {_long(ends - begins)}; usual would"
        f" be {row.expected:.0f} {row.unit} with activity.",
        causes="It was stopped or has crashed, cannot reach the service any more, or its credential has expired. Others"
        " were active meanwhile.",
        next_step="See whether it runs and what it logs, and its rejected requests; suspend or delete it if it has been"
        " retired.",
    )


def _instant(at: datetime) -> str:
    return f"{at:%H:%M} UTC on {at:%A}, {at.day} {at:%B %Y}"


def _long(length: timedelta) -> str:
    hours = int(length / timedelta(hours=1))
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
