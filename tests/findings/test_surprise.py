"""Which hours of a list of counts are unusual, how urgent that is, and by which rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import Random

import pytest

from agentidp.findings import surprise as rules
from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, expand_to_hours, find_first_midnight, group_adjacent, median
from agentidp.findings.surprise import (
    estimate_expected_tokens,
    find_unusual_hours,
    find_unusual_hours_of_new_agent,
    sum_tokens_by_rule,
    surprise,
)

HOURS = 13 * WEEK
LAST_WEEK = HOURS - WEEK
INFO, WARNING, CRITICAL = Severity
NIGHT, NOON, LATE = range(8), range(8, 16), range(16, 24)


def flat(tokens: int) -> list[int]:
    """Return the same count for each hour."""
    return [tokens] * HOURS


def daily(*of_hours: int, tokens: int = 60) -> list[int]:
    """Return the same count for some hours of each day."""
    return [tokens if hour % DAY in of_hours else 0 for hour in range(HOURS)]


def noise(mean: int, seed: str = "noise") -> list[int]:
    """Return random counts around the clock with this mean."""
    random = Random(seed)
    return [sum(random.random() < mean / 100 for _ in range(100)) for _ in range(HOURS)]


def bursts() -> list[int]:
    """Return the counts of an agent that works in a third of its hours, with 3 to 15 tokens in each."""
    random = Random("bursts")
    return [random.choice((3, 6, 15)) if random.random() < 0.35 else 0 for _ in range(HOURS)]


def ago(days: int, *hours: int) -> list[int]:
    """Return the indexes of hours of the day that is *days* days ago. 1 is the last day."""
    return [HOURS - days * DAY + hour for hour in hours]


def nights(*days: int, hours: Iterable[int] = NIGHT) -> list[int]:
    """Return the indexes of the same hours of several days."""
    return [place for day in days for place in ago(day, *hours)]


def more(counts: list[int], places: Iterable[int], tokens: int) -> list[int]:
    """Return the counts with *tokens* more in some hours."""
    changed = [*counts]
    for place in places:
        changed[place] += tokens
    return changed


OFFICE = daily(*range(8, 18))


@pytest.mark.parametrize(
    ("reason", "counts", "expected"),
    [
        ("nothing is expected, and 29 are less than matters", more(flat(0), ago(1, 3), 29), None),
        ("30 matter", more(flat(0), ago(1, 3), 30), WARNING),
        ("29 more than one: the one hour has a surprise of 8.7", more(flat(1), ago(1, 3), 30), None),
        ("not twice the expected", more(daily(9, 10, 11, tokens=400), ago(1, 10), 399), None),
        ("twice the expected", more(daily(9, 10, 11, tokens=400), ago(1, 10), 400), WARNING),
        ("less than a tenth of the agent's day", more(OFFICE, ago(1, 3), 59), None),
        ("a tenth of it", more(OFFICE, ago(1, 3), 60), WARNING),
        ("1,000 more than expected, of a day and an hour", more(flat(20), ago(1, 3), 1000), CRITICAL),
        ("999 more than expected", more(flat(20), ago(1, 3), 999), WARNING),
        ("1,800 more, and not ten times its busiest hour", more(daily(9, tokens=200), ago(1, 3), 2000), WARNING),
        ("and ten times its busiest hour", more(daily(9, tokens=200), ago(1, 3), 2001), CRITICAL),
        ("not more than is expected of its day", more(flat(100), ago(1, 3), 2399), WARNING),
        ("what was as high on one day is listed", more(flat(20), [*ago(1, 3), *ago(9, 15)], 90), INFO),
        ("what was as high on two days is usual", more(flat(20), [*ago(1, 3), *ago(9, 15), *ago(20, 3)], 90), None),
        ("less than 1.45 times as surprising as before", more(more(flat(20), ago(1, 3), 117), ago(9, 15), 70), INFO),
        ("1.45 times as surprising as before", more(more(flat(20), ago(1, 3), 118), ago(9, 15), 70), WARNING),
        ("a loop is no less listed if it was before", more(flat(20), [*ago(1, 3), *ago(14, 9)], 3000), INFO),
        ("what was within five days is not usual yet", more(flat(20), [*ago(1, 3), *ago(6, 9)], 90), WARNING),
        ("six days before, it is", more(flat(20), [*ago(1, 3), *ago(7, 9)], 90), INFO),
        ("35 days before these five, it still is", more(flat(20), [*ago(1, 3), *ago(41, 9)], 90), INFO),
        ("and no longer", more(flat(20), [*ago(1, 3), *ago(42, 9)], 90), WARNING),
        ("a weekly job at another hour", more(more(flat(0), range(30, HOURS, WEEK), 90), ago(2, 20), 90), None),
        ("a job that runs twice in its hour", more(daily(5), ago(1, 5), 60), None),
        ("a long job an hour earlier by UTC", more(more(daily(2, 3, 4), ago(1, 4), -60), ago(1, 1), 60), None),
        ("a job of each month's first day", more(flat(0), [*ago(1, 3), *ago(31, 3), *ago(62, 3)], 400), INFO),
        ("a night that doubles, by its sum", more(noise(15), nights(2), 15), WARNING),
        ("five raised hours are no night", more(flat(20), nights(2, hours=range(5)), 25), None),
        ("six are", more(flat(20), nights(2, hours=range(6)), 27), WARNING),
        ("bursts that fill the same hours of three nights", more(bursts(), nights(1, 2, 3), 6), WARNING),
        ("of two nights", more(bursts(), nights(1, 2), 6), None),
        ("at other hours", more(bursts(), [*nights(3), *nights(2, hours=NOON), *nights(1, hours=LATE)], 6), None),
        ("three nights, each as on two days before", more(OFFICE, nights(1, 2, 3, 10, 20), 15), WARNING),
        ("eight busy hours are no night", more(OFFICE, nights(2, hours=range(9, 17)), 61), None),
        ("three busy afternoons are no nights", more(OFFICE, nights(1, 2, 3, 10, 20, hours=range(9, 17)), 61), None),
        ("bursts", bursts(), None),
        *((f"chance {seed}", noise(20, f"chance {seed}"), None) for seed in range(5)),
    ],
)  # fmt: skip
def test_the_most_urgent_hour_of_two_days(reason: str, counts: list[int], expected: Severity | None) -> None:
    hours = [reported for reported in find_unusual_hours(counts, 0, LAST_WEEK) if reported.hour >= HOURS - 2 * DAY]
    assert max((reported.severity for reported in hours), default=None) == expected, reason


def test_the_worked_history() -> None:
    first = datetime(2026, 1, 5)

    def hour_of(day: str, time: str) -> int:
        return (datetime.strptime(f"2026 {day} {time}", "%Y %d %B %H:%M") - first) // timedelta(hours=1)

    counts = [20] * hour_of("6 May", "00:00")
    counts[hour_of("1 April", "09:00")] = 45
    for night in ("26 April", "27 April", "28 April"):
        counts[hour_of(night, "22:00") : hour_of(night, "22:00") + 8] = [40] * 8
    rows = [[*map(str.strip, line.split("|")[1:-1])] for line in (rules.__doc__ or "").splitlines() if line[:1] == "|"][
        3:
    ]
    for hour, of, tokens, *_ in rows:
        if of == "hour":
            counts[hour_of(*hour.rsplit(" ", 1))] = int(tokens)
    expected = [estimate_expected_tokens(counts, hour, 0) for hour in range(DAY, len(counts) + 1)]
    findings = {
        reported.hour: reported.severity.name
        for reported in find_unusual_hours(counts, 0, hour_of("15 April", "00:00"))
    }
    places = {"hour": 0, "night": 1, "three nights": 2}
    computed = []
    for name, of, *_ in rows:
        hour, rule = hour_of(*name.rsplit(" ", 1)), thresholds.SPIKE_RULES[places[of]]
        sums = sum_tokens_by_rule(counts[DAY:], expected)[places[of]]
        day, reported = hour // DAY - 1, sums[hour - DAY]
        maxima = [max(agent.surprise for agent in sums[day * DAY :][:DAY]) for day in range(day - 40, day - 5)]
        usual = sorted(maxima)[-2:]
        limits = [max(rule.min_surprise, rule.factor * maximum) for maximum in usual]
        surprises = [f"{number:.1f}" for number in (reported.surprise, *usual, *limits)]
        computed.append(
            [name, of, f"{reported.tokens:g}", f"{reported.expected:g}", *surprises, findings.get(hour, "")]
        )
    assert computed == rows


def test_a_lasting_step_is_unusual_for_five_days_and_then_a_new_level() -> None:
    begins = HOURS - 3 * WEEK
    counts = more(noise(20), range(begins, HOURS), 80)
    hours = [reported.hour for reported in find_unusual_hours(counts, 0, begins) if reported.severity is WARNING]
    assert hours[0] == begins
    assert hours[-1] == begins + 6 * DAY - 1
    loop = more(counts, ago(2, 3), 300)
    assert [reported.hour for reported in find_unusual_hours(loop, 0, begins) if reported.hour > begins + WEEK] == ago(
        2, 3
    )


@pytest.mark.parametrize("days", [1, 7])
def test_an_hour_is_judged_alike_however_far_back_one_looks(days: int) -> None:
    since, first_judged = ago(days, 0)[0], ago(days + thresholds.NEW_LEVEL_DAYS + 1, 0)[0]
    # A night on the first day that is judged, and one that ends on the first day that is usual by then.
    before = first_judged - (thresholds.USUAL_DAYS + thresholds.NEW_LEVEL_DAYS) * DAY
    counts = more(flat(20), [*range(first_judged, first_judged + 8), *range(before - 7, before + 1)], 20)
    findings = find_unusual_hours(counts, 0, since)
    assert [reported.severity for reported in findings] == [INFO]
    assert findings == [reported for reported in find_unusual_hours(counts, 0, 0) if reported.hour >= first_judged]


def test_says_which_hours_decided_and_when_it_was_before() -> None:
    [loop] = find_unusual_hours(more(flat(20), [*ago(1, 3), *ago(20, 9)], 90), 0, LAST_WEEK)
    assert loop.reason == rules.Reason(1, 110, 20, 1, ago(20, 0)[0])
    night = find_unusual_hours(more(noise(15), nights(2), 15), 0, LAST_WEEK)[0]
    assert night.reason
    assert (night.reason.hours, night.reason.days, night.reason.similar_day) == (8, 1, None)
    three = find_unusual_hours(more(bursts(), nights(1, 2, 3), 6), 0, LAST_WEEK)[0]
    assert three.reason
    assert (three.reason.hours, three.reason.days) == (8, 3)
    assert three.hour >= ago(1, 0)[0]


@pytest.mark.parametrize(
    ("reason", "counts", "hours"),
    [
        ("less than a loop", [0] * 9 + [thresholds.NEW_TOKENS - 1], []),
        ("a loop in its first hours", [0] * 9 + [thresholds.NEW_TOKENS], [9]),
        ("more than eight times its busiest hour of the days before", [70] * DAY + [560, 561], [DAY + 1]),
        ("what it does every day is reported for a day", [800] * (10 * DAY), [*range(DAY)]),
        ("after two weeks it has a baseline", [0] * (14 * DAY) + [800], []),
    ],
)
def test_a_new_agent_has_fixed_limits(reason: str, counts: list[int], hours: list[int]) -> None:
    assert [reported.hour for reported in find_unusual_hours_of_new_agent(counts, 0)] == hours, reason


@pytest.mark.parametrize(("days", "hours"), [(13, []), (14, [14 * DAY + 1])])
def test_is_judged_by_its_own_from_two_weeks_on(days: int, hours: list[int]) -> None:
    assert [reported.hour for reported in find_unusual_hours([5] * (days * DAY) + [5, 90], 0, days * DAY)] == hours


@pytest.mark.parametrize(
    ("is_so", "expected"),
    [
        # 10 100 10 in each week: the hours beside count. Six weeks are known, then fewer than three: 14 days.
        (lambda: estimate_expected_tokens([*range(8 * WEEK)], 8 * WEEK - 1, 0), 8 * WEEK - 1 - 3.5 * WEEK),
        (lambda: estimate_expected_tokens([*range(8 * WEEK)], 3 * WEEK - 1, 0), 3 * WEEK - 1 - 7.5 * DAY),
        (lambda: estimate_expected_tokens(daily(5), HOURS - DAY + 5, 0), 0),
        (lambda: estimate_expected_tokens([7] * DAY, DAY, 0), 0),
        (lambda: [round(surprise(*pair), 1) for pair in ((110, 100), (10_100, 10_000), (9, 9))], [1.0, 1.0, 0.0]),
        (lambda: [median([]), median([3]), median([9, 1, 5]), median([1, 2, 3, 10])], [0, 3, 5, 2.5]),
        (lambda: expand_to_hours([(1, [1] * 24), (1, [2] * 24)], 30), [0] * 24 + [3] * 6),
        (lambda: expand_to_hours([(1, [1] * 24, [5] * 24)], 30, 2), [0] * 24 + [5] * 6),
        (lambda: [find_first_midnight([0] * 30 + [1]), find_first_midnight([0] * 30)], [24, None]),
        (lambda: group_adjacent([1, 2, 27, 51], 24), [[1, 2], [27, 51]]),
    ],
)
def test_what_the_rules_are_made_of(is_so: Callable[[], object], expected: object) -> None:
    assert is_so() == expected
