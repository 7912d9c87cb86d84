"""How rare a surprise is for an agent: it is compared with the agent's own highest one of each day before.

Two statistics, because their tails differ. The surprise of an hour has a heavy tail in agents that work in bursts, so
it is judged by its return period. The surprise of a day is a sum of clipped values and has none: its z-score will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

from agentidp.findings import thresholds
from agentidp.findings.seasonal import median


@dataclass(frozen=True)
class ReturnPeriod:
    """Weissman's extrapolation of daily maxima: in how many days such a value comes once.

    A value x above ``base`` comes once in 4 (x / base) ** (1 / index) days. A bursty agent has a high index.
    """

    base: float
    index: float

    @classmethod
    def of(cls, maxima: Sequence[float]) -> ReturnPeriod:
        """Fit it to the last 28: Hill's estimate of the tail index from the 7 highest, drawn towards a prior."""
        recent = [max(one, thresholds.MIN_HOUR_SURPRISE) for one in maxima[-thresholds.CALIBRATION_DAYS :]]
        *highest, base = sorted(recent, reverse=True)[: thresholds.TAIL_DAYS + 1]
        hill, weight = sum(log(one / base) for one in highest), thresholds.PRIOR_WEIGHT
        return cls(base, (hill + weight * thresholds.PRIOR_INDEX) / (len(highest) + weight))

    def days(self, value: float) -> float:
        """In how many days such a value comes once; zero of one that is among the ordinary."""
        if value <= self.base:
            return 0.0
        rarity = log(value / self.base) / self.index
        return exp(rarity) * thresholds.CALIBRATION_DAYS / thresholds.TAIL_DAYS if rarity < 700 else inf


@dataclass(frozen=True)
class DayToDay:
    """How an agent's days differ: the median and the standard deviation of daily maxima."""

    median: float
    deviation: float

    @classmethod
    def of(cls, maxima: Sequence[float]) -> DayToDay:
        """Of the last 28."""
        recent = list(maxima[-thresholds.CALIBRATION_DAYS :])
        middle = median(recent)
        variance = sum((one - middle) ** 2 for one in recent) / len(recent)
        return cls(middle, max(sqrt(variance), thresholds.MIN_DAY_DEVIATION))

    def z_score(self, value: float) -> float:
        """How many standard deviations a value is above the median."""
        return (value - self.median) / self.deviation
