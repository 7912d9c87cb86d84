"""Decide whether the organization, or part of it, was quiet, from the hourly number of active agents in a sample.

Statistic: Poisson's deviance of the number of active agents from the usual number, which is the median of the same
hour of the week in 8 weeks. Half of the deviance is a logarithm: how many times less likely the number is than the
usual number.

1. An hour is *busy* if two or more agents are usually active in it. A busy hour is *quiet* if fewer than half of the
   usual agents are active.
2. The organization is quiet in a run of quiet hours whose half deviances add up to 8, which chance does not explain.
   The run must begin or end in the middle of work, because a holiday that nobody marked has a rest before and after it.
3. An organization in which usually only one agent is active at a time has no busy hours. It is quiet on a whole day
   without a request if the median of the same weekday is 20 requests or more.
4. Part of the organization is quiet if four agents or more, and a quarter of those at work, stop in the same hour, in
   the middle of their work.

Example: 8 agents are usually active in an hour. If no agent is active, half the deviance is 8, and one such
hour is enough. If 3 agents are active, half the deviance is 8 - 3 + 3 ln(3/8) = 2.06, and four such hours are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from math import log
from statistics import median_low
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK, find_first_midnight, group_adjacent, sum_by_day
from agentidp.findings.quiet_agent import count_active_weeks, count_weeks_of_history


class QuietTime(NamedTuple):
    """A period in which the organization or part of it was quiet. An ongoing period includes the current hour."""

    begins: int
    ends: int  # the first hour after the period
    expected: int  # the usual number of active agents, summed over the hours
    observed: int  # the number of active agents, summed over the hours
    stopped: tuple[int, ...] = ()  # indexes in the sample of the agents that stopped, if only some are quiet
    may_be_holiday: bool = False  # whether only whole days were compared, so that a public holiday is possible

    @property
    def active_percent(self) -> float:
        """The number of active agents in percent of the usual number."""
        return 100 * self.observed / self.expected

    def overlaps(self, other: QuietTime) -> bool:
        """Return whether two periods have an hour in common."""
        return self.begins < other.ends and other.begins < self.ends


def find_busy_hours(active_agents_by_hour: Sequence[int], first_judged_hour: int) -> dict[int, int]:
    """Return the usual number of active agents by busy hour, from hour *first_judged_hour* on.

    :param active_agents_by_hour: the number of active agents by hour. The last hour is not over.
    """
    hour_count = len(active_agents_by_hour)
    first_active_hour = next(
        (hour for hour, agent_count in enumerate(active_agents_by_hour) if agent_count), hour_count
    )
    usual_agents_by_hour = {}
    for hour in range(first_judged_hour, hour_count - 1):
        past_hours = range(hour - WEEK, first_active_hour - 1, -WEEK)[: thresholds.SILENCE_WEEKS]
        past_agents = [active_agents_by_hour[past_hour] for past_hour in past_hours]
        if len(past_agents) >= thresholds.MIN_SILENCE_WEEKS and median_low(past_agents) >= thresholds.MIN_USUAL_AGENTS:
            usual_agents_by_hour[hour] = median_low(past_agents)
    return usual_agents_by_hour


def find_runs_of_quiet_hours(
    active_agents_by_hour: Sequence[int], usual_agents_by_hour: dict[int, int]
) -> list[list[int]]:
    """Return runs of hours with fewer than half of the usual agents. Hours that are usually idle do not end a run."""
    busy_hours = list(usual_agents_by_hour)
    quiet_indexes = [
        index for index, hour in enumerate(busy_hours) if 2 * active_agents_by_hour[hour] < usual_agents_by_hour[hour]
    ]
    return [[busy_hours[index] for index in adjacent_indexes] for adjacent_indexes in group_adjacent(quiet_indexes, 1)]


def find_quiet_times(
    active_agents_by_hour: Sequence[int], usual_agents_by_hour: dict[int, int], holidays: Collection[int]
) -> list[QuietTime]:
    """Return the periods in which most of the organization was quiet.

    :param holidays: the hours of marked holidays, which do not count.
    """
    quiet_times = []
    for quiet_hours in find_runs_of_quiet_hours(active_agents_by_hour, usual_agents_by_hour):
        evidence_hours = [hour for hour in quiet_hours if hour not in holidays]
        first_hour, last_hour = quiet_hours[0], quiet_hours[-1]
        # Two hours before and after the quiet hours are checked, because agents may stop or start an hour late.
        agent_counts_before = active_agents_by_hour[max(first_hour - 2, 0) : first_hour]
        agent_counts_after = active_agents_by_hour[last_hour + 1 : last_hour + 3]
        has_work_before = is_working(agent_counts_before, usual_agents_by_hour[first_hour])
        has_work_after = is_working(agent_counts_after, usual_agents_by_hour[last_hour])
        is_quiet = is_unlikely(evidence_hours, active_agents_by_hour, usual_agents_by_hour)
        if is_quiet and (has_work_before or has_work_after):
            is_ongoing = last_hour == max(usual_agents_by_hour) and not has_work_after
            end_hour = len(active_agents_by_hour) if is_ongoing else evidence_hours[-1] + 1
            expected_agents = sum(usual_agents_by_hour[hour] for hour in evidence_hours)
            observed_agents = sum(active_agents_by_hour[hour] for hour in evidence_hours)
            quiet_times.append(QuietTime(evidence_hours[0], end_hour, expected_agents, observed_agents))
    return quiet_times


def find_quiet_days(
    requests_by_hour: Sequence[int], busy_hours: Collection[int], first_judged_day: int, holidays: Collection[int]
) -> list[QuietTime]:
    """Return the quiet periods of whole days without requests, for an organization without busy hours.

    Quiet days are one period if no request was made between them.

    :param requests_by_hour: the requests of the whole sample by hour. The last hour is not over.
    """
    requests_by_day, first_midnight = sum_by_day(requests_by_hour), find_first_midnight(requests_by_hour)
    if first_midnight is None:
        return []
    quiet_times: list[QuietTime] = []
    last_active_day = max(day for day, day_requests in enumerate(requests_by_day) if day_requests)
    for day in range(first_judged_day, len(requests_by_day) - 1):
        past_days = range(day - 7, first_midnight // DAY - 1, -7)[: thresholds.SILENCE_WEEKS]
        past_requests = [requests_by_day[past_day] for past_day in past_days]
        if (
            not requests_by_day[day]
            and len(past_requests) >= thresholds.MIN_SILENCE_WEEKS
            and median_low(past_requests) >= thresholds.MIN_QUIET_DAY_REQUESTS
            and not any(hour in busy_hours or hour in holidays for hour in range(day * DAY, (day + 1) * DAY))
        ):
            begin_hour, day_count = day * DAY, 1
            if quiet_times and not any(requests_by_hour[quiet_times[-1].begins : begin_hour]):
                previous_quiet_time = quiet_times.pop()
                begin_hour, day_count = previous_quiet_time.begins, previous_quiet_time.expected + 1
            end_hour = (day + 1) * DAY if day < last_active_day else len(requests_by_hour)
            quiet_times.append(QuietTime(begin_hour, end_hour, day_count, observed=0, may_be_holiday=True))
    return quiet_times


def is_unlikely(
    hours: Sequence[int], active_agents_by_hour: Sequence[int], usual_agents_by_hour: dict[int, int]
) -> bool:
    """Return whether so few active agents in *hours* are improbable, by half the sum of the Poisson deviances."""
    evidence = 0.0
    for hour in hours:
        active_agent_count, usual_agent_count = active_agents_by_hour[hour], usual_agents_by_hour[hour]
        evidence += usual_agent_count - active_agent_count
        evidence += active_agent_count * log(active_agent_count / usual_agent_count) if active_agent_count else 0.0
    return evidence >= thresholds.MIN_EVIDENCE_ORGANIZATION


def is_working(active_counts: Sequence[int], usual_count: int) -> bool:
    """Return whether at least two thirds of the usual number of agents are active in at least one of several hours."""
    return any(3 * active_count >= 2 * usual_count for active_count in active_counts)


def find_group_stops(
    sampled_requests: Sequence[Sequence[int]], first_judged_hour: int, holidays: Collection[int]
) -> list[QuietTime]:
    """Return the periods, from hour *first_judged_hour* on, that begin with a stop of several agents in the same hour.

    A period ends when half of the stopped agents are active again.

    :param sampled_requests: the requests by hour of each agent. The last hour is not over.
    :param holidays: the hours of marked holidays, which do not count.
    """
    quiet_times: list[QuietTime] = []
    current_hour = min(map(len, sampled_requests), default=0) - 1
    for begin_hour in range(first_judged_hour, current_hour):
        if quiet_times and begin_hour < quiet_times[-1].ends:
            continue
        work_hours = (hour for hour in range(begin_hour, current_hour) if hour not in holidays)
        first_hours = list(islice(work_hours, thresholds.MIN_STOPPED_HOURS))
        stopped_agents = tuple(
            agent_index
            for agent_index, agent_requests in enumerate(sampled_requests)
            if has_stopped(agent_requests, begin_hour, first_hours)
        )
        active_agent_count = sum(1 for agent_requests in sampled_requests if agent_requests[begin_hour - 1])
        if len(stopped_agents) >= max(thresholds.MIN_STOPPED_AGENTS, thresholds.MIN_STOPPED_SHARE * active_agent_count):
            end_hour = begin_hour
            while end_hour < current_hour and 2 * sum(
                1 for agent_index in stopped_agents if sampled_requests[agent_index][end_hour]
            ) < len(stopped_agents):
                end_hour += 1
            expected_hours = (end_hour - begin_hour) * active_agent_count
            observed_hours = sum(
                sum(map(bool, agent_requests[begin_hour:end_hour])) for agent_requests in sampled_requests
            )
            if end_hour == current_hour:
                end_hour += 1  # An ongoing quiet time includes the current hour.
            quiet_times.append(QuietTime(begin_hour, end_hour, expected_hours, observed_hours, stopped_agents))
    return quiet_times


def has_stopped(requests_by_hour: Sequence[int], stop_hour: int, hours: Sequence[int]) -> bool:
    """Return whether an agent was active in the hour before *stop_hour*, but idle up to the last of *hours*.

    :param hours: hours from *stop_hour* on. If the agent is not usually active in each of them, the result is false.
    """
    if (
        len(hours) < thresholds.MIN_STOPPED_HOURS
        or not requests_by_hour[stop_hour - 1]
        or any(requests_by_hour[stop_hour : hours[-1] + 1])
    ):
        return False
    week_count = count_weeks_of_history(requests_by_hour, stop_hour // DAY)
    active_week_counts = [count_active_weeks(requests_by_hour, hour, stop_hour // DAY, week_count) for hour in hours]
    return (
        week_count >= thresholds.MIN_SILENCE_WEEKS and min(active_week_counts) >= thresholds.STEADY_SHARE * week_count
    )
