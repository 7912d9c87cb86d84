"""The thresholds of the findings, by kind.

``MIN_`` and ``MAX_`` name bounds that are themselves within.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

MAX_CONTRIBUTORS = 5
"""Agents that a finding about several of them names."""

COMMON_CAUSE_AGENTS = 4
"""Agents with a spike from the same hour on, or silent from the same hour on, that are one finding."""

# Seasonal baseline of spikes (surprise.py)
SEASON_WEEKS = 8
"""Weeks of which the median of an hour of the week is taken."""

MIN_SEASON_WEEKS = 3
"""With fewer weeks than these, the median is that of the hour of the day in the last SEASON_DAYS."""

SEASON_DAYS = 14
"""Days of which the median of an hour of the day is taken while an agent has too few weeks."""

ALIKE_TIMES = 2
"""Times the least of three medians of adjacent hours up to which they are alike, so that their mean is expected."""

ALIKE_EXCESS = 6
"""So many tokens more are alike, too."""

CALIBRATION_DAYS = 28
"""Days of which the daily maxima say how much an agent's counts jump about."""

USUAL_RANK = 3
"""Of these maxima the third-highest is usual."""

# spike


class SpikeRule(NamedTuple):
    """When the sum of the last so many ``hours`` is unusual, on so many ``days`` in a row.

    ``min_times``: times the expected tokens, at least. ``info_times`` and ``warning_times``: times the usual surprise,
    which counts as ``min_usual`` at least; they are multiplied by the number of lists to the power of
    ``lists_exponent``. ``precedent_times``: times the most tokens at the same hour of the week that are still usual;
    ``run_times``: likewise, of those at any hour, of an agent that works in runs. ``min_days`` since the first token.
    """

    hours: int
    min_times: float
    min_usual: float
    info_times: float
    warning_times: float
    lists_exponent: float
    precedent_times: float
    run_times: float
    min_days: int
    days: int = 1


SPIKE_RULES: tuple[SpikeRule, ...] = (
    SpikeRule(1, 2.2, 4.0, 1.45, 2.4, 0.08, 1.5, 1.5, 14),
    SpikeRule(8, 1.5, 3.0, 2.0, 2.3, 0.05, 1.25, 4.0, 30),
    SpikeRule(24, 1.25, 3.0, 2.4, 2.75, 0.05, 1.25, 4.0, 30),
    SpikeRule(8, 3.0, 3.0, 1.55, 1.8, 0.05, 0.0, 0.0, 30, days=3),
)
"""An hour, eight hours (a night), a day, and three nights in a row. The first one alone is of the organization too."""

MIN_NIGHT_HOURS = 6
"""Hours of each of the three nights that have at least one standard deviation more than expected."""

MAX_CHANCES = 60
"""Lists beyond which that no longer rises: a loop must stay a warning in an organization of any size."""

MIN_EXCESS = 30
"""Tokens beyond the expected ones, in an hour or in a day."""

RUNS_SHARE = 0.25
"""An agent that is active in a smaller share of the hours works in runs."""

LEVEL_DAYS = 5
"""Days in a row with an unusual hour after which it is a new level."""

MONTH_END_TIMES = 1.5
"""Times the same hour at the ends of earlier months."""

MONTH_END_DAYS = 3
"""At either side of the end of a month an hour is also compared with the ends of earlier months."""

CRITICAL_TIMES = 10
"""An hour is critical above so many times the second-highest daily maximum of the days before."""

SETTLED_DAYS = 14
"""Days since the first token with which an agent has a baseline."""

MIN_NEW = 500
"""Tokens in an hour of an agent without a baseline: as many are no healthy client, however many instances it has."""

NEW_TIMES = 8
"""Times the busiest hour up to the day before of an agent without a baseline, which its hour must also exceed."""

GROSS_TIMES = 3
"""Times the expected tokens above which an hour of the past does not become the baseline."""

MAX_SPIKE_SUSPECTS = 200
"""Agents of which the hours are read: those whose days grew the most."""

MAX_SPIKE_AGENTS = 100
"""Of these agents those of which the history is read: those whose hours grew the most."""

MAX_SPIKE_GAP_HOURS = 24
"""Unusual hours of an agent with at most so many hours from one to the next are one spike."""

EXPLAINED_SHARE = 0.5
"""Of an hour's excess of the organization: if its agents' own spikes explain as much, it is theirs."""

# silence
SILENCE_WEEKS = 8
"""Weeks before a silence that make its baseline."""

MIN_SILENCE_WEEKS = 3
"""Of these weeks in which the agent, or the organization, must have been at work already."""

MAX_SILENCE_WEEKS = 4
"""After so long an agent that has stopped has no recent habit to break."""

MIN_QUIET_HOURS = 3
"""Quiet hours after which the history of an agent that works around the clock is read, because it may have stopped."""

MIN_QUIET_DAYS = 2
"""Quiet days after which the history of any other agent is read."""

MIN_ACTIVE_HOURS = 6
"""Active hours on its last two days of an agent that may be missed within a day: its history is read."""

MIN_EVIDENCE_HOURS = 11.0
"""Evidence against an agent by hours: four in each of which it was active in all 8 weeks."""

PAUSE_TIMES = 2
"""Times the agent's second-longest pause, which the missed hours must exceed."""

REST_HOURS = 4
"""Hours in a row in which an agent is not steadily active are a rest: what it misses after one is judged by days."""

MIN_EVIDENCE_DAYS = 7.5
"""The same of any other agent, by whole days: three if it was active in all 8 weeks on that weekday."""

MIN_EVIDENCE_WORKDAYS = 10.0
"""The same within a week, of one that rests on some days and stopped with its work done: four working days, because
public holidays last for up to three. Its work is also done if the day after is none of its working days."""

SUCCESSOR_HOURS = 24
"""Hours after an agent has stopped within which another one that begins may have taken over."""

MIN_USUAL_AGENTS = 2
"""Agents that are usually active in an hour in which the organization is judged."""

MIN_EVIDENCE_ORGANIZATION = 8.0
"""Evidence that the organization is quiet, by Poisson's distribution of the agents that are active in an hour."""

MIN_STOPPED_AGENTS = 4
"""Agents of the sample that stop in the same hour, so that part of the organization is silent."""

MIN_STOPPED_SHARE = 0.25
"""Share of the agents active in the hour before that must also have stopped."""

MIN_STOPPED_HOURS = 3
"""Hours that an agent must stay quiet to have stopped."""

STEADY_SHARE = 0.75
"""Of the weeks in which an agent was active in an hour in which it counts as missing."""

MAX_SAMPLED_AGENTS = 32
"""Agents by which the organization is judged, so that a large one takes no longer: those with the lowest ids."""

MAX_SILENT_AGENTS = 100
"""Agents whose silence is looked into."""

# zero_day
ZERO_DAY_WEEKS = 8
"""Weeks before a day whose same weekday says what is usual."""

MIN_ZERO_DAY_WEEKS = 3
"""Of these weeks in which the organization must have been at work already."""

MIN_ZERO_DAY_TOKENS = 20
"""The median of the weekday: fewer may be missing by chance."""

# markers
AFTER_DEPLOYMENT = timedelta(hours=2)
"""How long after a change of an agent a finding that begins may be because of it."""

DEPLOYMENT_TIMES = 3
"""Times the expected tokens up to which a spike after a deployment is only listed: for a while its old instances and
its new ones run, and each fetches a token."""

MAX_AUDIT_EVENTS = 1000
"""Of the organization's newest events, that are searched for changes of agents."""

# rejections
REJECTION_DAYS = 28
"""Days before a day that make its baseline."""

MIN_REJECTED = 15
"""Rejected requests of an agent on a UTC day: fewer are a handful."""

REJECTED_TIMES = 3
"""Times the 75th percentile of the days before."""

MAX_REJECTED_AGENTS = 50
"""Agents whose rejections are looked into: those with the most."""

MAX_SOURCES = 3
"""Networks, and reasons, that a finding names: those with the most rejections."""

# uncached_tokens
UNCACHED_FACTOR = 10
"""Multiple of the tokens that it needs, up to which an agent may have several scopes or resource servers, and several
instances if it declares none."""

UNCACHED_WARNING_FACTOR = 25
"""Up to so many times it is only listed."""

NEW_HABIT_DAYS = 14
"""Days for which a habit is news; after them it is only listed."""

NEW_HABIT_TIMES = 3
"""Times the waste of the days before that make the days after it a new habit."""

MIN_OLD_HABIT_DAYS = 7
"""Of these days before, at least."""

MIN_UNCACHED_TOKENS = 30
"""Of an agent on a day: below that, waste costs nothing. A job that starts again each hour stays below it."""

MIN_UNCACHED_DAYS = 2
"""Days in a row, among those on which the agent was active: fewer are an incident and no habit."""

MIN_UNCACHED_DAYS_READ = 7
"""Days that are read for candidates if fewer are asked for."""

MAX_UNCACHED_DAYS_READ = 14
"""Days that are read for candidates if more are asked for."""

MAX_REPLICA_DISPERSION = 0.15
"""Median of (a - b)^2 / (a + b) over hours that follow one another, up to which an agent's tokens are those of
instances that keep them, each asking once a lifetime: 0.45 of a Poisson count, less than 0.1 of such instances."""

MIN_DISPERSION_PAIRS = 16
"""Pairs of hours that follow one another, with a token in at least one of them: fewer say nothing of instances."""

MAX_REPLICAS = 100
"""Instances at most that are estimated so; steadier than chance with more tokens, it asks by the clock."""

MAX_UNCACHED_SUSPECTS = 50
"""Agents whose hours are read: those with the most tokens on their days of waste."""

MAX_UNCACHED_AGENTS = 20
"""Agents that are named: those that waste the most."""

# weekend
WEEKEND_WEEKS = 8
"""Weeks before a day that say what is usual."""

MIN_WEEKEND_WEEKS = 3
"""Of these weeks in which an agent must have been at work already."""

MAX_WEEKEND_DAYS = 28
"""Days back at most: an older weekend is no news."""

MAX_REST_DAYS = 2
"""Weekdays on which the organization rests, and that are looked at: those with usually less than half of the average's
tokens, then Saturday and Sunday."""

QUIET_PERCENT = 25
"""Of an agent's average over the other weekdays: a weekday with no more is quiet, and so much more is activity."""

PART_PERCENT = 50
"""Of that average: a weekday with no more is quiet for the most part, and judged by the hours that usually are."""

MIN_WEEKEND_TOKENS = 10
"""More than usual: fewer are a handful."""

MAX_WEEKEND_AGENTS = 100
"""Agents whose history is read."""

# dominance
MIN_DOMINANCE_TOKENS = 100
"""Of all agents together: below that a share says little."""

DOMINANCE_DAYS = 7
"""Of a month: up to this day the week before counts too."""

# quota
QUOTA_NEAR_PERCENT = 80
"""Percent of a quota that are used, from which on it is listed."""

# expiring_credential
EXPIRY_REMINDERS = (30, 14, 7, 1)
"""Days before the end of a credential at which a reminder is due, the first one first."""

MAX_EXPIRING_CREDENTIALS = 200
"""Credentials that are named: those that end first."""

MOVED_AFTER = timedelta(days=1)
"""Time without use after which a credential is no longer used, if its agent has used another since."""

# unused_credential
UNUSED_DAYS = 90
"""Days without use after which a credential in force is reported."""

MAX_UNUSED_CREDENTIALS = 100
"""Credentials that are named: those that have been unused for longest."""

# dormant_agent
DORMANT_DAYS = 90
"""Days without a token after which an active agent is reported."""

MAX_DORMANT_AGENTS = 100
"""Agents that are named: those that have been dormant for longest."""

SUSPENSION_NOTICE_DAYS = 14
"""Days before a dormant agent is suspended at which that is announced."""

# budget
BUDGET_NEAR_PERCENT = 80
"""Percent of the budget that are used, from which on it is near."""

BUDGET_WEEKS = 4
"""Weeks back of which the median of a weekday is what is usual on it."""

MIN_BUDGET_DAYS = 7
"""Days since the organization's first usage, below which a forecast says too little to warn by it alone."""

# peak
PEAK_WEEKS = 4
"""Weeks back that are read, if the organization has as many; today is not."""

MIN_PEAK_REQUESTS = 60
"""In the busiest hour that was seen: one a minute. Below that no rate limit is near."""

MAX_PEAK_HOURS = 3
"""Hours of the week that are named."""
