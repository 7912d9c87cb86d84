"""``spike``: an agent, or the organization, is issued far more tokens than it usually is at that time.

An hour shows a retry loop as it happens. A leaked credential takes less, but goes on: a day's sum shows it. Either is
compared with the same weekday, so that Monday's morning and the weekly job are none, and with what its own days vary
by, so that a bursty agent's burst is none. That spread is the distance from the median to the 95th percentile of all
its days: the mean absolute deviation of eight weekdays is too often small by chance. What a bursty agent never has is
one full hour after the other: such steady hours tell a leak that is small beside its bursts.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings.finding import MOST_AGENTS, BehindIt, Finding, Look, Severity

WEEKS = 8
"""Of the past that a day is compared with; the last one is left out, so that what lasts is not its own baseline."""

SETTLED_DAYS = 8
"""Days of that past since the first with a token: with fewer an agent is new and has no baseline."""

LEAST = 30
"""Tokens in an hour, or in a day, beyond what is usual: fewer are no spike."""

TIMES = 2.1
"""An hour or a day must exceed so many times what is usual for its weekday."""

TOP_TIMES = 1.5
"""It must exceed so many times the 95th percentile of the fullest hours, or of the days, of the past."""

SPREAD = 4.5
"""And that percentile by so many times its distance to their median."""

ODD_HOURS = 4
"""Hours of a day each of which exceeds ``TIMES`` times the most of any day at that hour or at one beside it: together
they are a spike wherever the day's sum is."""

ODD_DAYS = 28
"""Days of the past that such a comparison needs."""

STEADY_HOURS = 7
"""Hours of ``STEADY_SPAN`` in a row each of which exceeds ``TIMES`` times its usual, the agent's average active hour,
and ``TOP_TIMES`` times what as many of any such hours of its past had: they are a spike wherever the sum is."""

STEADY_SPAN = 8
"""A leak is cut short by a release or by midnight of whoever uses it: one hour of these may be missing."""

LEAST_NEW = 500
"""Tokens in an hour of an agent without a baseline that are not held against the organization."""

MOST_DAYS = 600
"""Days of agents that are judged by their whole past, those that look the worst by a recent week of it: a bound on the
time that a huge organization takes."""

CRITICAL_TIMES = 10
"""The fullest hour is critical above so many times the 95th percentile of the past's fullest hours, and ``LEAST``."""


def call(look: Look) -> Call:
    """The runs of hours that were far fuller than usual."""
    return Call(
        "findings/spike",
        {
            "days": look.days,
            "weeks": WEEKS,
            "times": TIMES,
            "top_times": TOP_TIMES,
            "spread": SPREAD,
            "least": LEAST,
            "odd_hours": ODD_HOURS,
            "odd_days": ODD_DAYS,
            "steady_hours": STEADY_HOURS,
            "steady_span": STEADY_SPAN,
            "least_new": LEAST_NEW,
            "settled_days": SETTLED_DAYS,
            "most_days": MOST_DAYS,
            "most_agents": MOST_AGENTS,
        },
    )


def findings(rows: Rows, look: Look) -> list[Finding]:
    """One for each run of hours of an agent, or of the organization where no agent's own explains it."""
    return [
        Finding(
            kind="spike",
            severity=Severity.critical if _is_critical(row) else Severity.warning,
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            begins=row.begins,
            ends=min(row.ends, look.at),
            unit="tokens",
            observed=row.tokens,
            expected=row.usual,
            baseline=f"the sum, over the same hours, of the median of the same weekday and hour in the {WEEKS} weeks "
            "before, or of a neighbouring hour's if that is more",
            agents=tuple(
                BehindIt(agent_id=UUID(one["agent_id"]), agent_name=one["agent_name"], count=one["count"])
                for one in row.behind_it or ()
            ),
            summary=f"{row.agent_name or 'The organization'} was issued {row.tokens:,} tokens in "
            f"{f'{row.hours} hours' if row.hours > 1 else 'an hour'} in which {row.usual:,.0f} are usual.",
            **_advice(row),
        )
        for row in rows
    ]


def _is_critical(row: Any) -> bool:
    return bool(row.most > CRITICAL_TIMES * max(row.top, LEAST))


def _advice(row: Any) -> dict[str, str]:
    if row.agent_id is None:
        return {
            "causes": "Several agents together ask for more tokens than usual, or new ones do.",
            "next_step": "See whether the agents behind it were changed or started anew together, and whether they "
            "keep their tokens.",
        }
    if _is_critical(row):
        return {
            "causes": "It is probably in a retry loop: it asks for a token again and again, without a pause.",
            "next_step": "Look at its log for what fails after it has a token; revoke its credential if it is not "
            "the one that asks.",
        }
    return {
        "causes": "It has more to do than usual, or no longer keeps its tokens, or somebody else uses its credential.",
        "next_step": "See whether its own work explains the tokens; if not, rotate its secret.",
    }
