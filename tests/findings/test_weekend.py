"""``weekend``: activity on days that are usually quiet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from agentidp.findings import thresholds
from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet

pytestmark = pytest.mark.slow

SATURDAY = datetime(2026, 4, 11, 10, tzinfo=UTC)
SUNDAY = datetime(2026, 4, 12, 10, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)


def work(fleet: Fleet, name: str, requests: Callable[[datetime], int], weeks: int = 10, ends: datetime = NOON) -> UUID:
    """An agent with ``requests(day)`` at ten o'clock of each day of the last *weeks* before *ends*."""
    agent = fleet.agent(name)
    at = ends.replace(hour=10) - weeks * WEEK
    while at < ends:
        if requests(at):
            fleet.count(agent, at, requests(at))
        at += DAY
    return agent


def weekdays(at: datetime) -> int:
    """100 requests from Monday to Friday."""
    return 100 * (at.weekday() < 5)


def found(fleet: Fleet, **query: int) -> list[tuple[str, str, list[str]]]:
    """From which day to before which one each is found, and who is behind it."""
    return [
        (one["window"]["from"][:10], one["window"]["to"][:10], [agent["agentName"] for agent in one["agents"]])
        for one in fleet.findings("weekend", **query)
    ]


def test_a_weekly_job_that_moves_to_another_day_is_none(fleet: Fleet) -> None:
    work(fleet, "office", weekdays)
    fleet.count(work(fleet, "weekly", lambda at: 90 * (at.weekday() == 6 and at < SUNDAY - DAY)), SATURDAY, 90)
    fleet.store()
    assert found(fleet) == []


@pytest.mark.parametrize(("workdays", "is_found"), [(3, False), (4, True)])
def test_an_agent_is_judged_that_works_on_two_thirds_of_its_other_days(
    fleet: Fleet, workdays: int, is_found: bool
) -> None:
    agent = work(fleet, "part-time", lambda at: 100 * (at.weekday() < workdays))
    fleet.count(agent, SATURDAY, 90)
    fleet.store()
    assert [agents for *_, agents in found(fleet)] == [["part-time"]] * is_found


def test_names_the_agent_that_works_on_its_day_of_rest(fleet: Fleet) -> None:
    agent = work(fleet, "office", weekdays)
    work(fleet, "constant", lambda at: 1000)
    fleet.count(agent, SATURDAY, 40, requests=1000)
    fleet.count(agent, SATURDAY.replace(hour=23), 5)
    fleet.store()
    assert fleet.findings("weekend") == [
        {
            "kind": "weekend",
            "severity": "warning",
            "agentId": str(agent),
            "agentName": "office",
            "window": {"from": "2026-04-11T00:00:00.000000Z", "to": "2026-04-12T00:00:00.000000Z"},
            "observed": {"value": 45, "unit": "tokens"},
            "expected": {
                "value": 0,
                "unit": "tokens",
                "baseline": "the highest of the same weekday in up to 8 weeks before, or none in hours of rest",
            },
            "agents": [{"agentId": str(agent), "agentName": "office", "count": 45}],
            "agentCount": 1,
            "credentialId": None,
            "alsoSeenAs": ["spike"],
            "summary": "office was issued 45 tokens on Saturday, 11 April 2026, when it usually rests.",
            "causes": "Work that was planned for these days, a schedule that was changed, or somebody else who uses the"
            " credentials.",
            "next": "Ask those who run these agents; if nobody knows of it, revoke their credentials.",
        }
    ]


def test_adjacent_days_are_one_finding_with_those_that_did_most_first(fleet: Fleet) -> None:
    for number in range(7):
        agent = work(fleet, f"office-{number}", weekdays)
        fleet.count(agent, SATURDAY, 40 + number)
        if number == 0:
            fleet.count(agent, SUNDAY, 50)
    fleet.store()
    [one] = fleet.findings("weekend")
    assert one["window"] == {"from": "2026-04-11T00:00:00.000000Z", "to": "2026-04-13T00:00:00.000000Z"}
    assert (one["agentId"], one["agentName"]) == (None, None)
    assert [(agent["agentName"], agent["count"]) for agent in one["agents"]] == [
        ("office-0", 90),
        ("office-6", 46),
        ("office-5", 45),
        ("office-4", 44),
        ("office-3", 43),
    ]
    assert one["observed"]["value"] == 90 + 41 + 42 + 43 + 44 + 45 + 46
    assert one["summary"] == (
        "office-0 and 6 other agents were issued 351 tokens from Saturday, 11 April 2026 to Sunday, 12 April 2026,"
        " when they usually rest."
    )


def test_two_weekends_are_two_findings(fleet: Fleet) -> None:
    first, second = work(fleet, "first", weekdays), work(fleet, "second", weekdays)
    fleet.count(first, SATURDAY, 60)
    fleet.count(second, SUNDAY - WEEK, 60)
    fleet.store()
    assert found(fleet) == [("2026-04-11", "2026-04-12", ["first"])]
    assert found(fleet, days=30) == [
        ("2026-04-11", "2026-04-12", ["first"]),
        ("2026-04-05", "2026-04-06", ["second"]),
    ]


@pytest.mark.parametrize(("days", "is_found"), [(4, False), (5, True)])
def test_is_looked_for_within_the_days_asked_for(fleet: Fleet, days: int, is_found: bool) -> None:
    fleet.count(work(fleet, "office", weekdays), SATURDAY, 60)
    fleet.store()
    assert found(fleet, days=days) == [("2026-04-11", "2026-04-12", ["office"])] * is_found


@pytest.mark.parametrize(("days_ago", "is_found"), [(28, False), (27, True)])
def test_is_looked_for_within_four_weeks_at_most(fleet: Fleet, clock: Clock, days_ago: int, is_found: bool) -> None:
    fleet.count(work(fleet, "office", weekdays, weeks=13), SATURDAY, 60)
    fleet.store()
    clock.now = SATURDAY + days_ago * DAY
    assert found(fleet, days=90) == [("2026-04-11", "2026-04-12", ["office"])] * is_found


def test_today_is_found_up_to_now(fleet: Fleet, clock: Clock) -> None:
    clock.now = now = SUNDAY.replace(hour=10, minute=30)
    fleet.count(work(fleet, "office", weekdays, ends=now), SUNDAY, 60)
    fleet.store()
    [one] = fleet.findings("weekend")
    assert one["window"] == {"from": "2026-04-12T00:00:00.000000Z", "to": "2026-04-12T10:30:00.000000Z"}


@pytest.mark.parametrize(
    ("requests", "is_found"),
    # An average of its other days is 500 / 6.
    [(20, False), (21, True)],
)
def test_a_quarter_of_an_average_day_is_activity(fleet: Fleet, requests: int, is_found: bool) -> None:
    fleet.count(work(fleet, "office", weekdays), SATURDAY, requests)
    fleet.store()
    assert len(found(fleet)) == is_found


@pytest.mark.parametrize(
    ("requests", "is_found"),
    [(thresholds.MIN_WEEKEND_TOKENS - 1, False), (thresholds.MIN_WEEKEND_TOKENS, True)],
)
def test_a_handful_is_not(fleet: Fleet, requests: int, is_found: bool) -> None:
    fleet.count(work(fleet, "office", lambda at: 12 * (at.weekday() < 5)), SATURDAY, requests)
    fleet.store()
    assert len(found(fleet)) == is_found


@pytest.mark.parametrize(
    ("on_saturdays", "today", "is_found"),
    [
        (20, 41, True),
        (20, 40, False),  # 20 more than usual, less than a quarter of 500 / 6
        (21, 80, False),  # that much is no quiet day
    ],
)
def test_what_is_usual_of_a_quiet_day_is_exceeded(fleet: Fleet, on_saturdays: int, today: int, is_found: bool) -> None:
    def requests(at: datetime) -> int:
        return 0 if at.date() == SATURDAY.date() else on_saturdays if at.weekday() == 5 else weekdays(at)

    fleet.count(work(fleet, "office", requests), SATURDAY, today)
    fleet.store()
    assert [one["expected"]["value"] for one in fleet.findings("weekend")] == [on_saturdays] * is_found


@pytest.mark.parametrize(("times", "is_found"), [(0, True), (1, False), (2, False)])
@pytest.mark.parametrize("first", [1, 2, 7])
def test_an_agent_that_worked_on_such_a_day_before_may_do_so_again(
    fleet: Fleet, first: int, times: int, is_found: bool
) -> None:
    agent = work(fleet, "office", weekdays)
    for week in range(first, first + times):
        fleet.count(agent, SATURDAY - week * WEEK, 60)
    fleet.count(agent, SATURDAY, 60)
    fleet.store()
    assert len(found(fleet)) == is_found


def test_only_the_last_eight_weeks_tell_what_is_usual(fleet: Fleet) -> None:
    agent = work(fleet, "office", weekdays, weeks=13)
    for week in (9, 10, 11):
        fleet.count(agent, SATURDAY - week * WEEK, 60)
    fleet.count(agent, SATURDAY, 60)
    fleet.store()
    assert len(found(fleet)) == 1


def test_agents_that_always_work_at_weekends_are_none(fleet: Fleet) -> None:
    work(fleet, "office", weekdays)
    work(fleet, "constant", lambda at: 500)
    work(fleet, "weekly report", lambda at: 90 * (at.weekday() == 5))
    work(fleet, "weekender", lambda at: 90 * (at.weekday() > 4))
    fleet.store()
    assert found(fleet, days=28) == []


@pytest.mark.parametrize(("days", "is_found"), [(20, False), (21, True)])
def test_a_new_agent_has_three_weeks_to_show_its_habits(fleet: Fleet, days: int, is_found: bool) -> None:
    work(fleet, "office", weekdays)
    new = work(fleet, "new", lambda at: weekdays(at) * (at >= SATURDAY - days * DAY))
    fleet.count(new, SATURDAY - days * DAY, 1)
    fleet.count(new, SATURDAY, 60)
    fleet.store()
    assert [names for *_, names in found(fleet)] == [["new"]] * is_found


def western(at: datetime) -> int:
    """Ten an hour from Monday to Friday, 8 to 20 seven hours west of UTC: 30 on Saturday by UTC, 95 on other days."""
    local = at - timedelta(hours=7)
    return 10 * (local.weekday() < 5 and 8 <= local.hour < 20)


@pytest.mark.parametrize(
    ("hour", "requests", "is_found"),
    [
        (12, 30, True),
        (12, 29, False),  # not twice as much as on any such day
        (4, 80, True),
        (3, 80, False),  # beside the last hour of its Friday, which may become late
        (2, 80, False),
    ],
)
def test_an_agent_whose_friday_ends_on_saturday_by_utc_is_judged_by_the_hours_in_which_it_rests(
    fleet: Fleet, hour: int, requests: int, is_found: bool
) -> None:
    agent = fleet.agent("western")
    fleet.work(agent, NOON - 10 * WEEK, NOON, western)
    fleet.count(agent, SATURDAY.replace(hour=hour), requests)
    fleet.store()
    assert [
        (one["window"]["from"][:10], one["observed"]["value"], one["expected"]["value"], one["summary"])
        for one in fleet.findings("weekend")
    ] == [
        (
            "2026-04-11",
            requests,
            0,
            f"western was issued {requests} tokens on Saturday, 11 April 2026, when it usually rests.",
        )
    ] * is_found


@pytest.mark.parametrize(("times", "is_found"), [(0, True), (2, False)])
def test_an_hour_is_one_of_rest_if_the_agent_was_not_at_work_in_it(fleet: Fleet, times: int, is_found: bool) -> None:
    agent = fleet.agent("western")
    fleet.work(agent, NOON - 10 * WEEK, NOON, western)
    for week in range(times + 1):
        fleet.count(agent, SATURDAY.replace(hour=11 + (week > 0)) - week * WEEK, 20 * (week > 0) or 60)
    fleet.store()
    assert len(found(fleet)) == is_found


def test_work_that_only_moves_to_other_hours_of_the_day_is_none(fleet: Fleet) -> None:
    def moved(rhythm: Callable[[datetime], int]) -> Callable[[datetime], int]:
        half = timedelta(hours=12)
        return lambda at: rhythm(at) if at.date() != SATURDAY.date() else rhythm(at - half) if at.hour >= 12 else 0

    for name, rhythm in (("western", western), ("nightly", lambda at: 100 * (at.hour == 3))):
        fleet.work(fleet.agent(name), NOON - 10 * WEEK, NOON, moved(rhythm))
    fleet.store()
    assert found(fleet) == []


def test_a_busy_weekday_is_none(fleet: Fleet) -> None:
    agent = work(fleet, "office", lambda at: 100 * (at.weekday() < 5 and at.weekday() != 1))
    work(fleet, "others", weekdays)
    # It never works on Tuesdays, but the organization does.
    fleet.count(agent, NOON - DAY, 500)
    fleet.store()
    assert found(fleet) == []


def test_an_organization_may_rest_on_other_days(fleet: Fleet) -> None:
    agent = work(fleet, "office", lambda at: 100 * (at.weekday() not in (4, 5)))
    fleet.count(agent, SATURDAY - DAY, 60)
    fleet.store()
    assert found(fleet) == [("2026-04-10", "2026-04-11", ["office"])]


def test_saturdays_are_looked_at_where_no_day_is_clearly_quiet(fleet: Fleet) -> None:
    office = work(fleet, "office", weekdays)
    # Fewest tokens on Tuesdays and Wednesdays.
    fleet.work(fleet.agent("shop"), NOON - 10 * WEEK, NOON, lambda at: 15 if at.weekday() in (1, 2) else 20)
    fleet.count(office, SATURDAY, 40)
    fleet.store()
    assert found(fleet) == [("2026-04-11", "2026-04-12", ["office"])]


@pytest.mark.parametrize("day", [datetime(2032, 2, 29, 10, tzinfo=UTC), datetime(2026, 2, 1, 10, tzinfo=UTC)])
def test_the_leap_day_and_a_months_first_day_are_days_like_any_other(fleet: Fleet, clock: Clock, day: datetime) -> None:
    clock.now = now = day + 1.5 * DAY
    assert day.weekday() == 6
    fleet.count(work(fleet, "office", weekdays, ends=now), day, 60)
    fleet.store()
    [one] = fleet.findings("weekend")
    assert (one["window"]["from"][:10], one["window"]["to"][:10]) == (f"{day:%Y-%m-%d}", f"{day + DAY:%Y-%m-%d}")


def test_slots_are_added_up(fleet: Fleet) -> None:
    fleet.count(work(fleet, "office", lambda at: 12 * (at.weekday() < 5)), SATURDAY, 5)
    fleet.store()
    assert found(fleet) == []
    fleet.store_in_another_slot()
    assert [one["observed"]["value"] for one in fleet.findings("weekend")] == [10]


def test_rejected_requests_are_no_work(fleet: Fleet) -> None:
    fleet.count(work(fleet, "office", weekdays), SATURDAY, rejected=500)
    fleet.store()
    assert found(fleet) == []


def test_another_organizations_weekend_changes_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    fleet.count(work(fleet, "office", weekdays), SATURDAY, 60)
    fleet.store()
    before = fleet.findings()
    fleet_at_work = work(outsiders, "theirs", lambda at: 1000 * (at.weekday() < 5))
    outsiders.count(fleet_at_work, SUNDAY, 1000)
    outsiders.store()
    assert fleet.findings() == before
    assert found(outsiders) == [("2026-04-12", "2026-04-13", ["theirs"])]


def test_calls_to_our_own_api_hide_no_tokens(fleet: Fleet) -> None:
    # It polls our API every day; on Saturday somebody takes tokens for another one.
    agent = fleet.agent("poller")
    fleet.work(agent, NOON - 10 * WEEK, NOON, lambda at: 10 * (at.weekday() < 5 and 8 <= at.hour < 18))
    for hours in range(10 * 7 * 24):
        fleet.count(agent, NOON - 10 * WEEK + hours * timedelta(hours=1), requests=100)
    fleet.count(agent, SATURDAY, 60)
    fleet.store()
    assert [one["observed"] for one in fleet.findings("weekend")] == [{"value": 60, "unit": "tokens"}]


def test_an_agent_that_always_works_on_such_days_takes_nobodys_place(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "MAX_WEEKEND_AGENTS", 1)
    agent = work(fleet, "office", weekdays)
    work(fleet, "constant", lambda at: 1000)
    fleet.count(agent, SATURDAY, 45)
    fleet.store()
    assert found(fleet) == [("2026-04-11", "2026-04-12", ["office"])]
