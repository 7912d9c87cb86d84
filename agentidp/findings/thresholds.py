"""The thresholds of the findings, by kind.

``MIN_`` and ``MAX_`` name bounds that are themselves within.
"""

from __future__ import annotations

from datetime import timedelta

MAX_CONTRIBUTORS = 5
"""Agents that a finding about several of them names."""

COMMON_CAUSE_AGENTS = 4
"""Agents with a spike from the same hour on, or silent from the same hour on, that are one finding."""

# Seasonal baseline of spikes (seasonal.py, rarity.py)
SEASON_WEEKS = 8
"""Weeks of which the median of an hour of the week is taken."""

MIN_SEASON_WEEKS = 3
"""With fewer weeks than these, the median is that of the hour of the day in the last SEASON_DAYS."""

SEASON_DAYS = 14
"""Days of which the median of an hour of the day is taken while an agent has too few weeks."""

CALIBRATION_DAYS = 28
"""Days of which the daily maxima say how much an agent's counts jump about."""

TAIL_DAYS = 7
"""The highest of these maxima, to which the tail is fitted: a quarter of the days."""

PRIOR_INDEX = 0.2
"""Tail index before anything is known of the agent."""

PRIOR_WEIGHT = 4
"""Days of the agent that weigh as much as PRIOR_INDEX."""

# Lower bounds: quieter days do not make an agent more predictable.
MIN_HOUR_SURPRISE = 2.0
"""Lower bound of a daily maximum of an hour's surprise."""

MIN_DAY_DEVIATION = 4.0
"""Lower bound of the standard deviation of the daily maxima of a day's surprise."""

MIN_LASTING_DEVIATION = 0.5
"""Lower bound of the standard deviation of the daily maxima of what lasts."""

# spike
# The limits rise with the number of lists of counts, the agents' and the organization's: any may exceed them by chance.
INFO_RETURN_DAYS = 60
"""What comes once in so many days is listed. It is multiplied by the number of lists."""

WARNING_RETURN_DAYS = 800
"""What comes once in so many days is a warning. It is multiplied by the number of lists."""

INFO_Z_SCORE = 3.8
"""A day's surprise, or what lasts, is listed from this z-score on."""

WARNING_Z_SCORE = 4.8
"""It is a warning from this z-score on. Up to it, it may well be a day on which the agent had more to do."""

Z_CHANCES = 0.25
"""How much both z-scores rise for each power of e of the number of lists."""

MAX_CHANCES = 1000
"""Lists beyond which that no longer rises: a loop must stay a warning in an organization of any size."""

MIN_EXCESS = 30
"""Tokens beyond the expected ones, in an hour or in a day."""

MIN_TIMES = 1.5
"""Times the expected tokens, likewise."""

MONTH_END_DAYS = 3
"""At either side of the end of a month an hour is also compared with the ends of earlier months."""

MIN_DAYS_BY_DAY = 30
"""Days since the first token with which an agent is judged by the surprise of a day: its weeks are known."""

CLIPPED_SURPRISE = 3.0
"""The most that an hour counts for the surprise of a day."""

LASTING_HOURS = 6
"""Hours of the last 24 that reach a surprise that lasts: a quarter of them, as of an agent that works by day."""

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

MAX_SPIKE_SUSPECTS = 100
"""Agents of which the hours are read: those whose days grew the most."""

MAX_SPIKE_AGENTS = 40
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

MIN_EVIDENCE_HOURS = 11.0
"""Evidence against an agent that works around the clock: four hours in each of which it was active in all 8 weeks."""

MIN_EVIDENCE_DAYS = 7.5
"""The same of any other agent, by whole days: three if it was active in all 8 weeks on that weekday."""

MIN_EVIDENCE_WORKDAYS = 10.0
"""The same within a week, of one that rests on some days and stopped with its work done: four working days, because
public holidays last for up to three. Its work is also done if the day after is none of its working days."""

MAX_EVIDENCE_PART_DAY = 5.0
"""Evidence at most of the rest of the day on which an agent stopped in the middle of its work: its hours depend on one
another."""

ROUND_THE_CLOCK_HOURS = 18
"""Active hours of the 24 up to its last one of an agent that works around the clock, and of a day a week before."""

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
