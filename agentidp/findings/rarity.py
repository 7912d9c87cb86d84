"""How rare a surprise is for an agent, compared with the agent's own highest surprise on each day before.

Two statistics, because their tails differ:

- The surprise of an hour has a heavy tail in agents that work in bursts: its return period (Weissman's
  extrapolation).
- The surprise of a day is a sum of clipped values, and what lasts is reached by six hours. They have no such tail:
  their z-scores.

Example: on a quarter of its days an agent has an hour with a surprise of 4 or more, and its tail index is 0.2. A
surprise of 8.9 comes once in 4 (8.9 / 4) ** 5 = 218 days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

from agentidp.findings import thresholds
from agentidp.findings.seasonal import median


@dataclass(frozen=True)
class ReturnPeriod:
    """Weissman's extrapolation of daily maxima: in how many days a value comes once.

    ``base`` is the highest of the maxima below the tail: it is exceeded on TAIL_DAYS of CALIBRATION_DAYS. So a value x
    above it comes once in CALIBRATION_DAYS / TAIL_DAYS * (x / base) ** (1 / index) days. The index of a bursty agent is
    high.
    """

    base: float
    index: float

    @classmethod
    def of(cls, maxima: Sequence[float]) -> ReturnPeriod:
        """Fit it to the last CALIBRATION_DAYS: Hill's estimate of the index from TAIL_DAYS of them, with a prior."""
        recent = [max(one, thresholds.MIN_HOUR_SURPRISE) for one in maxima[-thresholds.CALIBRATION_DAYS :]]
        *highest, base = sorted(recent, reverse=True)[: thresholds.TAIL_DAYS + 1]
        hill, weight = sum(log(one / base) for one in highest), thresholds.PRIOR_WEIGHT
        return cls(base, (hill + weight * thresholds.PRIOR_INDEX) / (len(highest) + weight))

    def days(self, value: float) -> float:
        """In how many days such a value comes once; zero if it is not above ``base``."""
        if value <= self.base:
            return 0.0
        exponent = log(value / self.base) / self.index
        # The exponential of more than 709 is no float.
        return exp(exponent) * thresholds.CALIBRATION_DAYS / thresholds.TAIL_DAYS if exponent < 700 else inf


@dataclass(frozen=True)
class ZScore:
    """How many standard deviations a value is above the median of daily maxima."""

    median: float
    deviation: float

    @classmethod
    def of(cls, maxima: Sequence[float], min_deviation: float) -> ZScore:
        """Fit it to the last CALIBRATION_DAYS."""
        recent = list(maxima[-thresholds.CALIBRATION_DAYS :])
        middle = median(recent)
        variance = sum((one - middle) ** 2 for one in recent) / len(recent)
        return cls(middle, max(sqrt(variance), min_deviation))

    def score(self, value: float) -> float:
        """The z-score of a value."""
        return (value - self.median) / self.deviation


@dataclass(slots=True)
class _Maxima:
    """The highest surprises and the most tokens of a day's ordinary hours, named as in :meth:`DailyMaxima.add`."""

    of_hour: float = 0.0
    of_day: float = 0.0
    lasting: float = 0.0
    tokens: float = 0.0


class DailyMaxima:
    """The highest surprises of each day, and the statistics that are fitted to them each midnight.

    What begins to go wrong must not become its own measure, so the day before is left out of each fit, and so are the
    hours that were unusual.
    """

    def __init__(self) -> None:
        self.return_period: ReturnPeriod | None = None
        """Of an hour's surprise."""

        self.of_day: ZScore | None = None
        """Of a day's surprise."""

        self.lasting: ZScore | None = None
        """Of the surprise that an hour and five others of 24 reach."""

        self.busiest = 0.0
        """The second-highest daily maximum of an hour's tokens."""

        self._days: list[_Maxima] = []
        self._today = _Maxima()

    @property
    def lasting_today(self) -> float:
        """The highest surprise so far that an hour of today and five others of its 24 reached."""
        return self._today.lasting

    def add(self, of_hour: float, of_day: float, lasting: float, tokens: float) -> None:
        """Take in an ordinary hour: its surprise, those of the 24 hours that end with it, and its tokens."""
        today = self._today
        if of_hour > today.of_hour:
            today.of_hour = of_hour
        if of_day > today.of_day:
            today.of_day = of_day
        if lasting > today.lasting:
            today.lasting = lasting
        if tokens > today.tokens:
            today.tokens = tokens

    def end_day(self) -> None:
        """Fit the statistics to the days before the one that ends, and then take it in."""
        if len(self._days) >= thresholds.SETTLED_DAYS - 1:
            recent = self._days[-thresholds.CALIBRATION_DAYS :]
            self.return_period = ReturnPeriod.of([day.of_hour for day in recent])
            self.of_day = ZScore.of([day.of_day for day in recent], thresholds.MIN_DAY_DEVIATION)
            self.lasting = ZScore.of([day.lasting for day in recent], thresholds.MIN_LASTING_DEVIATION)
            self.busiest = sorted(day.tokens for day in recent)[-2]
        self._days.append(self._today)
        self._today = _Maxima()
