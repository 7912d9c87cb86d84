"""The drawing of a chart: the heights of the bars, the running day or hour, and the links of the bars."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.charts import (
    MAX_HEIGHT,
    MIN_HEIGHT,
    draw_chart,
    draw_hours,
    group_by_day,
)
from agentidp.dashboard.counts import HourUsage
from agentidp.findings.finding import Severity
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read, number, with_session
from tests.factories import NOON, Agent, Clock, a_finding, known_finding, make_finding

TODAY = NOON.date()


def paths(page: Page, name: str) -> list[str]:
    """Return the drawn paths of a class, per chart."""
    return [str(path["d"]) for path in page.all("path") if path.get("class") == name]


@pytest.mark.parametrize(
    ("counts", "top"),
    [
        ([0, 0], 2),
        ([7], 8),
        ([10], 10),
        ([11], 12),
        ([18], 18),
        ([21], 24),
        ([33], 40),
        ([61], 80),
        ([2_028], 2_400),
        ([1, 13_385], 14_000),
    ],
)
def test_the_axis_reaches_the_highest_count_and_half_of_it_is_a_whole_number(counts: list[int], top: int) -> None:
    assert draw_chart([(TODAY, count) for count in counts], {}, TODAY).top == top


def test_an_outlier_is_cut_off_so_that_the_other_days_can_be_compared() -> None:
    counts = [(TODAY - timedelta(days=n), 100 + n if n else 10_000) for n in reversed(range(30))]
    chart = draw_chart(counts, {}, TODAY)
    assert (chart.top, chart.bars[0].height) == (140, 92.1)
    assert (chart.bars[-1].height, chart.bars[-1].count) == (MAX_HEIGHT, 10_000)
    assert (chart.cut_bars, chart.cut_labels) == ([chart.bars[-1]], [(98.33, chart.bars[-1])])
    assert chart.running_bar is chart.bars[-1]
    assert draw_chart(counts[:-1], {}, TODAY).running_bar is None
    # An earlier day can be the outlier, too.
    chart = draw_chart(counts[:-1], {}, TODAY, earlier_counts=[13_782, *[100] * 28])
    assert (chart.top, chart.cut_bars, chart.bars[0].earlier_height) == (140, [], MAX_HEIGHT)


@pytest.mark.parametrize("counts", [[1, 0, 0, 2000], [10, 20, 30, 40, 50, 199], [9] * 8 + [900, 1000]])
def test_the_axis_reaches_the_highest_count_if_it_is_no_outlier(counts: list[int]) -> None:
    chart = draw_chart([(TODAY - timedelta(days=n), count) for n, count in enumerate(counts)], {}, TODAY)
    assert chart.top >= max(counts)
    assert chart.cut_bars == []
    assert min(bar.height for bar in chart.bars if bar.count) >= MIN_HEIGHT


@pytest.mark.parametrize(("days", "ticks"), [(1, [0]), (2, [0, 1]), (7, [0, 2, 3, 4, 6]), (30, [0, 7, 14, 22, 29])])
def test_dates_stand_below_their_bars_and_none_twice(days: int, ticks: list[int]) -> None:
    chart = draw_chart([(TODAY - timedelta(days=n), n) for n in reversed(range(days))], {}, TODAY)
    assert [chart.bars.index(bar) for _, bar in chart.ticks] == ticks
    assert chart.ticks[0][0] == round(50 / days, 2)


def test_the_page_names_the_count_of_a_day_that_is_cut_off(read: Read, acme: Agent) -> None:
    for days_ago in range(1, 9):
        acme.count(NOON - timedelta(days=days_ago), tokens=2_000 if days_ago == 3 else 10)
    page = read()
    assert paths(page, "cut") == ["M260 6l10-6"]
    assert "2,000" in page.text.partition("Tokens issued")[2].partition("higher than the axis")[0]


def test_the_line_of_the_earlier_days_begins_with_the_first_usage_and_is_to_the_scale_of_the_bars() -> None:
    counts = [(TODAY - timedelta(days=n), 100) for n in reversed(range(4))]
    spike = known_finding(a_finding(NOON - timedelta(days=7)))
    chart = draw_chart(
        counts, {}, TODAY, earlier_counts=[None, 50, 0, 200], earlier_findings=[[spike], [], [], [spike]]
    )
    assert (chart.top, [bar.height for bar in chart.bars]) == (200, [50] * 4)
    assert [bar.earlier_height for bar in chart.bars] == [None, 25, 0, 100]
    assert chart.earlier_bars == chart.bars[1:]
    assert [bar.earlier_count for bar in chart.bars] == [None, 50, 0, 200]
    assert [[*bar.earlier_findings] for bar in chart.bars] == [[], [], [], [spike]]
    assert draw_chart(counts, {}, TODAY, earlier_counts=[None, 0, 0, 0]).earlier_bars == []


def test_the_overview_draws_the_line_and_names_its_days(read: Read, acme: Agent) -> None:
    acme.count(NOON, tokens=20)
    page = read("?days=7")
    assert "a week earlier" not in page.text.partition("Tokens issued")[2]
    acme.count(NOON - timedelta(days=8), tokens=5)
    page = read("?days=7")
    assert paths(page, "earlier") == paths(page, "earlier halo") == ["M55 75L65 100"]
    assert "Tue 14 Apr: 0 tokens; a week earlier 5" in page.text
    table = page.tables["Tokens issued"]
    # The usage of days before the first usage is unknown.
    assert [row[-1] for row in table[:5]] == ["Tokens a week earlier", "0", "5", "\u2013", "\u2013"]


def test_a_line_of_a_single_point_is_a_dot(read: Read, acme: Agent) -> None:
    acme.count(NOON, tokens=20)
    acme.count(NOON - timedelta(days=7), tokens=10)
    assert paths(read("?days=7"), "earlier") == ["M65 50h0"]


def test_a_finding_of_the_earlier_days_is_marked_on_the_line(read: Read, acme: Agent, services: Services) -> None:
    then = NOON - timedelta(days=8)
    for at, tokens in ((NOON, 20), (then, 30)):
        acme.count(at, tokens=tokens)
    finding_id = make_finding(services, acme.organization_id, a_finding(then, severity=Severity.critical))
    page = read("?days=7")
    flags = [a for a in page.all("a") if "flag" in (a.get("class") or "")]
    assert [(flag["class"], flag["href"]) for flag in flags] == [
        ("then flag ended", f"/dashboard/findings/{finding_id}"),
    ]
    assert "M55 0h0" in [path["d"] for path in page.all("path")]
    assert "a week earlier ○ a finding a week earlier" in page.text
    assert "A week earlier: spike (critical), 30 tokens" in page.text


def test_a_finding_is_marked_on_the_chart_that_it_is_about() -> None:
    hour = {"begins": NOON - timedelta(hours=1), "ends": NOON}
    spike, rejections, loop = (
        known_finding(a_finding(NOON, kind=kind, severity=severity, **hour))
        for kind, severity in (
            ("spike", Severity.info),
            ("rejections", Severity.critical),
            ("uncached_tokens", Severity.warning),
        )
    )
    long = known_finding(a_finding(NOON, begins=NOON - timedelta(days=4), ends=NOON))
    yesterday = NOON - timedelta(days=1)
    budget = replace(long, kind="budget", since=yesterday)
    # The flag has the colour of the most severe finding, and leads to it.
    of_tokens = {TODAY: [loop, spike], yesterday.date(): [budget]}
    assert group_by_day([spike, rejections, loop, long, budget]) == (of_tokens, {TODAY: [rejections]})


@pytest.mark.parametrize(("day", "running"), [(TODAY, 12), (TODAY - timedelta(days=1), None)])
def test_the_running_hour_is_that_of_now(day: date, running: int | None) -> None:
    chart = draw_hours(day, [HourUsage(hour, 1) for hour in range(24)], "tokens", NOON.replace(minute=59))
    assert [n for n, bar in enumerate(chart.bars) if bar.is_running] == ([] if running is None else [running])


def test_a_running_day_is_drawn_filled_and_not_like_one_without_tokens(read: Read, acme: Agent) -> None:
    acme.count(NOON, tokens=12)
    page = read("?days=7")
    assert paths(page, "bars today") == ["M61 100v-100h8V100z"]
    # No day before the first token is drawn as empty, because the organization may not have existed.
    assert paths(page, "zero")[0].count("M") == 0
    acme.count(NOON - timedelta(days=4), tokens=12)
    page = read("?days=7")
    assert paths(page, "zero")[0].count("M") == 3
    # The Tab key reaches a single bar of each chart.
    assert [a["tabindex"] for a in page.all("a") if "tabindex" in a] == ["-1"] * 6 + ["0"]
    assert "not over yet" in page.text


def test_hours_that_are_not_over_are_not_like_those_without_tokens(read: Read, acme: Agent) -> None:
    acme.count(NOON - timedelta(hours=2), tokens=12)
    page = read("/days/2026-04-15")
    # The hours until noon are empty, except 10:00. The running hour and later hours have nothing.
    assert paths(page, "zero")[0].count("M") == 11
    assert paths(page, "bars today") == []


@pytest.mark.parametrize(
    ("created", "used", "empty"),
    [
        (None, [], [0, 1, 2, 3, 4, 5]),
        (NOON - timedelta(days=3), [], [3, 4, 5]),
        (NOON.replace(hour=0), [], []),
        (NOON - timedelta(days=90), [5], [0, 1, 2, 3, 4]),
        # The imported usage is older than the agent.
        (NOON - timedelta(days=1), [2], [3, 4, 5]),
    ],
)
def test_no_day_before_an_agent_was_created_is_empty(
    created: datetime | None, used: list[int], empty: list[int]
) -> None:
    counts = [(TODAY - timedelta(days=6 - n), 9 if n in used else 0) for n in range(7)]
    chart = draw_chart(counts, {}, TODAY, created=created and created.date())
    assert [n for n, bar in enumerate(chart.bars) if bar.is_empty] == empty


def test_the_pages_of_a_new_agent_show_nothing_empty_before_it(
    client: FlaskClient, read: Read, acme: Agent, clock: Clock
) -> None:
    def empty(path: str) -> list[str]:
        return re.findall(r"M([\d.]+) ", paths(read(path), "zero")[0])

    agent = f"/agents/{acme.agent_id}"
    assert empty(agent) == empty(f"{agent}/days/{TODAY}") == empty(f"{agent}/days/{TODAY - timedelta(days=1)}") == []
    clock.advance(hours=25)
    with_session(client, acme)
    # No token was issued on the day, or in the hours, in which the agent was created.
    assert empty(f"{agent}?days=7") == ["51.5"]
    assert empty(f"{agent}/days/{TODAY}") == [f"{hour * 10 + 1.5:g}" for hour in range(12, 24)]


def test_a_bar_of_rejected_requests_leads_to_the_agents_with_most_of_them(
    read: Read, acme: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = NOON - timedelta(days=1)
    acme.count(at, tokens=30)
    guessed = acme.colleague("guessed")
    guessed.count(at, rejected=1)
    address = f"/dashboard/days/{at:%Y-%m-%d}"
    assert f"{address}?by=rejected#agents" in read(f"/days/{at:%Y-%m-%d}").links
    page = read(f"/days/{at:%Y-%m-%d}?by=rejected")
    assert "Agents with usage, most rejected requests first" in page.text
    assert [row[0] for row in page.table("Agents with usage")] == ["guessed", "builder"]
    assert f"{address}?hour=12&by=rejected#agents" in links(page)
    by_hour = read(f"/days/{at:%Y-%m-%d}?hour=12&by=rejected").table("Agents with usage")
    assert by_hour == [["guessed", "1", "0", "0"], ["builder", "0", "30", "30"]]
    page = read(f"/days/{at:%Y-%m-%d}")
    assert [row[0] for row in page.table("Agents with usage")] == ["builder", "guessed"]
    monkeypatch.setattr("agentidp.dashboard.day.PAGE_SIZE", 1)
    page = read(f"/days/{at:%Y-%m-%d}?by=rejected")
    assert [row[0] for row in page.table("Agents with usage")] == ["guessed"]


def links(page: Page) -> list[str]:
    """Return the links of the bars, without the links of the findings."""
    return [a["href"] or "" for a in page.all("a") if "tabindex" in a and "flag" not in (a.get("class") or "")]


def test_a_day_leads_to_its_hours_and_an_hour_to_its_agents(signed_in: FlaskClient, read: Read, cast: Cast) -> None:
    other = cast.acme.colleague("other")
    at = NOON - timedelta(days=1)
    cast.acme.count(at, tokens=30)
    other.count(at - timedelta(hours=3), tokens=70)
    overview = links(read("?days=7"))
    assert overview[:7] == [f"/dashboard/days/2026-04-{day:02}" for day in range(9, 16)]
    page = read("/days/2026-04-14")
    assert [row[:2] for row in page.table("Tokens") if row[1] != "0"] == [["09:00", "70"], ["12:00", "30"]]
    assert [(row[0], number(row[1])) for row in page.table("Agents with usage")] == [("other", 70), ("builder", 30)]
    assert links(page)[:24] == [f"/dashboard/days/2026-04-14?hour={hour}#agents" for hour in range(24)]
    page = read("/days/2026-04-14?hour=12")
    assert page.table("Agents with usage") == [["builder", "30", "30", "0"]]
    assert "Agents from 12:00 to 13:00 UTC" in page.words
    assert "No agent had any usage." in read("/days/2026-04-14?hour=13").text
    page = read(f"/agents/{other.agent_id}/days/2026-04-14")
    assert [row for row in page.table("Tokens") if row[1] != "0"] == [["09:00", "70", "70", "0"]]
    assert "other" in page.text
    assert signed_in.get(f"/dashboard/agents/{cast.outsider.agent_id}/days/2026-04-14").status_code == 404
