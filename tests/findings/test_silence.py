"""``silence``: an agent has stopped, or the organization, or part of it, is quiet.

The arithmetic is tested in ``test_quiet_agent.py`` and ``test_quiet_organization.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, Severity
from agentidp.findings.silence import Agent, build_call, find_successor
from tests.factories import NOON
from tests.findings.conftest import Fleet, Lists, Usage, amounts, body, build_query, window

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
GOOD_FRIDAY = datetime(2026, 4, 3, tzinfo=UTC)
MIDNIGHT = NOON - 12 * HOUR


def day_of_april(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 4, day, hour, tzinfo=UTC)


def always(at: datetime) -> bool:
    """Around the clock."""
    return True


def with_gaps(at: datetime) -> bool:
    """Return whether an agent with gaps works: in four of five hours, so a finding needs more quiet hours."""
    return (at.toordinal() * 24 + at.hour) % 5 > 0


def office(at: datetime) -> bool:
    """Return whether an office works: Monday to Friday, 7:00 to 19:00."""
    return at.weekday() < 5 and 7 <= at.hour < 19


def nightly(at: datetime) -> bool:
    """Return whether a nightly job works: each night from 1:00 to 3:00."""
    return 1 <= at.hour < 3


def sundays(at: datetime) -> bool:
    """On Sundays at four."""
    return at.weekday() == 6 and at.hour == 4


def work(
    usage: Usage,
    name: str,
    hours: Callable[[datetime], bool] = always,
    *,
    ends: datetime = NOON,
    weeks: int = 10,
    without: tuple[datetime, datetime] = (NOON, NOON),
) -> UUID:
    """An agent at work before *ends*, in the hours for which *hours* is true, but for those *without*."""
    agent, begins = usage.agent(name), ends.replace(minute=0) - weeks * WEEK
    usage.work(agent, begins, ends, lambda at: 3 * (hours(at) and not without[0] <= at < without[1]))
    return agent


def several(usage: Usage, number: int, hours: Callable[[datetime], bool] = always, **more: Any) -> None:
    """Some that work alike."""
    for named_agent in range(number):
        work(usage, f"other-{named_agent}", hours, **more)


def shown(findings: list[Finding]) -> list[tuple[str | None, str, str]]:
    """Who is silent, since when, and until when."""
    return [
        (listed_finding.agent_name, f"{listed_finding.begins:%m-%dT%H:%M}", f"{listed_finding.ends:%m-%dT%H:%M}")
        for listed_finding in findings
    ]


@pytest.mark.parametrize(
    ("hours", "ends", "now", "is_silent"),
    [
        # The hour that runs is no silent one.
        (always, NOON - 4 * HOUR, NOON - timedelta(microseconds=1), False),
        (always, NOON - 4 * HOUR, NOON, True),
        (with_gaps, NOON - 6 * HOUR, NOON + 6 * HOUR, True),
        # Thursday, Friday, Monday and Tuesday, which is not over.
        (office, day_of_april(8, 19), MIDNIGHT - timedelta(minutes=1), False),
        (office, day_of_april(8, 19), MIDNIGHT, True),
        # In the middle of its work.
        (office, day_of_april(13, 10), day_of_april(13, 13), False),
        (office, day_of_april(13, 10), day_of_april(13, 14), True),
        # Easter, and two days after it.
        (office, GOOD_FRIDAY, GOOD_FRIDAY + 4.9 * DAY, False),
        (office, GOOD_FRIDAY, GOOD_FRIDAY + 6 * DAY, True),
        # Three runs; today's was missed too, but today is not over.
        (nightly, MIDNIGHT - 2 * DAY, NOON, False),
        (nightly, MIDNIGHT - 3 * DAY, NOON, True),
        (sundays, day_of_april(13) - 2 * WEEK, NOON, False),
        (sundays, day_of_april(13) - 3 * WEEK, NOON, True),
        # After five weeks it is dormant.
        (always, MIDNIGHT - 34 * DAY, NOON, True),
        (always, MIDNIGHT - 35 * DAY, NOON, False),
    ],
)
def test_an_agent_is_silent(
    lists: Lists, hours: Callable[[datetime], bool], ends: datetime, now: datetime, is_silent: bool
) -> None:
    work(lists, "one", hours, ends=ends)
    # The finding about the organization may report whole days before.
    assert [
        listed_finding.agent_name for listed_finding in lists.findings("silence", now=now) if listed_finding.agent_id
    ] == ["one"] * is_silent


@pytest.mark.parametrize("hours", [office, nightly, sundays])
def test_a_job_between_its_runs_is_not_silent(lists: Lists, hours: Callable[[datetime], bool]) -> None:
    work(lists, "one", hours)
    for ago in range(12):
        assert lists.findings("silence", now=NOON - ago * 7 * HOUR) == []


@pytest.mark.parametrize(("days", "is_silent"), [(20, False), (21, True)])
def test_a_new_agent_has_three_weeks_to_show_its_habits(lists: Lists, days: int, is_silent: bool) -> None:
    ends = NOON - 9 * HOUR
    work(lists, "new", lambda at: at.date() >= (ends - days * DAY).date(), ends=ends)
    assert len(lists.findings("silence")) == is_silent


@pytest.mark.parametrize(
    ("hours", "ends", "severity"),
    [
        (always, NOON - 7 * DAY, Severity.warning),
        (always, NOON - 7 * DAY - HOUR, Severity.info),
        # It is missed after three weeks only.
        (sundays, day_of_april(13) - 3 * WEEK, Severity.info),
    ],
)
def test_a_silence_is_a_warning_for_a_week_and_then_only_listed(
    lists: Lists, hours: Callable[[datetime], bool], ends: datetime, severity: Severity
) -> None:
    work(lists, "gone", hours, ends=ends)
    assert [listed_finding.severity for listed_finding in lists.findings("silence")] == [severity]


def test_a_long_silence_does_not_become_its_own_habit(lists: Lists) -> None:
    work(lists, "gone", ends=NOON - 20 * DAY)
    [listed_finding] = lists.findings("silence")
    assert (listed_finding.expected, listed_finding.unit) == (20 * 24, "hours with activity")
    assert listed_finding.summary == (
        "gone has made no request for 20 days, since 12:00 UTC on Thursday, 26 March 2026; typically it is active in "
        "480 hours of that time."
    )


def test_what_is_missed_by_days_is_said_in_days(lists: Lists) -> None:
    work(lists, "clerk", office, ends=day_of_april(8, 19))
    [listed_finding] = lists.findings("silence")
    assert (listed_finding.expected, listed_finding.unit, listed_finding.baseline) == (
        4,
        "days with activity",
        "its working days in up to 8 weeks before",
    )
    assert listed_finding.summary.endswith("; typically it is active on 4 days of that time.")


@pytest.mark.parametrize(("hours_after", "is_successor"), [(-3, False), (-2, True), (24, True), (25, False)])
def test_a_successor_begins_from_two_hours_before_an_agent_stops_to_a_day_after_it(
    hours_after: int, is_successor: bool
) -> None:
    stopped = 100
    new = Agent(UUID(int=2), "new", [0] * (stopped + hours_after) + [3] * 50)
    old = Agent(UUID(int=1), "old", [3] * stopped + [0] * 50)
    assert find_successor(stopped, [old, new]) == ("new" if is_successor else None)


def test_an_agent_with_a_successor_is_only_listed(lists: Lists) -> None:
    work(lists, "old", ends=NOON - 6 * HOUR)
    lists.work(lists.agent("new"), NOON - 5 * HOUR, NOON, lambda at: 3)
    [listed_finding] = lists.findings("silence")
    assert (listed_finding.agent_name, listed_finding.severity) == ("old", Severity.info)
    assert listed_finding.causes == "new began at that time: it has probably taken over."


def test_the_organization_is_quiet_up_to_now(lists: Lists) -> None:
    several(lists, 5, ends=NOON - 5 * HOUR)
    [listed_finding] = lists.findings("silence", now=NOON + HOUR / 2)
    assert (listed_finding.agent_id, listed_finding.begins, listed_finding.ends) == (
        None,
        NOON - 5 * HOUR,
        NOON + HOUR / 2,
    )
    assert listed_finding.summary == ("No agent has been active since 07:00 UTC on Wednesday, 15 April 2026.")


@pytest.mark.parametrize(("stopped", "reported"), [(2, ["stopped-0", "stopped-1"]), (3, [None])])
def test_most_agents_are_the_organization(lists: Lists, stopped: int, reported: list[str | None]) -> None:
    several(lists, 5 - stopped)
    for number in range(stopped):
        # The later ones were busier.
        lists.count(work(lists, f"stopped-{number}", ends=NOON - 9 * HOUR), NOON - WEEK, requests=number)
    findings = lists.findings("silence")
    assert [listed_finding.agent_name for listed_finding in findings] == reported
    if reported == [None]:
        assert (findings[0].observed, findings[0].agent_count) == (40, 3)
        assert [(listed_finding.agent_name, listed_finding.count) for listed_finding in findings[0].agents] == [
            (f"stopped-{number}", 0) for number in (2, 1, 0)
        ]


@pytest.mark.parametrize(("hours", "is_silent"), [(3, False), (4, True)])
def test_unknown_hours_count_for_no_agent(lists: Lists, hours: int, is_silent: bool) -> None:
    quiet = (MIDNIGHT + 2 * HOUR, MIDNIGHT + 9 * HOUR)
    work(lists, "watcher", ends=quiet[0])
    several(lists, 4, without=quiet, ends=NOON + 2 * HOUR)
    findings = lists.findings("silence", now=quiet[1] + hours * HOUR)
    # What goes on comes first.
    assert [listed_finding.agent_name for listed_finding in findings] == [*["watcher"] * is_silent, None]


@pytest.mark.parametrize(
    ("hours", "quiet", "expected"),
    [
        # From the night to the middle of work: some of its working hours.
        (office, (-24, -12), [("04-14T07:00", "04-14T12:00")]),
        # It has ended, and contained a whole day.
        (always, (-30, 3), [("04-13T18:00", "04-15T03:00")]),
        # It lasts.
        (always, (-30, 12), [("04-13T18:00", "04-15T12:00")]),
        # All of an office's day, and the evening before.
        (office, (-34, -4), [("04-13T14:00", "04-14T19:00")]),
    ],
)
def test_an_outage_is_one_finding(
    lists: Lists, hours: Callable[[datetime], bool], quiet: tuple[int, int], expected: list[Any]
) -> None:
    several(lists, 5, hours, without=(MIDNIGHT + quiet[0] * HOUR, MIDNIGHT + quiet[1] * HOUR))
    windows = [
        (f"{listed_finding.begins:%m-%dT%H:%M}", f"{listed_finding.ends:%m-%dT%H:%M}")
        for listed_finding in lists.findings("silence")
    ]
    assert windows == expected


def tokens_an_hour(tokens: int) -> Callable[[datetime], int]:
    """So many requests in each working hour of an office: twelve times as many on a day."""
    return lambda at: tokens if office(at) else 0


@pytest.mark.parametrize(
    ("tokens", "quiet", "expected"),
    [
        (2, [1], [("04-14T00:00", "04-15T00:00")]),
        # Fewer than 20 requests are usual on such a day.
        (1, [1], []),
        # A weekend without work is between them.
        (2, [2, 5], [("04-10T00:00", "04-14T00:00")]),
        # The day before yesterday has no neighbour.
        (2, [2, 6], [("04-13T00:00", "04-14T00:00"), ("04-09T00:00", "04-10T00:00")]),
        # It lasts.
        (2, [0, 1], [("04-14T00:00", "04-15T12:00")]),
    ],
)
def test_a_whole_day_without_a_request_of_the_only_agent_is_a_silence(
    lists: Lists, tokens: int, quiet: list[int], expected: list[tuple[str, str]]
) -> None:
    quiet_dates = {(NOON - day * DAY).date() for day in quiet}
    rhythm = tokens_an_hour(tokens)
    lists.work(lists.agent("only"), MIDNIGHT - 70 * DAY, NOON, lambda at: 0 if at.date() in quiet_dates else rhythm(at))
    findings = lists.findings("silence")
    assert [
        (f"{listed_finding.begins:%m-%dT%H:%M}", f"{listed_finding.ends:%m-%dT%H:%M}") for listed_finding in findings
    ] == expected
    assert {
        (listed_finding.severity, listed_finding.agent_id, listed_finding.agents[0].agent_name)
        for listed_finding in findings
    } <= {(Severity.warning, None, "only")}
    assert all(
        listed_finding.summary.startswith(("No agent was active from", "No agent has been active since"))
        for listed_finding in findings
    )


def test_the_only_agent_that_stays_silent_has_one_finding(lists: Lists) -> None:
    lists.work(lists.agent("only"), MIDNIGHT - 70 * DAY, MIDNIGHT - 7 * DAY, tokens_an_hour(2))
    assert shown(lists.findings("silence")) == [("only", "04-07T19:00", "04-15T12:00")]


def test_a_holiday_is_no_quiet_day(lists: Lists) -> None:
    day = (MIDNIGHT - DAY).date()
    rhythm = tokens_an_hour(2)
    lists.work(lists.agent("only"), MIDNIGHT - 70 * DAY, NOON, lambda at: 0 if at.date() == day else rhythm(at))
    assert len(lists.findings("silence")) == 1
    lists.markers = [
        SimpleNamespace(kind="holiday", starts_at=MIDNIGHT - DAY, ends_at=MIDNIGHT, agent_id=None, note="")
    ]
    assert lists.findings("silence") == []


@pytest.mark.parametrize(("days", "is_found"), [(2, False), (3, True)])
def test_an_outage_is_looked_for_within_the_days_asked_for(lists: Lists, days: int, is_found: bool) -> None:
    several(lists, 5, without=(MIDNIGHT - 30 * HOUR, MIDNIGHT - 24 * HOUR))
    assert shown(lists.findings("silence", days=days)) == [(None, "04-13T18:00", "04-14T00:00")] * is_found


@pytest.mark.parametrize(("sampled", "others_that_stopped"), [(14, "at least 3"), (15, "3")])
def test_part_of_a_fleet_that_stops_in_the_same_hour_is_one_finding(
    lists: Lists, monkeypatch: pytest.MonkeyPatch, sampled: int, others_that_stopped: str
) -> None:
    monkeypatch.setattr(thresholds, "MAX_SAMPLED_AGENTS", sampled)
    for number in range(4):
        work(lists, f"stopped-{number}", without=(MIDNIGHT + 2 * HOUR, MIDNIGHT + 7 * HOUR))
    several(lists, 10)
    [listed_finding] = lists.findings("silence")
    assert (listed_finding.agent_id, listed_finding.agent_count, round(listed_finding.observed)) == (None, 4, 71)
    assert listed_finding.begins == MIDNIGHT + 2 * HOUR
    assert listed_finding.summary == (
        f"stopped-0 and {others_that_stopped} other agents stopped in the same hour and were quiet from 02:00 UTC on "
        "Wednesday, 15 April 2026 to 07:00 UTC on Wednesday, 15 April 2026."
    )


def test_a_part_that_stays_quiet_is_one_finding_and_not_one_of_each(lists: Lists) -> None:
    ago = 9 * DAY
    for number in range(5):
        work(lists, f"stopped-{number}", ends=NOON - ago)
    several(lists, 9)
    assert shown(lists.findings("silence")) == [(None, f"{NOON - ago:%m-%dT%H:%M}", "04-15T12:00")]


@pytest.mark.slow
class TestStatement:
    """The statement selects candidates."""

    def read(self, fleet: Fleet, days: int = 7) -> list[tuple[str, bool]]:
        """The agents that are read, and whether each is of the sample."""
        query = build_query(days=days)
        [rows] = fleet.database.run(build_call(query))
        return sorted((row.agent_name, row.is_sampled) for row in rows)

    def test_names_the_agent_that_worked_around_the_clock_and_since_when_it_is_silent(self, fleet: Fleet) -> None:
        agent = work(fleet, "watcher", ends=NOON - 4 * HOUR)
        several(fleet, 4)
        fleet.store()
        assert fleet.findings("silence") == [
            body(
                "silence",
                "warning",
                (agent, "watcher"),
                window=window("2026-04-15T08:00", "2026-04-15T12:00"),
                **amounts(0, 4, "hours with activity", "the same hours of the week in up to 8 weeks before"),
                summary="watcher has made no request for 4 hours, since 08:00 UTC on Wednesday, 15 April 2026; "
                "typically it is active in 4 hours of that time.",
                causes="It was stopped or has crashed, cannot reach the service any more, or its credential has "
                "expired.",
                next="Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it "
                "has been retired.",
            )
        ]

    def test_the_organization_was_quiet_and_nobody_else(self, fleet: Fleet) -> None:
        begins = NOON - 80 * DAY
        several(fleet, 5, without=(begins, begins + 6 * HOUR), weeks=20)
        fleet.store()
        assert fleet.findings("silence", days=90) == [
            body(
                "silence",
                "critical",
                window=window("2026-01-25T12:00", "2026-01-25T18:00"),
                **amounts(
                    0,
                    100,
                    "percent of the agents that are usually active",
                    "the median of the same hours of the week in up to 8 weeks before",
                ),
                summary="No agent was active from 12:00 UTC on Sunday, 25 January 2026 to 18:00 UTC on Sunday, 25 "
                "January 2026.",
                causes="Either the service or everything that uses it was down, or the way between them. The counts "
                "do not show which, because nothing is counted in either case.",
                next="Check whether the service and its database responded, then what the agents have in common: their "
                "network, their platform, a deployment.",
            )
        ]

    def test_reads_the_agents_that_may_have_stopped(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(thresholds, "MAX_SAMPLED_AGENTS", 0)
        agents: dict[str, UUID] = {}
        # The last hour of each; six on the last two days are enough for one that may be missed within a day.
        for name, hours in (
            ("quiet for two hours", range(4, 10)),
            ("quiet for three hours", range(3, 9)),
            ("hardly worked", range(3, 8)),
            ("quiet for a day", range(-13, -12)),
            ("quiet for two days", range(-37, -36)),
            ("quiet for five weeks", range(-35 * 24, -35 * 24 + 1)),
            ("quiet for a day more", range(-35 * 24 - 1, -35 * 24)),
        ):
            agents[name] = fleet.agent(name)
            for hour in hours:
                fleet.count(agents[name], MIDNIGHT + hour * HOUR, requests=1)
        agents["only rejected"] = fleet.agent("only rejected")
        fleet.count(agents["only rejected"], NOON - 2 * DAY, requests=1)
        fleet.count(agents["only rejected"], NOON, rejected=1)
        fleet.store()
        assert [name for name, _ in self.read(fleet)] == [
            "only rejected",
            "quiet for five weeks",
            "quiet for three hours",
            "quiet for two days",
        ]
        monkeypatch.setattr(thresholds, "MAX_SILENT_AGENTS", 1)
        assert self.read(fleet) == [("quiet for three hours", False)]
        # The sample has the lowest ids.
        monkeypatch.setattr(thresholds, "MAX_SAMPLED_AGENTS", 1)
        names = [name for _, name in sorted((agent_id, name) for name, agent_id in agents.items())]
        sampled = next(name for name in names if name != "quiet for a day more")
        assert [name for name, is_sampled in self.read(fleet) if is_sampled] == [sampled]

    def test_any_request_ends_a_silence_and_a_rejected_one_does_not(self, fleet: Fleet) -> None:
        for name, counts in (("issued", {"tokens": 1}), ("asked", {"requests": 1}), ("rejected", {"rejected": 2})):
            fleet.count(work(fleet, name, ends=NOON - 9 * HOUR), NOON, **counts)
        several(fleet, 4)
        fleet.store()
        assert [listed_finding["agentName"] for listed_finding in fleet.findings("silence")] == ["rejected"]

    def test_a_suspended_or_deleted_agent_is_not_silent_and_no_part_of_the_sample(self, fleet: Fleet) -> None:
        suspended, deleted, _ = (work(fleet, name, ends=NOON - 9 * HOUR, weeks=4) for name in ("one", "two", "three"))
        several(fleet, 2, weeks=4)
        fleet.store()
        # Most agents are the organization.
        assert [listed_finding["agentName"] for listed_finding in fleet.findings("silence")] == [None]
        assert fleet.api.patch(f"agents/{suspended}", {"status": "suspended"}).status_code == 200
        assert fleet.api.delete(f"agents/{deleted}").status_code == 204
        assert [listed_finding["agentName"] for listed_finding in fleet.findings("silence")] == ["three"]
