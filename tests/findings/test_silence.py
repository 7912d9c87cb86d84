"""``silence``: an agent has stopped, or the whole organization is quiet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.findings import thresholds
from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
GOOD_FRIDAY = datetime(2026, 4, 3, tzinfo=UTC)
MIDNIGHT = NOON - 12 * HOUR


def always(at: datetime) -> bool:
    """Around the clock."""
    return True


def office(at: datetime) -> bool:
    """From Monday to Friday, from seven to seven."""
    return at.weekday() < 5 and 7 <= at.hour < 19


def nightly(at: datetime) -> bool:
    """From one to three, each night."""
    return 1 <= at.hour < 3


def sundays(at: datetime) -> bool:
    """On Sundays at four."""
    return at.weekday() == 6 and at.hour == 4


def work(
    fleet: Fleet,
    name: str,
    hours: Callable[[datetime], bool] = always,
    *,
    ends: datetime = NOON,
    weeks: int = 10,
    without: tuple[datetime, datetime] = (NOON, NOON),
) -> UUID:
    """An agent at work before *ends*, in the hours for which *hours* is true, but for those *without*."""
    agent = fleet.agent(name)
    begins = ends.replace(minute=0) - weeks * WEEK
    fleet.work(agent, begins, ends, lambda at: 3 * (hours(at) and not without[0] <= at < without[1]))
    return agent


def others(fleet: Fleet, number: int = 4, **more: Any) -> None:
    """Some that work around the clock."""
    for name in range(number):
        work(fleet, f"other-{name}", **more)


def silent(fleet: Fleet, **query: int) -> list[tuple[str | None, str, str]]:
    """Who is silent, since when, and until when."""
    return [
        (one["agentName"], one["window"]["from"][5:16], one["window"]["to"][5:16])
        for one in fleet.findings("silence", **query)
    ]


def test_names_the_agent_that_worked_around_the_clock_and_since_when_it_is_silent(fleet: Fleet) -> None:
    agent = work(fleet, "watcher", ends=NOON - 4 * HOUR)
    others(fleet)
    fleet.store()
    assert fleet.findings("silence") == [
        {
            "kind": "silence",
            "severity": "warning",
            "agentId": str(agent),
            "agentName": "watcher",
            "window": {"from": "2026-04-15T08:00:00.000000Z", "to": "2026-04-15T12:00:00.000000Z"},
            "observed": {"value": 0, "unit": "hours with activity"},
            "expected": {
                "value": 4,
                "unit": "hours with activity",
                "baseline": "the same hours of the week in up to 8 weeks before",
            },
            "agents": [],
            "agentCount": 1,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "watcher has made no request for 4 hours, since 08:00 UTC on Wednesday, 15 April 2026; typically"
            " it is active in 4 hours of that time.",
            "causes": "It was stopped or has crashed, cannot reach the service any more, or its credential has"
            " expired.",
            "next": "Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it has"
            " been retired.",
        }
    ]


def test_the_hour_that_is_not_over_is_no_silent_one(fleet: Fleet, clock: Clock) -> None:
    work(fleet, "watcher", ends=NOON - 4 * HOUR)
    others(fleet)
    fleet.store()
    clock.now = NOON - timedelta(microseconds=1)
    assert silent(fleet) == []
    clock.now = NOON
    assert silent(fleet) == [("watcher", "04-15T08:00", "04-15T12:00")]


@pytest.mark.parametrize("requests", [{"tokens": 1}, {"requests": 1}])
def test_any_request_ends_a_silence(fleet: Fleet, requests: dict[str, int]) -> None:
    fleet.count(work(fleet, "watcher", ends=NOON - 9 * HOUR), NOON, **requests)
    others(fleet)
    fleet.store()
    assert silent(fleet) == []


def test_a_rejected_request_does_not(fleet: Fleet) -> None:
    agent = work(fleet, "watcher", ends=NOON - 9 * HOUR)
    fleet.count(agent, NOON - 8 * HOUR, rejected=2)
    fleet.count(agent, NOON, rejected=2)
    others(fleet)
    fleet.store()
    assert silent(fleet) == [("watcher", "04-15T03:00", "04-15T12:00")]


def test_a_silence_lasts_over_midnight(fleet: Fleet, clock: Clock) -> None:
    clock.now = now = MIDNIGHT + 2 * HOUR
    work(fleet, "watcher", ends=MIDNIGHT - 2 * HOUR)
    others(fleet, ends=now)
    fleet.store()
    assert silent(fleet) == [("watcher", "04-14T22:00", "04-15T02:00")]


def test_an_agent_with_gaps_is_reported_later(fleet: Fleet, clock: Clock) -> None:
    # Active in four of five hours: a quiet hour says less, and it takes more of them.
    work(fleet, "leisurely", lambda at: (at.toordinal() * 24 + at.hour) % 5 > 0, ends=NOON - 6 * HOUR)
    others(fleet, ends=NOON + 6 * HOUR)
    fleet.store()
    clock.now = NOON - HOUR
    assert silent(fleet) == []
    clock.now = NOON + 6 * HOUR
    assert [name for name, *_ in silent(fleet)] == ["leisurely"]


@pytest.mark.parametrize(
    ("last", "is_reported"),
    [
        (datetime(2026, 4, 8, 18, tzinfo=UTC), True),  # Thursday, Friday, Monday, Tuesday
        (datetime(2026, 4, 9, 18, tzinfo=UTC), False),  # Friday, Monday, Tuesday: such as for the lunar new year
    ],
)
def test_an_agent_that_rests_is_silent_after_four_working_days(fleet: Fleet, last: datetime, is_reported: bool) -> None:
    agent = work(fleet, "clerk", office, ends=last + HOUR)
    others(fleet)
    fleet.store()
    found = fleet.findings("silence")
    assert [(one["agentId"], one["expected"]["value"]) for one in found] == [(str(agent), 4)] * is_reported
    assert all(one["summary"].endswith("typically it is active on 4 days of that time.") for one in found)


def test_a_leak_that_has_ended_leaves_no_agent_that_works_around_the_clock(fleet: Fleet, clock: Clock) -> None:
    clock.now = now = datetime(2026, 4, 13, 20, tzinfo=UTC)
    agent = work(fleet, "clerk", office, ends=datetime(2026, 4, 10, 23, tzinfo=UTC))
    # Day and night, up to Monday's early hours; then a holiday.
    fleet.work(agent, datetime(2026, 4, 11, tzinfo=UTC), datetime(2026, 4, 13, 2, tzinfo=UTC), lambda at: 5)
    others(fleet, ends=now)
    fleet.store()
    assert silent(fleet) == []


def test_todays_working_day_is_not_over(fleet: Fleet, clock: Clock) -> None:
    clock.now = datetime(2026, 4, 14, 23, 59, tzinfo=UTC)
    work(fleet, "clerk", office, ends=datetime(2026, 4, 8, 19, tzinfo=UTC))
    others(fleet)
    fleet.store()
    assert silent(fleet) == []
    clock.now = MIDNIGHT
    assert silent(fleet) == [("clerk", "04-08T19:00", "04-15T00:00")]


@pytest.mark.parametrize("at", [GOOD_FRIDAY + 20 * HOUR, GOOD_FRIDAY + 3.9 * DAY, GOOD_FRIDAY + 4.9 * DAY])
def test_easter_silences_nobody(fleet: Fleet, clock: Clock, at: datetime) -> None:
    clock.now = at
    for name in ("clerk", "scribe"):
        work(fleet, name, office, ends=GOOD_FRIDAY)
    # Some activity on Saturdays and Sundays makes these no working days.
    weekender = work(fleet, "weekender", office, ends=GOOD_FRIDAY)
    for weeks in range(1, 10):
        fleet.count(weekender, GOOD_FRIDAY + DAY - weeks * WEEK, 5)
        fleet.count(weekender, GOOD_FRIDAY + 2 * DAY - weeks * WEEK, 5)
    others(fleet, ends=at)
    fleet.store()
    assert silent(fleet) == []


def test_two_days_after_easter_do(fleet: Fleet, clock: Clock) -> None:
    clock.now = now = GOOD_FRIDAY + 6 * DAY
    work(fleet, "clerk", office, ends=GOOD_FRIDAY)
    others(fleet, ends=now)
    fleet.store()
    assert silent(fleet) == [("clerk", "04-02T19:00", "04-09T00:00")]


def test_jobs_between_their_runs_are_not_silent(fleet: Fleet, clock: Clock) -> None:
    for name, hours in (("clerk", office), ("nightly", nightly), ("weekly", sundays)):
        work(fleet, name, hours)
    others(fleet)
    fleet.store()
    for hour in range(12):
        clock.now = NOON - hour * 7 * HOUR
        assert silent(fleet) == []


@pytest.mark.parametrize(("nights", "is_reported"), [(2, False), (3, True)])
def test_a_nightly_job_is_silent_after_three_nights(fleet: Fleet, nights: int, is_reported: bool) -> None:
    # Today's run was missed too, but today is not over.
    work(fleet, "nightly", nightly, ends=MIDNIGHT - nights * DAY)
    others(fleet)
    fleet.store()
    assert [name for name, *_ in silent(fleet)] == ["nightly"] * is_reported


@pytest.mark.parametrize(("runs", "is_reported"), [(2, False), (3, True)])
def test_a_weekly_job_is_silent_after_three_runs(fleet: Fleet, runs: int, is_reported: bool) -> None:
    work(fleet, "weekly", sundays, ends=datetime(2026, 4, 13, tzinfo=UTC) - runs * WEEK)
    others(fleet)
    fleet.store()
    assert [name for name, *_ in silent(fleet)] == ["weekly"] * is_reported


@pytest.mark.parametrize(("days", "is_reported"), [(20, False), (21, True)])
def test_a_new_agent_has_three_weeks_to_show_its_habits(fleet: Fleet, days: int, is_reported: bool) -> None:
    ends = NOON - 9 * HOUR
    work(fleet, "new", lambda at: at.date() >= (ends - days * DAY).date(), ends=ends)
    others(fleet)
    fleet.store()
    assert [name for name, *_ in silent(fleet)] == ["new"] * is_reported


def test_an_agent_that_never_worked_is_not_silent(fleet: Fleet) -> None:
    fleet.agent("idle")
    others(fleet)
    fleet.store()
    assert silent(fleet) == []


def test_a_suspended_or_deleted_agent_is_not_silent(fleet: Fleet, client: FlaskClient) -> None:
    suspended, deleted = (work(fleet, name, ends=NOON - 9 * HOUR) for name in ("suspended", "deleted"))
    others(fleet)
    fleet.store()
    assert len(silent(fleet)) == 2
    bearer = fleet.reader.bearer()
    answer = client.patch(f"/api/v1/agents/{suspended}", json={"status": "suspended"}, headers=bearer)
    assert answer.status_code == 200
    assert [name for name, *_ in silent(fleet)] == ["deleted"]
    assert client.delete(f"/api/v1/agents/{deleted}", headers=bearer).status_code == 204
    assert silent(fleet) == []


def test_most_agents_being_suspended_is_no_outage(fleet: Fleet, client: FlaskClient) -> None:
    retired = [work(fleet, f"retired-{number}", ends=NOON - 9 * HOUR) for number in range(3)]
    others(fleet, 2)
    fleet.store()
    for agent in retired:
        client.patch(f"/api/v1/agents/{agent}", json={"status": "suspended"}, headers=fleet.reader.bearer())
    assert silent(fleet) == []


@pytest.mark.parametrize(("days", "is_reported"), [(28, True), (29, False)])
@pytest.mark.parametrize("hours", [always, office])
def test_a_silence_is_reported_for_four_weeks(
    fleet: Fleet, hours: Callable[[datetime], bool], days: int, is_reported: bool
) -> None:
    # 28 days ago was a Wednesday.
    work(fleet, "gone", hours, ends=MIDNIGHT - (days - 1) * DAY, weeks=9)
    others(fleet)
    fleet.store()
    assert [name for name, *_ in silent(fleet)] == ["gone"] * is_reported


@pytest.mark.parametrize(("hours", "severity"), [(0, "warning"), (1, "info")])
def test_a_silence_is_news_for_two_weeks_and_then_only_listed(fleet: Fleet, hours: int, severity: str) -> None:
    # It was reported first after four hours.
    work(fleet, "gone", ends=NOON - 14 * DAY - (3 + hours) * HOUR)
    others(fleet)
    fleet.store()
    assert [one["severity"] for one in fleet.findings("silence")] == [severity]


def test_an_agent_that_stops_again_is_news(fleet: Fleet) -> None:
    # It was silent two weeks ago, and has worked since.
    work(fleet, "unsteady", ends=NOON - 4 * 24 * HOUR, without=(NOON - 19 * DAY, NOON - 13 * DAY))
    others(fleet)
    fleet.store()
    assert [one["severity"] for one in fleet.findings("silence")] == ["warning"]


def test_a_weekly_job_is_a_warning_although_it_is_missed_after_three_weeks(fleet: Fleet) -> None:
    work(fleet, "weekly", sundays, ends=datetime(2026, 4, 13, tzinfo=UTC) - 3 * WEEK)
    others(fleet)
    fleet.store()
    assert [one["severity"] for one in fleet.findings("silence")] == ["warning"]


def test_a_long_silence_does_not_become_its_own_habit(fleet: Fleet) -> None:
    ends = NOON - 20 * DAY
    work(fleet, "gone", ends=ends)
    others(fleet)
    fleet.store()
    [one] = fleet.findings("silence")
    assert one["expected"]["value"] == 20 * 24


def test_the_organization_was_quiet_and_nobody_else(fleet: Fleet) -> None:
    quiet = (MIDNIGHT + 2 * HOUR, MIDNIGHT + 6 * HOUR)
    others(fleet, 5, without=quiet)
    fleet.store()
    assert fleet.findings("silence") == [
        {
            "kind": "silence",
            "severity": "critical",
            "agentId": None,
            "agentName": None,
            "window": {"from": "2026-04-15T02:00:00.000000Z", "to": "2026-04-15T06:00:00.000000Z"},
            "observed": {"value": 0, "unit": "percent of the agents that are usually active"},
            "expected": {
                "value": 100,
                "unit": "percent of the agents that are usually active",
                "baseline": "the median of the same hours of the week in up to 8 weeks before",
            },
            "agents": [],
            "agentCount": 0,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "Hardly any agent was active from 02:00 UTC on Wednesday, 15 April 2026 to 06:00 UTC on"
            " Wednesday, 15 April 2026: 0 % of those that usually are.",
            "causes": "Either the service or everything that uses it was down, or the way between them. That nothing"
            " was counted does not say which: unknown is not zero.",
            "next": "Check whether the service and its database responded, then what the agents have in common: their"
            " network, their platform, a deployment.",
        }
    ]


def test_the_organization_is_quiet_up_to_now(fleet: Fleet) -> None:
    others(fleet, 5, ends=NOON - 5 * HOUR)
    fleet.store()
    [one] = fleet.findings("silence")
    assert (one["agentId"], one["severity"]) == (None, "critical")
    assert one["window"] == {"from": "2026-04-15T07:00:00.000000Z", "to": "2026-04-15T12:00:00.000000Z"}
    assert one["summary"] == (
        "Hardly any agent has been active since 07:00 UTC on Wednesday, 15 April 2026: 0 % of those that usually are."
    )


@pytest.mark.parametrize(
    ("stopped", "reported"),
    [
        (2, ["stopped-0", "stopped-1"]),
        (3, [None]),  # most of five: unknown, and not zero
    ],
)
def test_most_agents_are_the_organization(fleet: Fleet, stopped: int, reported: list[str | None]) -> None:
    others(fleet, 5 - stopped)
    for number in range(stopped):
        work(fleet, f"stopped-{number}", ends=NOON - 9 * HOUR)
    fleet.store()
    found = fleet.findings("silence")
    assert sorted(one["agentName"] or "" for one in found) == [name or "" for name in reported]
    if reported == [None]:
        assert found[0]["observed"]["value"] == 40
        assert sorted(one["agentName"] for one in found[0]["agents"]) == ["stopped-0", "stopped-1", "stopped-2"]
        assert found[0]["agentCount"] == 3


def test_unknown_hours_count_for_no_agent(fleet: Fleet, clock: Clock) -> None:
    quiet = (MIDNIGHT + 2 * HOUR, MIDNIGHT + 9 * HOUR)
    work(fleet, "watcher", ends=quiet[0])
    others(fleet, without=quiet, ends=NOON + 2 * HOUR)
    fleet.store()
    # Three hours after the outage, then four.
    assert [name for name, *_ in silent(fleet)] == [None]
    clock.now = NOON + HOUR
    assert [name for name, *_ in silent(fleet)] == ["watcher", None]  # what goes on comes first


@pytest.mark.parametrize(("quiet_days", "is_silent"), [(0, True), (1, False)])
def test_unknown_days_count_for_no_agent(fleet: Fleet, quiet_days: int, is_silent: bool) -> None:
    # It missed Thursday, Friday, Monday and Tuesday, of which one may be unknown.
    monday = datetime(2026, 4, 13, tzinfo=UTC)
    work(fleet, "clerk", office, ends=monday - 4 * DAY)
    others(fleet, without=(monday, monday + quiet_days * DAY))
    fleet.store()
    assert [name for name, *_ in silent(fleet) if name] == ["clerk"] * is_silent


@pytest.mark.parametrize("days", [1, 2, 3, 7])
def test_an_outage_of_days_is_one_finding_and_not_one_of_each_agent(fleet: Fleet, clock: Clock, days: int) -> None:
    tuesday_noon = datetime(2026, 4, 7, 12, tzinfo=UTC)
    clock.now = tuesday_noon + days * DAY
    for number in range(5):
        work(fleet, f"clerk-{number}", office, ends=tuesday_noon)
    fleet.store()
    assert [name for name, *_ in silent(fleet)] == [None]


@pytest.mark.parametrize(("days_after", "is_silent"), [(5, False), (6, True)])
def test_an_agent_that_does_not_come_back_after_an_outage_of_days_is_reported_then(
    fleet: Fleet, clock: Clock, days_after: int, is_silent: bool
) -> None:
    begins, ends = datetime(2026, 4, 7, 12, tzinfo=UTC), datetime(2026, 4, 9, tzinfo=UTC)
    clock.now = ends + days_after * DAY + 9 * HOUR
    work(fleet, "gone", office, ends=begins)
    for number in range(5):
        work(fleet, f"clerk-{number}", office, ends=clock.now, without=(begins, ends))
    fleet.store()
    assert [name for name, *_ in silent(fleet) if name] == ["gone"] * is_silent


def test_a_holiday_of_everybody_is_no_outage(fleet: Fleet, clock: Clock) -> None:
    clock.now = GOOD_FRIDAY + 14 * HOUR
    for number in range(5):
        work(fleet, f"clerk-{number}", office, ends=GOOD_FRIDAY)
    work(fleet, "watcher", ends=GOOD_FRIDAY + 14 * HOUR)
    fleet.store()
    assert silent(fleet) == []


@pytest.mark.parametrize(
    "quiet",
    [
        (MIDNIGHT - 12 * HOUR, MIDNIGHT + 7 * HOUR),  # from the midst of work to the evening
        (MIDNIGHT - 24 * HOUR, MIDNIGHT - 12 * HOUR),  # from the night to the midst of work
    ],
)
def test_an_outage_need_only_begin_or_end_amid_work(fleet: Fleet, quiet: tuple[datetime, datetime]) -> None:
    for number in range(5):
        work(fleet, f"clerk-{number}", office, without=quiet)
    fleet.store()
    [one] = fleet.findings("silence")
    assert one["agentId"] is None


def test_one_agent_or_a_short_time_is_not_the_organization(fleet: Fleet) -> None:
    # Three agents for two hours: e^-6 is no rarity in a year of hours.
    others(fleet, 3, without=(MIDNIGHT + 2 * HOUR, MIDNIGHT + 4 * HOUR))
    fleet.store()
    assert silent(fleet) == []


@pytest.mark.parametrize(("hours", "is_reported"), [(6, False), (12, True)])
def test_an_organization_has_three_weeks_before_it_is_judged(fleet: Fleet, hours: int, is_reported: bool) -> None:
    quiet = (MIDNIGHT + 2 * HOUR, MIDNIGHT + 6 * HOUR)
    for number in range(5):
        agent = fleet.agent(f"other-{number}")
        fleet.work(agent, NOON - 3 * WEEK - hours * HOUR, NOON, lambda at: not quiet[0] <= at < quiet[1])
    fleet.store()
    assert [name for name, *_ in silent(fleet)] == [None] * is_reported


@pytest.mark.parametrize(("days", "is_reported"), [(2, False), (3, True)])
def test_an_outage_is_looked_for_within_the_days_asked_for(fleet: Fleet, days: int, is_reported: bool) -> None:
    others(fleet, 5, without=(MIDNIGHT - 30 * HOUR, MIDNIGHT - 24 * HOUR))
    fleet.store()
    assert silent(fleet, days=days) == [(None, "04-13T18:00", "04-14T00:00")] * is_reported


def test_an_outage_of_long_ago_is_found_with_ninety_days(fleet: Fleet) -> None:
    begins = NOON - 80 * DAY
    others(fleet, 5, without=(begins, begins + 6 * HOUR), weeks=20)
    fleet.store()
    assert silent(fleet, days=90) == [(None, "01-25T12:00", "01-25T18:00")]


def test_an_outage_that_contained_a_whole_day_is_a_zero_day_alone(fleet: Fleet) -> None:
    others(fleet, 5, without=(MIDNIGHT - 30 * HOUR, MIDNIGHT + 3 * HOUR))
    fleet.store()
    assert [one["window"]["from"][:10] for one in fleet.findings("zero_day")] == ["2026-04-14"]
    assert silent(fleet) == []


def test_an_outage_that_lasts_is_a_silence_alone_also_if_it_contains_a_whole_day(fleet: Fleet) -> None:
    others(fleet, 5, without=(MIDNIGHT - 30 * HOUR, NOON))
    fleet.store()
    assert silent(fleet) == [(None, "04-13T18:00", "04-15T12:00")]
    assert fleet.findings("silence")[0]["alsoSeenAs"] == ["zero_day"]
    assert fleet.findings("zero_day") == []


def test_an_outage_of_an_office_that_ends_in_the_evening_is_one_finding(fleet: Fleet) -> None:
    for number in range(5):
        work(fleet, f"clerk-{number}", office, without=(MIDNIGHT - 14 * HOUR, MIDNIGHT - 4 * HOUR))
    fleet.store()
    # It took the office's hours from ten to seven.
    assert silent(fleet) == [(None, "04-14T10:00", "04-14T19:00")]


def test_an_outage_of_an_offices_whole_day_and_of_the_evening_before_is_one_finding(fleet: Fleet) -> None:
    for number in range(5):
        work(fleet, f"clerk-{number}", office, without=(MIDNIGHT - 34 * HOUR, MIDNIGHT - 4 * HOUR))
    fleet.store()
    assert silent(fleet) == [(None, "04-13T14:00", "04-14T19:00")]
    assert fleet.findings("silence")[0]["alsoSeenAs"] == ["zero_day"]
    assert fleet.findings("zero_day") == []


@pytest.mark.parametrize("now", [datetime(2028, 3, 1, 2, tzinfo=UTC), datetime(2026, 5, 1, 2, tzinfo=UTC)])
def test_the_leap_day_and_a_months_first_day_are_days_like_any_other(fleet: Fleet, clock: Clock, now: datetime) -> None:
    clock.now = now
    work(fleet, "watcher", ends=now - 4 * HOUR)
    work(fleet, "clerk", office, ends=now - 8 * DAY)
    others(fleet, ends=now)
    fleet.store()
    assert sorted(name for name, *_ in silent(fleet)) == ["clerk", "watcher"]


def test_slots_are_added_up(fleet: Fleet) -> None:
    work(fleet, "watcher", ends=NOON - 4 * HOUR)
    work(fleet, "clerk", office, ends=NOON - 8 * DAY)
    others(fleet, 3)
    fleet.store()
    before = fleet.findings("silence")
    assert sorted(one["agentName"] for one in before) == ["clerk", "watcher"]
    fleet.store_in_another_slot()
    assert fleet.findings("silence") == before


def test_another_organizations_silence_changes_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    work(fleet, "watcher", ends=NOON - 4 * HOUR)
    others(fleet)
    fleet.store()
    before = fleet.findings()
    others(outsiders, 5, ends=NOON - 9 * HOUR)
    outsiders.store()
    assert fleet.findings() == before
    assert [name for name, *_ in silent(outsiders)] == [None]


@pytest.mark.parametrize(("hours", "is_found"), [(3, False), (4, True), (14, True), (38, True)])
def test_an_office_agent_that_stops_amid_its_work_is_silent_after_four_hours(
    fleet: Fleet, clock: Clock, hours: int, is_found: bool
) -> None:
    # It is the organization's only agent, so nobody else says whether it was a holiday.
    stopped = datetime(2026, 4, 13, 10, tzinfo=UTC)
    work(fleet, "clerk", office, ends=stopped)
    fleet.store()
    clock.now = stopped + hours * HOUR
    found = fleet.findings("silence")
    assert [one["agentName"] for one in found] == ["clerk"] * is_found


def test_an_agent_whose_successor_began_when_it_stopped_is_only_listed(fleet: Fleet, clock: Clock) -> None:
    stopped = clock.now - 6 * HOUR
    work(fleet, "old", ends=stopped)
    fleet.work(fleet.agent("new"), stopped + HOUR, NOON, lambda at: 3)
    fleet.store()
    [finding] = fleet.findings("silence")
    assert (finding["agentName"], finding["severity"]) == ("old", "info")
    assert finding["causes"] == "new began at that time: it has probably taken over."


@pytest.mark.parametrize(("stopped", "is_found"), [(3, False), (4, True), (6, True)])
def test_part_of_a_fleet_that_stops_in_the_same_hour_is_one_finding(fleet: Fleet, stopped: int, is_found: bool) -> None:
    quiet = (MIDNIGHT + 2 * HOUR, MIDNIGHT + 7 * HOUR)
    for number in range(stopped):
        work(fleet, f"stopped-{number}", without=quiet)
    others(fleet, 14 - stopped)
    fleet.store()
    found = fleet.findings("silence")
    assert [(one["agentId"], one["agentCount"]) for one in found] == [(None, stopped)] * is_found
    for one in found:
        assert one["window"] == {"from": "2026-04-15T02:00:00.000000Z", "to": "2026-04-15T07:00:00.000000Z"}


@pytest.mark.parametrize(("sampled", "others_that_stopped"), [(14, "at least 3"), (15, "3")])
def test_of_a_sample_the_summary_says_that_more_may_have_stopped(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, sampled: int, others_that_stopped: str
) -> None:
    monkeypatch.setattr(thresholds, "MAX_SAMPLED_AGENTS", sampled)
    for number in range(4):
        work(fleet, f"stopped-{number}", without=(MIDNIGHT + 2 * HOUR, MIDNIGHT + 7 * HOUR))
    others(fleet, 10)
    fleet.store()
    [one] = fleet.findings("silence")
    assert one["agentCount"] == 4
    assert f" and {others_that_stopped} other agents stopped in the same hour" in one["summary"]


def test_those_that_stopped_together_are_not_reported_one_by_one(fleet: Fleet) -> None:
    for number in range(5):
        work(fleet, f"stopped-{number}", ends=NOON - 5 * HOUR)
    others(fleet, 9)
    fleet.store()
    assert silent(fleet) == [(None, "04-15T07:00", "04-15T12:00")]


def test_a_part_that_stays_quiet_is_one_finding_for_longer_than_a_week(fleet: Fleet) -> None:
    for number in range(5):
        work(fleet, f"stopped-{number}", ends=NOON - 9 * DAY)
    others(fleet, 9)
    fleet.store()
    assert silent(fleet) == [(None, "04-06T12:00", "04-15T12:00")]


def test_a_part_that_stops_does_not_hide_a_day_on_which_nobody_got_a_token(fleet: Fleet) -> None:
    day = MIDNIGHT - 24 * HOUR
    for number in range(14):
        agent = fleet.agent(f"agent-{number}")
        fleet.work(agent, NOON.replace(minute=0) - 10 * WEEK, day, lambda at: 3)
        for hour in range(36):
            # Their tokens are still valid, so requests go on, but for those of four agents from 14:00 to 20:00.
            tokens = 3 if hour >= 24 else 0
            if number >= 4 or not 14 <= hour < 20:
                fleet.count(agent, day + hour * HOUR, tokens, requests=3 - tokens)
    fleet.store()
    found = {one["kind"]: one for one in fleet.findings()}
    assert found["silence"]["agentCount"] == 4
    assert found["zero_day"]["window"]["from"] == "2026-04-14T00:00:00.000000Z"
