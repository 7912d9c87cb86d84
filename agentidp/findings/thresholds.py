"""The thresholds of the findings, by kind.

A value that equals a threshold ``MIN_…`` or ``MAX_…`` is within the range.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

MAX_CONTRIBUTORS = 5  # maximum agents that a finding about several agents names
MIN_CONTRIBUTOR_PERCENT = 10  # minimum percent of a finding's tokens that an agent needs to count as a cause
COMMON_CAUSE_AGENTS = 4  # minimum agents whose spikes become one finding if they begin within an hour

# Limits for the expected and usual counts (surprise.py)
SEASON_WEEKS = 6  # earlier weeks from which the expected count of an hour is computed
MIN_SEASON_WEEKS = 3  # with fewer weeks of history, the expected count comes from the last SEASON_DAYS days
SEASON_DAYS = 14  # earlier days from which the expected count is computed if the history is short
USUAL_DAYS = 35  # days whose highest surprises count as usual
NEW_LEVEL_DAYS = 5  # newest days, which do not count as usual: a change that lasts longer is a new level


# Limits for findings of the kind spike
class SpikeRule(NamedTuple):
    """A limit for the sum of ``hours`` consecutive hours, on each of ``days`` consecutive days.

    ``factor`` is for an organization with one agent. Above ``factor`` times the highest usual surprise, the sum is a
    warning. Above ``factor`` times the second-highest, it is only listed.
    """

    hours: int
    days: int
    factor: float
    min_surprise: float  # minimum surprise of an unusual sum, in standard deviations


WINDOW_HOURS = 8  # number of consecutive hours that are judged together
SPIKE_RULES: tuple[SpikeRule, ...] = (
    SpikeRule(1, 1, 1.45, 9.0),
    SpikeRule(WINDOW_HOURS, 1, 1.5, 8.0),
    SpikeRule(WINDOW_HOURS, 3, 1.1, 5.0),
)
# The factor of a spike rule is multiplied by (number of agents) ** AGENT_COUNT_EXPONENT, because each agent can exceed
# its limit by chance. The number of agents is at most MAX_SPIKE_AGENTS.
AGENT_COUNT_EXPONENT = 0.1
MIN_RAISED_HOURS = 6  # minimum raised hours in an unusual window
RAISED_SURPRISE = 1.0  # an hour is raised from this number of standard deviations above its expected count
REST_SHARE = 0.35  # maximum share of a day's expected tokens in a night; even usage has 8/24 of them in each window
MIN_EXCESS = 30  # minimum tokens of a spike beyond the expected tokens
MIN_EXCESS_SHARE = 0.1  # minimum excess as a share of the day's expected tokens; applies if larger than MIN_EXCESS
MIN_TIMES = 2  # minimum ratio of the tokens of a spike to the expected tokens
MIN_LOOP_EXCESS = 1000  # minimum tokens of a critical hour beyond the expected tokens
LOOP_TIMES = 10  # a critical hour exceeds this multiple of the agent's busiest hour on the usual days
SETTLED_DAYS = 14  # days since its first token after which an agent has a baseline
NEW_TOKENS = 500  # minimum tokens in an unusual hour of an agent without a baseline: more than healthy instances need
NEW_TIMES = 8  # such an hour also exceeds this multiple of the tokens of any hour at least 24 hours before it
# findings/spike.sql ranks agents by growth: (highest - mean) / (mean + smoothing), where highest is the highest count
# of an evaluated day, and mean is the mean of the GROWTH_DAYS days before. The smoothing keeps agents with few tokens
# from ranking high.
GROWTH_DAYS = 21  # number of days before the evaluated days whose mean is used
GROWTH_SMOOTHING_DAY = 30  # tokens that are added to the mean tokens of a day
GROWTH_SMOOTHING_HOUR = 10  # tokens that are added to the mean tokens of an hour
MAX_SPIKE_SUSPECTS = 200  # maximum agents whose hours are read; agents whose days grew the most come first
MAX_SPIKE_AGENTS = 100  # maximum suspects whose history is read; suspects whose hours grew the most come first
MAX_SPIKE_GAP_HOURS = 24  # maximum hours between two unusual hours of the same spike

# Limits for findings of the kind silence
SILENCE_WEEKS = 8  # weeks before a silence; the activity in these weeks counts as usual
MIN_SILENCE_WEEKS = 3  # minimum weeks, of the SILENCE_WEEKS, in which the agent or the organization worked
MAX_SILENCE_WEEKS = 5  # weeks after which a silent agent is dormant instead
MIN_QUIET_HOURS = 3  # quiet hours after which the history of an agent that works around the clock is read
MIN_QUIET_DAYS = 2  # quiet days after which the history of any other agent is read
MIN_ACTIVE_HOURS = 6  # active hours on an agent's last two days from which it counts as working around the clock
MIN_EVIDENCE_HOURS = 11.0  # minimum evidence of a silence by hours: four missed hours, each active in all 8 weeks
PAUSE_TIMES = 2  # a silence must have more missed hours than this multiple of the agent's second-longest pause
REST_HOURS = 4  # consecutive hours without steady activity that count as a rest
MIN_EVIDENCE_DAYS = 7.5  # minimum evidence of a silence by days: three missed weekdays, each active in all 8 weeks
MIN_EVIDENCE_WORKDAYS = 10.0  # minimum evidence if the agent has days of rest: four days, as holidays last up to three
WORK_HOURS = 8  # last hours of an agent that show whether it stopped in the middle of its work
SUCCESSOR_HOURS = 24  # hours after an agent stopped within which an agent that begins may be its successor
SILENCE_NEWS_DAYS = 7  # days for which an agent's silence is a warning; then it is only listed
MIN_USUAL_AGENTS = 2  # minimum number of usually active agents in a busy hour of the organization
MIN_EVIDENCE_ORGANIZATION = 8.0  # minimum evidence of a quiet time: half of the Poisson deviance of the active agents
MIN_QUIET_DAY_REQUESTS = 20  # minimum usual requests of a weekday on which a day without requests counts as quiet
MIN_STOPPED_AGENTS = 4  # minimum agents of the sample that stop in the same hour if part of the organization is quiet
MIN_STOPPED_SHARE = 0.25  # minimum share of the agents that stop among the agents that were active in the hour before
MIN_STOPPED_HOURS = 3  # minimum steady hours without a request after which an agent counts as stopped
STEADY_SHARE = 0.75  # minimum share of the weeks in which an agent is active in a steady hour
MAX_SAMPLED_AGENTS = 32  # maximum agents by which an organization is judged; the agents with the lowest ids are used
MAX_SILENT_AGENTS = 100  # maximum agents whose history is read, because they may have stopped

# Limits for markers that explain findings
AFTER_DEPLOYMENT = timedelta(hours=2)  # maximum time from a change of an agent to a finding that it may explain
DEPLOYMENT_TIMES = 3  # maximum ratio of issued to expected tokens in a spike that a deployment can explain
MAX_AUDIT_EVENTS = 1000  # newest changes of agents and credentials that are searched

# Limits for findings of the kind rejections
REJECTION_DAYS = 28  # days before the judged day; the rejections on these days count as usual
MIN_REJECTED = 15  # minimum rejected requests of an agent on a reported UTC day
REJECTED_TIMES = 3  # a reported day exceeds this multiple of the 75th percentile of the REJECTION_DAYS days before it
MAX_REJECTED_AGENTS = 50  # maximum agents whose history is read; agents with the most rejected requests come first
MAX_SOURCES = 3  # maximum number of networks, and of reasons, that a finding names

# Limits for findings of the kind uncached_tokens
UNCACHED_FACTOR = 10  # a costly day exceeds this ratio of issued to needed tokens; several scopes explain lower ratios
MIN_UNCACHED_TOKENS = 30  # minimum tokens of an agent on a costly day: fewer cost nothing, and an hourly job gets fewer
MIN_UNCACHED_DAYS = 2  # minimum costly active days in a row; a single day may be a loop of a few hours
MIN_UNCACHED_DAYS_READ = 7  # days in which candidates are searched if fewer days are requested
MAX_UNCACHED_DAYS_READ = 14  # days in which candidates are searched if more days are requested
# The dispersion of hourly counts is the median of (a - b)^2 / (a + b) of two consecutive hours. It is 0.45 for a
# Poisson count, and below 0.1 if each of many instances caches its token and requests one per lifetime.
MAX_REPLICA_DISPERSION = 0.15  # maximum dispersion for instances that cache their tokens
MIN_DISPERSION_PAIRS = 16  # minimum pairs of consecutive hours with a token in at least one hour of the pair
MAX_REPLICAS = 100  # maximum estimated instances; a higher estimate means that a schedule causes the steady counts
MAX_UNCACHED_SUSPECTS = 50  # maximum agents whose history is read; agents with the most tokens on costly days first
MAX_UNCACHED_AGENTS = 20  # maximum agents that a finding about several agents names

# Limits for findings of the kind weekend
WEEKEND_WEEKS = 8  # weeks before the judged day; the tokens in these weeks count as usual
MIN_WEEKEND_WEEKS = 3  # minimum weeks from an agent's first token to the judged day
MAX_WEEKEND_DAYS = 28  # maximum number of judged days
MAX_REST_DAYS = 2  # maximum rest days per week: weekdays with under half the average tokens, then Saturday and Sunday
QUIET_PERCENT = 25  # maximum usual tokens on a quiet weekday, in percent of the agent's average on other weekdays
PART_PERCENT = 50  # maximum usual tokens on a weekday with hours of rest, in percent of the average on other weekdays
MIN_WEEKEND_TOKENS = 10  # minimum tokens of an agent beyond its usual tokens on the same weekday
MIN_WEEKEND_WARNING_TOKENS = 30  # minimum tokens of all agents beyond their usual tokens that make a warning
MAX_WEEKEND_AGENTS = 100  # maximum agents whose history is read

# Limits for findings of the kind dominance
MAX_DOMINANCE_PERCENT = 80  # percent of the month's tokens; an agent with more is reported
MIN_DOMINANCE_TOKENS = 100  # minimum tokens of all agents in the month; with fewer, no agent is reported
DOMINANCE_DAYS = 7  # on the first 7 days of a month, the tokens of the 7 days before the month count too

# Limits for findings of the kind quota
QUOTA_NEAR_PERCENT = 80  # used share of a quota from which the quota is listed

# Limits for findings of the kind expiring_credential
EXPIRY_REMINDERS = (30, 14, 7, 1)  # days before the end of a credential at which reminders are due
MAX_EXPIRING_CREDENTIALS = 200  # maximum number of named credentials; the first to end are named
MOVED_AFTER = timedelta(days=1)  # time without use after which the agent has moved to another credential

# Limits for findings of the kind unused_credential
UNUSED_DAYS = 90  # days without use after which a valid credential is listed
MAX_UNUSED_CREDENTIALS = 100  # maximum number of named credentials; the longest unused are named

# Limits for findings of the kind dormant_agent
DORMANT_DAYS = 7 * MAX_SILENCE_WEEKS  # days without a token after which an active agent is listed
MAX_DORMANT_AGENTS = 100  # maximum number of named agents; the longest dormant are named
SUSPENSION_NOTICE_DAYS = 14  # days from the announcement of a suspension to the suspension

# Limits for findings of the kind budget
BUDGET_NEAR_PERCENT = 80  # used share of the budget from which the finding is a warning
BUDGET_WEEKS = 4  # number of weeks whose median tokens per weekday the forecast uses
MIN_BUDGET_DAYS = 7  # minimum days since the organization's first usage for a forecast to be a warning
