"""Decide whether an agent is silent, from the list of its requests by the hour.

Statistic: the evidence of a quiet hour or day, -ln(1 - p). p is the share of the last 8 weeks in which the agent was
active in the same hour of the week (or on the same weekday), smoothed to (k + 1/2) / (n + 1) for k of n weeks. An hour
in which the agent was never active has no evidence. The evidence of several hours or days is added up.

An hour is *steady* if the agent was active in it in three of four weeks. Four consecutive hours that are not steady are
a *rest*.

1. **By hours**, if the agent stopped in the middle of its work: it made at least half of its typical requests in the
   steady hours among its last eight hours, since its last rest. (On a holiday an agent makes fewer requests.) The
   evidence of the missed steady hours up to its next rest is added up. The agent must have missed more than twice as
   many steady hours as in its second-longest pause of the 8 weeks, because an agent that depends on a few people pauses
   when these people do. An agent that stopped shortly before its first steady hour is judged in this way too.
2. **By days** otherwise: by the whole UTC days that the agent has missed, because a holiday silences all hours of a day
   at once. An agent that rests on some days may have a holiday, so more days are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from math import log
from statistics import median_low
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK, find_first_midnight, sum_by_day


class Silence(NamedTuple):
    """An agent's silence: its first hour, and the expected number of active hours or days (``unit``) since then."""

    since: int
    expected: float
    unit: str


def find_silence(
    requests_by_hour: Sequence[int], unknown_hours: Collection[int], unknown_days: Collection[int]
) -> Silence | None:
    """Return the current silence of an agent, or ``None`` if the agent is not silent.

    :param requests_by_hour: the agent's requests by hour. The last hour is not over.
    :param unknown_hours: hours that do not count, because the organization was quiet or had a holiday.
    """
    current_hour = len(requests_by_hour) - 1
    last_active_hour = next((hour for hour in range(current_hour, -1, -1) if requests_by_hour[hour]), None)
    if last_active_hour is None or current_hour // DAY - last_active_hour // DAY > 7 * thresholds.MAX_SILENCE_WEEKS:
        return None
    week_count = count_weeks_of_history(requests_by_hour, last_active_hour // DAY)
    if week_count < thresholds.MIN_SILENCE_WEEKS:
        return None
    return find_silence_by_hours(requests_by_hour, last_active_hour, week_count, unknown_hours) or find_silence_by_days(
        requests_by_hour, last_active_hour, week_count, unknown_days
    )


def find_silence_by_hours(
    requests_by_hour: Sequence[int], last_active_hour: int, week_count: int, unknown_hours: Collection[int]
) -> Silence | None:
    """Return the silence of an agent that stopped in the middle of its work, judged by missed hours, or ``None``."""
    first_hour = (last_active_hour // DAY - 7 * week_count) * DAY
    # active_weeks_by_hour[n] is the number of past weeks with a request in the hour that comes n hours after the week's
    # beginning. The weeks begin at *first_hour*.
    active_weeks_by_hour = [
        count_active_weeks(requests_by_hour, first_hour + hour, last_active_hour // DAY, week_count)
        for hour in range(WEEK)
    ]

    def list_steady_hours(hours: Iterable[int]) -> list[int]:
        """Return the steady (usually active) hours up to the first rest in *hours*, without the unknown hours."""
        steady_hours, idle_hour_count = [], 0
        for hour in hours:
            is_steady = active_weeks_by_hour[(hour - first_hour) % WEEK] >= thresholds.STEADY_SHARE * week_count
            idle_hour_count = 0 if is_steady else idle_hour_count + 1
            if idle_hour_count >= thresholds.REST_HOURS:
                break
            if is_steady and hour not in unknown_hours:
                steady_hours.append(hour)
        return steady_hours

    missed_hours = list_steady_hours(range(last_active_hour + 1, len(requests_by_hour) - 1))
    active_week_counts = [active_weeks_by_hour[(hour - first_hour) % WEEK] for hour in missed_hours]
    if (
        sum(compute_evidence(active_week_count, week_count) for active_week_count in active_week_counts)
        < thresholds.MIN_EVIDENCE_HOURS
    ):
        return None
    last_work_hours = list_steady_hours(range(last_active_hour, last_active_hour - thresholds.WORK_HOURS, -1))
    if not was_working(requests_by_hour, last_work_hours, first_hour, week_count):
        return None
    active_hours = (hour for hour in range(first_hour, last_active_hour + 1) if requests_by_hour[hour])
    pause_lengths = [len(list_steady_hours(range(hour + 1, next_hour))) for hour, next_hour in pairwise(active_hours)]
    # The silence is compared with the second-longest pause, because the longest pause may have been an incident.
    if len(missed_hours) <= thresholds.PAUSE_TIMES * sorted([0, 0, *pause_lengths])[-2]:
        return None
    return Silence(last_active_hour + 1, sum(active_week_counts) / week_count, "hours")


def find_silence_by_days(
    requests_by_hour: Sequence[int], last_active_hour: int, week_count: int, unknown_days: Collection[int]
) -> Silence | None:
    """Return an agent's silence judged by whole days without a request, or ``None`` if the agent is not silent."""
    requests_by_day, last_day = sum_by_day(requests_by_hour), last_active_hour // DAY
    today = (len(requests_by_hour) - 1) // DAY
    # requests_by_weekday[n] has the requests of each past week on the weekday that comes n days after *last_day*.
    requests_by_weekday = [requests_by_day[last_day - 7 * week_count + weekday : last_day : 7] for weekday in range(7)]
    requests_of_missed_weekdays = [
        requests_by_weekday[(day - last_day) % 7] for day in range(last_day + 1, today) if day not in unknown_days
    ]
    active_week_counts = [
        sum(map(bool, weekday_requests))
        for weekday_requests in requests_of_missed_weekdays
        if is_workday(weekday_requests, requests_by_weekday)
    ]
    # An agent that usually rests on some days may have a holiday in the first week of its silence.
    has_rest_days = requests_by_day[last_day - 13 : last_day + 1].count(0) > 1
    may_be_holiday = has_rest_days and today - last_day <= 7
    min_evidence = thresholds.MIN_EVIDENCE_WORKDAYS if may_be_holiday else thresholds.MIN_EVIDENCE_DAYS
    if sum(compute_evidence(active_week_count, week_count) for active_week_count in active_week_counts) < min_evidence:
        return None
    return Silence(last_active_hour + 1, sum(active_week_counts) / week_count, "days")


def compute_evidence(active_weeks: float, week_count: int) -> float:
    """Return the evidence of a quiet hour or day, ``-ln(1 - p)``. p is the smoothed share of weeks with a request.

    :param active_weeks: the number of earlier weeks with a request in the same hour of the week or on the same weekday.
    :param week_count: the number of earlier weeks.
    """
    return log((week_count + 1) / (week_count - active_weeks + 0.5)) if active_weeks else 0.0


def count_weeks_of_history(requests_by_hour: Sequence[int], last_day: int) -> int:
    """Return the number of complete weeks of history before a day, at most ``SILENCE_WEEKS``."""
    first_midnight = find_first_midnight(requests_by_hour)
    week_count = 0 if first_midnight is None else (last_day - first_midnight // DAY) // 7
    return min(week_count, thresholds.SILENCE_WEEKS)


def count_active_weeks(requests_by_hour: Sequence[int], hour: int, last_day: int, week_count: int) -> int:
    """Return the number of weeks before *last_day* in which an agent was active in the same hour of the week as *hour*.

    :param hour: an index of *requests_by_hour*, which may be of an hour in the future.
    :param week_count: the number of weeks that are searched.
    """
    first_hour = (last_day - 7 * week_count) * DAY
    past_hours = range(first_hour + (hour - first_hour) % WEEK, last_day * DAY, WEEK)
    return sum(1 for past_hour in past_hours if requests_by_hour[past_hour])


def was_working(requests_by_hour: Sequence[int], last_hours: Sequence[int], first_hour: int, week_count: int) -> bool:
    """Return whether the requests in *last_hours* are at least half as many as in the same hours of the median week."""
    hours_in_first_week = [first_hour + (hour - first_hour) % WEEK for hour in last_hours]
    typical_requests = median_low(
        sum(requests_by_hour[hour + week * WEEK] for hour in hours_in_first_week) for week in range(week_count)
    )
    return 2 * sum(requests_by_hour[hour] for hour in last_hours) >= typical_requests


def is_workday(weekday_requests: Sequence[int], requests_by_weekday: Sequence[Sequence[int]]) -> bool:
    """Return whether a weekday has at least half as many requests as the agent's busiest weekday."""
    return 2 * sum(weekday_requests) >= max(map(sum, requests_by_weekday))
