"""``spike``: an agent is issued far more tokens than usual.

:mod:`agentidp.findings.surprise` finds the unusual hours of each agent. Hours with at most a day between them are one
spike. :mod:`agentidp.findings.causes` merges the spikes of several agents that begin within an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words, instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, expand_to_hours, find_first_midnight, group_adjacent, hours_until, instant
from agentidp.findings.surprise import DAYS_BEFORE, UnusualHour, find_unusual_hours, find_unusual_hours_of_new_agent

HISTORY_DAYS = 7 * thresholds.SEASON_WEEKS + DAYS_BEFORE
"""The number of days of history that are read before the first requested day."""

BASELINE = (
    f"the median of the same hour of the week, and of the hours next to it, in the {thresholds.SEASON_WEEKS} weeks "
    "before; for a newer agent, its busiest hour before"
)

CAUSES_AND_NEXT_STEP = (
    "It has more to do than usual, or no longer keeps its tokens, or somebody else uses its credential.",
    "Check whether its own work explains the tokens; if not, rotate its secret.",
)
LOOP_CAUSES_AND_NEXT_STEP = (
    "It is probably in a retry loop: it asks for a token again and again without a pause.",
    "Check its log for what fails after it has a token. If the requests are not its own, revoke its credential.",
)


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the tokens by hour of the agents whose tokens grew the most."""
    day_parameters = {"first_day": _first_history_day(query), "since": query.since, "until": query.until}
    growth_parameters = {
        "growth_days": thresholds.GROWTH_DAYS,
        "day_smoothing": thresholds.GROWTH_SMOOTHING_DAY,
        "hour_smoothing": thresholds.GROWTH_SMOOTHING_HOUR,
    }
    limit_parameters = {"max_suspects": thresholds.MAX_SPIKE_SUSPECTS, "max_agents": thresholds.MAX_SPIKE_AGENTS}
    return Call("findings/spike", day_parameters | growth_parameters | limit_parameters)


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per spike that has an hour in the requested days."""
    first_day = _first_history_day(query)
    hour_count, first_requested_hour = hours_until(query.at, first_day), (query.since - first_day).days * DAY
    return [
        _make_finding(spike, row, first_day, query)
        for row in rows
        for spike in find_spikes(expand_to_hours(row.history, hour_count), first_requested_hour, len(rows))
        if spike.hours[-1].hour >= first_requested_hour
    ]


@dataclass(frozen=True)
class Spike:
    """A spike of an agent: its unusual hours, oldest first."""

    hours: list[UnusualHour]

    @property
    def severity(self) -> Severity:
        """The highest severity among the spike's hours."""
        return max(unusual_hour.severity for unusual_hour in self.hours)

    @property
    def deciding_hour(self) -> UnusualHour:
        """The first of the hours with the highest severity, preferably an hour that is unusual without other hours."""
        severest_hours = [unusual_hour for unusual_hour in self.hours if unusual_hour.severity is self.severity]
        return min(severest_hours, key=lambda unusual_hour: unusual_hour.reason.hours)


def find_spikes(tokens_by_hour: list[int], first_requested_hour: int, agent_count: int) -> list[Spike]:
    """Return the spikes of an agent, including spikes that ended within a few days before *first_requested_hour*.

    :param agent_count: the number of agents of the organization that are judged, at most ``MAX_SPIKE_AGENTS``.
    """
    first_midnight = find_first_midnight(tokens_by_hour)
    if first_midnight is None:
        return []
    unusual_hours = find_unusual_hours_of_new_agent(tokens_by_hour, first_midnight)
    unusual_hours += find_unusual_hours(tokens_by_hour, first_midnight, first_requested_hour, agent_count)
    unusual_hours_by_index = {unusual_hour.hour: unusual_hour for unusual_hour in unusual_hours}
    runs_of_indexes = group_adjacent(sorted(unusual_hours_by_index), thresholds.MAX_SPIKE_GAP_HOURS)
    return [
        Spike([unusual_hours_by_index[hour_index] for hour_index in hour_indexes]) for hour_indexes in runs_of_indexes
    ]


def _first_history_day(query: FindingsQuery) -> date:
    return query.since - timedelta(days=HISTORY_DAYS)


def _make_finding(spike: Spike, row: Any, first_day: date, query: FindingsQuery) -> Finding:
    issued_tokens, usual_tokens, period_words = _sum_tokens_for_summary(spike, first_day)
    causes, next_step = LOOP_CAUSES_AND_NEXT_STEP if spike.severity is Severity.critical else CAUSES_AND_NEXT_STEP
    return Finding(
        kind="spike",
        severity=spike.severity,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=instant(first_day, spike.hours[0].hour),
        ends=min(instant(first_day, spike.hours[-1].hour + 1), query.at),
        unit="tokens",
        observed=issued_tokens,
        expected=usual_tokens,
        # All unusual hours count here, although *observed* may have the tokens of one night or three nights only.
        excess=sum(unusual_hour.tokens - unusual_hour.expected for unusual_hour in spike.hours),
        baseline=BASELINE,
        summary=f"{row.agent_name} was issued {issued_tokens:,} tokens in {period_words}; typically it is "
        f"{usual_tokens:,.0f}." + _describe_deciding_hour_and_level(spike, first_day),
        causes=causes,
        next_step=next_step,
    )


def _sum_tokens_for_summary(spike: Spike, first_day: date) -> tuple[int, float, str]:
    """Return the issued tokens, the expected tokens, and the period of both in words, for a spike's summary."""
    deciding_hour = spike.deciding_hour
    reason = deciding_hour.reason
    if reason.hours > 1:
        period_words = f"the {reason.hours} hours up to {instant_in_words(instant(first_day, deciding_hour.hour + 1))}"
        if reason.days > 1:
            period_words += f" and the same hours of the {reason.days - 1} days before"
        return reason.tokens, reason.expected, period_words
    period_words = f"{len(spike.hours)} hours" if len(spike.hours) > 1 else "an hour"
    return sum(hour.tokens for hour in spike.hours), sum(hour.expected for hour in spike.hours), period_words


def _describe_deciding_hour_and_level(spike: Spike, first_day: date) -> str:
    """Return a summary's sentences about the deciding hour, a similar earlier day, and a new level, if any apply."""
    deciding_hour = spike.deciding_hour
    reason = deciding_hour.reason
    sentences = ""
    if reason.hours == 1 and len(spike.hours) > 1:
        sentences += (
            f" In the hour from {instant_in_words(instant(first_day, deciding_hour.hour))} it was issued "
            f"{reason.tokens:,}; typically it is {reason.expected:,}."
        )
    if reason.similar_day is not None:
        similar_day = day_in_words(instant(first_day, reason.similar_day).date())
        sentences += f" It is only listed, because {similar_day} was as unusual."
    if spike.hours[-1].hour - spike.hours[0].hour > (thresholds.NEW_LEVEL_DAYS - 1) * DAY:
        sentences += f" After {thresholds.NEW_LEVEL_DAYS} days it is a new level, with which later hours are compared."
    return sentences


KIND = Kind(
    build_call,
    compute_findings,
    absorbs=("dominance",),
    max_gap=timedelta(days=1),
    has_marked_cause=True,
    is_about_tokens=True,
    names_contributors=True,
    cause_rank=2,
)
