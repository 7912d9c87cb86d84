"""The thresholds of the findings, by kind.

``MIN_`` and ``MAX_`` name bounds that are themselves within.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

MAX_CONTRIBUTORS = 5  # agents that a finding about several of them names
MIN_CONTRIBUTOR_PERCENT = (
    10  # of the tokens of a finding about the whole organization, from which on an agent caused it
)
COMMON_CAUSE_AGENTS = 4  # agents with a spike, or silent, from the same hour on that are one finding

# What is expected, and what is usual, of a list of counts (surprise.py)
SEASON_WEEKS = 6  # weeks of which the median of an hour of the week is taken
MIN_SEASON_WEEKS = 3  # with fewer weeks, it is the median of the hour of the day in the last SEASON_DAYS
SEASON_DAYS = 14  # days of which the median of an hour of the day is taken while an agent has too few weeks
USUAL_DAYS = 35  # days of which the daily maxima say how much an agent's counts jump about
NEW_LEVEL_DAYS = 5  # days before a day that do not belong to these: what lasts longer is a new level


# spike
class SpikeRule(NamedTuple):
    """When the sum of the last ``hours`` hours, on ``days`` days in a row, is unusual.

    :param factor: of an organization with one agent. Above this factor times the highest usual surprise the sum is a
        warning, and above this factor times the second-highest it is listed.
    :param min_surprise: the least surprise in standard deviations, whatever is usual.
    """

    hours: int
    days: int
    factor: float
    min_surprise: float


NIGHT_HOURS = 8
SPIKE_RULES: tuple[SpikeRule, ...] = (
    SpikeRule(1, 1, 1.45, 9.0),
    SpikeRule(NIGHT_HOURS, 1, 1.5, 8.0),
    SpikeRule(NIGHT_HOURS, 3, 1.1, 5.0),
)
# Each agent can be above its limit by chance, so the factors are multiplied by the number of agents to this power.
AGENT_COUNT_EXPONENT = 0.1
MIN_RAISED_HOURS = 6  # of the hours of a night that must be raised, and so must its last one
RAISED_SURPRISE = 1.0  # standard deviations more than expected, with which an hour is raised
REST_SHARE = 1 / 3  # of what is expected of a day, up to which eight hours are a night: no more than on average
MIN_EXCESS = 30  # tokens beyond the expected ones, of any spike
MIN_EXCESS_SHARE = 0.1  # of the tokens that are expected of a day, which these must be as well
MIN_TIMES = 2  # times the expected tokens, of any spike
MIN_LOOP_EXCESS = 1000  # tokens in an hour beyond the expected ones, and beyond those of a day, that are critical,
LOOP_TIMES = 10  # if they are more than so many times the agent's busiest hour
SETTLED_DAYS = 14  # days since the first token with which an agent has a baseline
NEW_TOKENS = 500  # tokens in an hour of a newer agent: more than any number of healthy instances needs
NEW_TIMES = 8  # times its busiest hour up to the day before, which the hour of such an agent must also exceed
MAX_SPIKE_SUSPECTS = 200  # agents of which the hours are read: those whose days grew the most
MAX_SPIKE_AGENTS = 100  # of these, agents of which the history is read: those whose hours grew the most
MAX_SPIKE_GAP_HOURS = 24  # hours from one unusual hour of an agent to the next within one spike

# silence
SILENCE_WEEKS = 8  # weeks before a silence that make its baseline
MIN_SILENCE_WEEKS = 3  # of these weeks, in which the agent or the organization must have been at work already
MAX_SILENCE_WEEKS = 5  # weeks after which an agent that has stopped is dormant, and no longer silent
MIN_QUIET_HOURS = 3  # quiet hours after which the history of an agent that works around the clock is read
MIN_QUIET_DAYS = 2  # quiet days after which the history of any other agent is read
MIN_ACTIVE_HOURS = 6  # active hours on its last two days, with which an agent may be missed within a day, and is read
MIN_EVIDENCE_HOURS = 11.0  # evidence against an agent by hours: four in which it was active in all 8 weeks
PAUSE_TIMES = 2  # times the agent's second-longest pause, which the missed hours must exceed
REST_HOURS = 4  # hours in a row without steady activity that are a rest: what is missed after one is judged by days
MIN_EVIDENCE_DAYS = 7.5  # evidence by whole days: three weekdays on which it was active in all 8 weeks
# Within a week, of an agent that rests on some days.
MIN_EVIDENCE_WORKDAYS = 10.0  # four working days, because public holidays last for up to three
WORK_HOURS = 8  # the last hours of an agent, in which it was in the middle of its work if it is judged by hours
SUCCESSOR_HOURS = 24  # hours after an agent has stopped within which another one that begins may have taken over
SILENCE_NEWS_DAYS = 7  # days for which an agent's silence is a warning, after which it is only listed
MIN_USUAL_AGENTS = 2  # agents that are usually active in an hour in which the organization is judged
MIN_EVIDENCE_ORGANIZATION = 8.0  # that it is quiet, by Poisson's distribution of the agents active in an hour
MIN_QUIET_DAY_REQUESTS = 20  # the median of the weekday of a day without requests: fewer may be missing by chance
MIN_STOPPED_AGENTS = 4  # agents of the sample that stop in the same hour, so that part of the organization is silent
MIN_STOPPED_SHARE = 0.25  # of the agents active in the hour before, that must also have stopped
MIN_STOPPED_HOURS = 3  # hours that an agent must stay quiet to have stopped
STEADY_SHARE = 0.75  # of the weeks, in which an agent was active in an hour in which it counts as missing
MAX_SAMPLED_AGENTS = 32  # agents by which an organization of any size is judged: those with the lowest ids
MAX_SILENT_AGENTS = 100  # agents whose silence is looked into

# markers
AFTER_DEPLOYMENT = timedelta(hours=2)  # after a change of an agent, within which a finding may begin because of it
# For a while after a deployment old instances and new ones run, and each fetches a token.
DEPLOYMENT_TIMES = 3  # times the expected tokens, up to which a spike after a deployment is only listed
MAX_AUDIT_EVENTS = 1000  # newest changes of agents and credentials that are looked through

# rejections
REJECTION_DAYS = 28  # days before a day that make its baseline
MIN_REJECTED = 15  # rejected requests of an agent on a UTC day: fewer are a handful
REJECTED_TIMES = 3  # times the 75th percentile of the days before, which a day must exceed
MAX_REJECTED_AGENTS = 50  # agents whose rejections are looked into: those with the most
MAX_SOURCES = 3  # networks, and reasons, that a finding names: those with the most rejections

# uncached_tokens
# An agent may have several scopes or resource servers, and several instances if it declares none.
UNCACHED_FACTOR = 10  # times the tokens that it needs, up to which that may be so
MIN_UNCACHED_TOKENS = 30  # of an agent on a day: below, waste costs nothing. A job that starts each hour stays below
MIN_UNCACHED_DAYS = 2  # days in a row, among those on which the agent was active: fewer are an incident and no habit
MAX_NEW_HABIT_DAYS = 14  # days at the end of a habit that may be a new habit,
NEW_HABIT_TIMES = 3  # if each wastes more than so many times the median of the days before,
MIN_OLD_HABIT_DAYS = 7  # of which there are so many
MIN_UNCACHED_DAYS_READ = 7  # days that are read for candidates if fewer are asked for
MAX_UNCACHED_DAYS_READ = 14  # days that are read for candidates if more are asked for
# Dispersion is the median of (a - b)^2 / (a + b) over hours that follow one another. It is 0.45 of a Poisson count, and
# less than 0.1 of instances that keep their tokens, each asking once a lifetime.
MAX_REPLICA_DISPERSION = 0.15  # up to which the tokens are those of such instances
MIN_DISPERSION_PAIRS = 16  # pairs of hours with a token in at least one: fewer say nothing of instances
MAX_REPLICAS = 100  # instances at most that are estimated so; with more, steady counts mean a schedule
MAX_UNCACHED_SUSPECTS = 50  # agents whose hours are read: those with the most tokens on their days of waste
MAX_UNCACHED_AGENTS = 20  # agents that a finding about several names: those with the most tokens

# weekend
WEEKEND_WEEKS = 8  # weeks before a day that say what is usual
MIN_WEEKEND_WEEKS = 3  # of these weeks, in which an agent must have been at work already
MAX_WEEKEND_DAYS = 28  # days back at most: an older weekend is no news
# Weekdays with usually less than half of the average's tokens, then Saturday and Sunday.
MAX_REST_DAYS = 2  # weekdays on which the organization rests, and that are looked at
QUIET_PERCENT = 25  # of an agent's average on other weekdays: a weekday with no more is quiet, so much more is activity
PART_PERCENT = 50  # of it: a weekday with no more is quiet for the most part, and judged by the hours that usually are
MIN_WEEKEND_TOKENS = 10  # more than usual: fewer are a handful
MIN_WEEKEND_WARNING_TOKENS = 30  # more than usual, of all agents together, as of a spike: fewer are only listed
MAX_WEEKEND_AGENTS = 100  # agents whose history is read

# dominance
MAX_DOMINANCE_PERCENT = 80  # of the month's tokens that one agent may have
MIN_DOMINANCE_TOKENS = 100  # of all agents together: below that a share says little
DOMINANCE_DAYS = 7  # of a month: up to this day the week before counts too

# quota
QUOTA_NEAR_PERCENT = 80  # of a quota that are used, from which on it is listed

# expiring_credential
EXPIRY_REMINDERS = (30, 14, 7, 1)  # days before the end of a credential at which a reminder is due, the first one first
MAX_EXPIRING_CREDENTIALS = 200  # credentials that are named: those that end first
MOVED_AFTER = timedelta(days=1)  # without use, after which an agent that has used another credential has left this one

# unused_credential
UNUSED_DAYS = 90  # days without use after which a credential in force is reported
MAX_UNUSED_CREDENTIALS = 100  # credentials that are named: those that have been unused for longest

# dormant_agent
DORMANT_DAYS = 7 * MAX_SILENCE_WEEKS  # days without a token after which an active agent is reported
MAX_DORMANT_AGENTS = 100  # agents that are named: those that have been dormant for longest
SUSPENSION_NOTICE_DAYS = 14  # days before a dormant agent is suspended at which that is announced

# budget
BUDGET_NEAR_PERCENT = 80  # of the budget that are used, from which on it is near
BUDGET_WEEKS = 4  # weeks back of which the median of a weekday is what is usual on it
MIN_BUDGET_DAYS = 7  # days since the organization's first usage, below which a forecast alone is no warning
