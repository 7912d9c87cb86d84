"""Where people work: their hours against UTC, summer time, public holidays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta


def nth_weekday(year: int, month: int, weekday: int, number: int) -> date:
    """The *number*-th *weekday* (0: Monday) of a month; -1 is the last."""
    if number < 0:
        following = date(year + month // 12, month % 12 + 1, 1)
        return following - timedelta(days=(following.weekday() - weekday - 1) % 7 + 1)
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


@functools.cache
def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Butcher's rule)."""
    a, b, c = year % 19, year // 100, year % 100
    d = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    e = (32 + 2 * (b % 4) + 2 * (c // 4) - d - c % 4) % 7
    f = d + e - 7 * ((a + 11 * d + 22 * e) // 451) + 114
    return date(year, f // 31, f % 31 + 1)


def _around_easter(year: int, *days: int) -> set[date]:
    return {easter(year) + timedelta(days=days_after) for days_after in days}


def _europe(year: int) -> set[date]:
    fixed = {date(year, *day) for day in ((1, 1), (5, 1), (8, 15), (11, 1), (12, 24), (12, 25), (12, 26), (12, 31))}
    return fixed | _around_easter(year, -2, 1, 39, 50)


def _americas(year: int) -> set[date]:
    thanksgiving = nth_weekday(year, 11, 3, 4)
    fixed = {date(year, *day) for day in ((1, 1), (6, 19), (7, 4), (12, 24), (12, 25))}
    moving = {nth_weekday(year, 1, 0, 3), nth_weekday(year, 5, 0, -1), nth_weekday(year, 9, 0, 1)}
    return fixed | moving | {thanksgiving, thanksgiving + timedelta(days=1)}


def _asia(year: int) -> set[date]:
    # A new year of three days between the end of January and the middle of February stands for the lunar one.
    new_year = date(year, 1, 28) + timedelta(days=(year * 19) % 20)
    days = ((1, 1), (4, 29), (5, 3), (5, 4), (5, 5), (8, 15), (10, 1), (10, 2), (10, 3))
    return {date(year, *day) for day in days} | {new_year + timedelta(days=n) for n in range(3)}


def _european_summer(day: date) -> bool:
    return nth_weekday(day.year, 3, 6, -1) <= day < nth_weekday(day.year, 10, 6, -1)


def _american_summer(day: date) -> bool:
    return nth_weekday(day.year, 3, 6, 2) <= day < nth_weekday(day.year, 11, 6, 1)


@dataclass(frozen=True)
class Area:
    """A part of the world: its hours ahead of UTC in winter, when it has summer time, its public holidays."""

    offsets: tuple[int, ...]
    is_summer: Callable[[date], bool]
    holidays: Callable[[int], set[date]]
    keeps_christmas: bool


AREAS = {
    "europe": Area((0, 1, 1, 1, 2), _european_summer, _europe, keeps_christmas=True),
    "americas": Area((-8, -6, -5, -5), _american_summer, _americas, keeps_christmas=True),
    "asia": Area((5, 8, 9), lambda day: False, _asia, keeps_christmas=False),
}


@functools.cache
def kind_of_day(area: str, day: date) -> tuple[bool, bool]:
    """Whether an area has summer time on a day, and whether it is a holiday there."""
    return AREAS[area].is_summer(day), day in AREAS[area].holidays(day.year)


def special_days(year: int) -> list[date]:
    """Days near which a fleet is worth looking at: holidays, and the changes to and from summer time."""
    summer = [nth_weekday(year, 3, 6, -1), nth_weekday(year, 10, 6, -1)]
    summer += [nth_weekday(year, 3, 6, 2), nth_weekday(year, 11, 6, 1)]
    holidays = [easter(year), date(year, 12, 25), date(year, 5, 1), nth_weekday(year, 11, 3, 4), date(year, 7, 4)]
    return summer + holidays + [date(year, 5, 4), date(year, 1, 1), date(year, 10, 1)]
