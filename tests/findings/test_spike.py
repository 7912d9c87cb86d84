"""``spike``: an agent, or the organization, is issued far more tokens than it usually is at that time."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import psycopg
import pytest

from agentidp.db.sql import load_sql
from agentidp.findings import spike
from agentidp.findings.finding import Look
from tests.conftest import ON_EVERY_POSTGRES, Clock
from tests.factories import NOON, database_of
from tests.findings.conftest import Fleet

pytestmark = pytest.mark.slow

TODAY = NOON.replace(hour=0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)

Rhythm = Callable[[datetime], int]


def settled(fleet: Fleet, name: str, tokens: Rhythm, *, now: datetime = NOON, days: int = 64) -> UUID:
    """An agent that has worked on so many days, up to the hour before *now*."""
    agent_id = fleet.agent(name)
    fleet.work(agent_id, now.replace(hour=0) - days * DAY, now, tokens)
    return agent_id


def office(at: datetime) -> int:
    """Ten an hour from Monday to Friday, from 8 to 16."""
    return 10 * (at.weekday() < 5 and 8 <= at.hour < 16)


def steady(at: datetime) -> int:
    """Two an hour."""
    return 2


def at_seven(at: datetime) -> int:
    """Three hundred each morning."""
    return 300 * (at.hour == 7)


def noise(mean: float, shape: float, seed: str) -> Rhythm:
    """As :func:`poisson` of a mean that is gamma distributed."""
    random = Random(seed)

    def tokens(at: datetime) -> int:
        limit, count, product = math.exp(-random.gammavariate(shape, mean / shape)), 0, random.random()
        while product > limit:
            count, product = count + 1, product * random.random()
        return count

    return tokens


def found(fleet: Fleet, **query: int) -> list[tuple[str | None, str, str, float]]:
    """Name, window and what was observed of each."""
    return [
        (one["agentName"], one["window"]["from"][:13], one["window"]["to"][:16], one["observed"]["value"])
        for one in fleet.findings("spike", **query)
    ]


def test_finds_a_retry_loop_while_its_first_hour_runs(fleet: Fleet, clock: Clock) -> None:
    clock.advance(minutes=20)
    looping = settled(fleet, "looping", office)
    settled(fleet, "quiet", steady)
    fleet.count(looping, NOON, 800)
    fleet.store()
    assert fleet.findings("spike") == [
        {
            "kind": "spike",
            "severity": "critical",
            "agentId": str(looping),
            "agentName": "looping",
            "window": {"from": "2026-04-15T12:00:00.000000Z", "to": "2026-04-15T12:20:00.000000Z"},
            "observed": {"value": 800, "unit": "tokens"},
            "expected": {
                "value": 10,
                "unit": "tokens",
                "baseline": "the sum, over the same hours, of the median of the same weekday and hour in the 8 weeks "
                "before, or of a neighbouring hour's if that is more",
            },
            "agents": [],
            "summary": "looping was issued 800 tokens in an hour in which 10 are usual.",
            "causes": "It is probably in a retry loop: it asks for a token again and again, without a pause.",
            "next": "Look at its log for what fails after it has a token; revoke its credential if it is not the one "
            "that asks.",
        }
    ]


def test_finds_a_leak_that_takes_little_but_goes_on_at_odd_hours(fleet: Fleet) -> None:
    agent_id = settled(fleet, "leaking", office)
    fleet.work(agent_id, TODAY - DAY - 4 * HOUR, TODAY - DAY + 6 * HOUR, lambda at: 14)
    fleet.work(agent_id, TODAY - 4 * HOUR, TODAY + 6 * HOUR, lambda at: 14)
    fleet.store()
    # From its fourth odd hour on, which shows the three before.
    assert fleet.findings("spike") == [
        {
            "kind": "spike",
            "severity": "warning",
            "agentId": str(agent_id),
            "agentName": "leaking",
            "window": {"from": "2026-04-13T20:00:00.000000Z", "to": "2026-04-15T06:00:00.000000Z"},
            "observed": {"value": 280, "unit": "tokens"},
            "expected": {
                "value": 0,
                "unit": "tokens",
                "baseline": "the sum, over the same hours, of the median of the same weekday and hour in the 8 weeks "
                "before, or of a neighbouring hour's if that is more",
            },
            "agents": [],
            "summary": "leaking was issued 280 tokens in 20 hours in which 0 are usual.",
            "causes": "It has more to do than usual, or no longer keeps its tokens, or somebody else uses its "
            "credential.",
            "next": "See whether its own work explains the tokens; if not, rotate its secret.",
        }
    ]


@pytest.mark.parametrize(
    ("hours", "tokens", "days", "is_found"),
    [
        (4, 40, 64, True),
        (3, 60, 64, False),  # too few hours
        (4, 40, 34, True),
        (4, 40, 33, False),  # too short a past
    ],
)
def test_odd_hours_are_a_spike_though_other_days_had_more(
    fleet: Fleet, hours: int, tokens: int, days: int, is_found: bool
) -> None:
    agent_id = settled(
        fleet,
        "agent",
        lambda at: (100 if at.date().toordinal() % 10 == 0 else 10) * (8 <= at.hour < 16),
        now=TODAY,
        days=days,
    )
    fleet.work(agent_id, TODAY, TODAY + hours * HOUR, lambda at: tokens)
    fleet.store()
    assert found(fleet) == [("agent", "2026-04-15T00", f"2026-04-15T0{hours}:00", 160)] * is_found


@pytest.mark.parametrize(("most", "is_found"), [(19, True), (20, False)])
def test_an_hour_is_odd_above_the_most_of_any_day_at_it_or_beside_it(fleet: Fleet, most: int, is_found: bool) -> None:
    agent_id = settled(
        fleet,
        "agent",
        lambda at: (100 if at.date().toordinal() % 10 == 0 else 10) * (8 <= at.hour < 16),
        now=TODAY,
    )
    fleet.count(agent_id, TODAY - 2 * WEEK + 4 * HOUR, most)
    fleet.work(agent_id, TODAY, TODAY + 4 * HOUR, lambda at: 40)
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["agent"] * is_found


def bursty(at: datetime) -> int:
    """Two an hour, 6.1 on average; once a day 50 more, at each hour in turn, and each eighth day 400 more."""
    day = at.date().toordinal()
    return 2 + (at.hour == 7 * day % 24) * (400 if day % 8 == 1 else 50)


@pytest.mark.parametrize(
    ("first", "hours", "tokens", "is_found"),
    [
        (0, {0, 1, 2, 3, 4, 5, 6}, 8, True),
        (0, {0, 1, 2, 4, 5, 6, 7}, 8, True),
        (0, {0, 1, 2, 4, 5, 6, 8}, 8, False),  # seven of nine
        (0, {0, 1, 2, 3, 4, 5}, 10, False),  # too few
        (0, {*range(15)}, 5, True),
        (0, {*range(15)}, 4, False),  # with its own two, less than its average hour
        (-4, {*range(8)}, 13, True),  # half before midnight and half after it
    ],
)
def test_steady_hours_are_a_spike_though_a_burst_takes_more(
    fleet: Fleet, first: int, hours: set[int], tokens: int, is_found: bool
) -> None:
    agent_id = settled(fleet, "bursty", bursty, now=TODAY)
    for hour in hours:
        fleet.count(agent_id, TODAY - DAY + (first + hour) * HOUR, tokens)
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["bursty"] * is_found


@pytest.mark.parametrize(("most", "is_found"), [(6, True), (7, False)])
def test_as_many_hours_of_the_past_that_were_nearly_as_full_are_a_habit(
    fleet: Fleet, most: int, is_found: bool
) -> None:
    agent_id = settled(fleet, "bursty", bursty, now=TODAY)
    fleet.work(agent_id, TODAY - DAY, TODAY - DAY + 7 * HOUR, lambda at: 8)
    # On another weekday, at other hours: 10 do not exceed one and a half times 7.
    for hour in range(8):
        fleet.count(agent_id, TODAY - 3 * WEEK + (hour + 9) * HOUR, (most - 2) * (hour != 3))
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["bursty"] * is_found


@pytest.mark.parametrize(("usual", "is_found"), [(6, True), (7, False)])
def test_steady_hours_exceed_what_is_usual_of_them(fleet: Fleet, usual: int, is_found: bool) -> None:
    # Seven of eight hours never had more than two: at each other one it rests.
    agent_id = settled(fleet, "every other hour", lambda at: bursty(at) - 2 + usual * (at.hour % 2 == 0), now=TODAY)
    fleet.work(agent_id, TODAY - DAY + 8 * HOUR, TODAY - DAY + 24 * HOUR, lambda at: 14 - usual * (at.hour % 2 == 0))
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["every other hour"] * is_found


def test_several_agents_that_take_more_together_are_a_spike_of_the_organization(fleet: Fleet) -> None:
    agents = [settled(fleet, f"agent {number}", steady) for number in range(7)]
    for number, agent_id in enumerate(agents):
        fleet.count(agent_id, TODAY + 9 * HOUR, 20 + number)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert finding == {
        "kind": "spike",
        "severity": "warning",
        "agentId": None,
        "agentName": None,
        "window": {"from": "2026-04-15T09:00:00.000000Z", "to": "2026-04-15T10:00:00.000000Z"},
        "observed": {"value": 175, "unit": "tokens"},
        "expected": {
            "value": 14,
            "unit": "tokens",
            "baseline": "the sum, over the same hours, of the median of the same weekday and hour in the 8 weeks "
            "before, or of a neighbouring hour's if that is more",
        },
        "agents": [
            {"agentId": str(agents[number]), "agentName": f"agent {number}", "count": 22 + number}
            for number in (6, 5, 4, 3, 2)
        ],
        "summary": "The organization was issued 175 tokens in an hour in which 14 are usual.",
        "causes": "Several agents together ask for more tokens than usual, or new ones do.",
        "next": "See whether the agents behind it were changed or started anew together, and whether they keep their "
        "tokens.",
    }


def test_those_behind_it_are_they_who_grew_and_not_they_who_are_always_many(fleet: Fleet) -> None:
    settled(fleet, "huge", lambda at: 40)
    for number in range(5):
        fleet.count(settled(fleet, f"grown {number}", steady), TODAY + 9 * HOUR, 24)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert [(one["agentName"], one["count"]) for one in finding["agents"]] == [
        (name, 26) for _, name in sorted((one["agentId"], one["agentName"]) for one in finding["agents"])
    ]
    assert {one["agentName"] for one in finding["agents"]} == {f"grown {number}" for number in range(5)}


def test_one_retry_loop_is_one_finding(fleet: Fleet) -> None:
    looping = settled(fleet, "looping", office)
    settled(fleet, "quiet", steady)
    for hour in (9, 10, 11):
        fleet.count(looping, TODAY - DAY + hour * HOUR, 1000)
    # Apart from it by less than a day, and by more.
    fleet.count(looping, TODAY + 10 * HOUR, 500)
    fleet.count(looping, TODAY - 3 * DAY + 9 * HOUR, 700)
    fleet.store()
    assert found(fleet) == [
        ("looping", "2026-04-14T09", "2026-04-15T11:00", 3540),
        ("looping", "2026-04-12T09", "2026-04-12T10:00", 700),
    ]


@pytest.mark.parametrize(
    ("rhythm", "now"),
    [
        (office, NOON),
        (at_seven, NOON),
        (lambda at: 300 * (at.weekday() == 0 and at.hour == 8) + office(at), datetime(2026, 4, 13, 9, 30, tzinfo=UTC)),
        # Growth of 5 % a week.
        (lambda at: round(office(at) * 5 * 1.05 ** ((at - TODAY) / WEEK)), NOON),
        # A holiday, and twice the work on the day after it.
        (lambda at: office(at) * (0 if at.date() == TODAY.date() - DAY else 2 - (at < TODAY)), NOON),
        # Each second week.
        (lambda at: 400 * (at.date().toordinal() % 14 == TODAY.date().toordinal() % 14 and at.hour == 3), NOON),
        # On each month's first day.
        (lambda at: 400 * (at.day == 1 and at.hour == 3), datetime(2026, 5, 1, 12, tzinfo=UTC)),
        # On a leap day, and on the first of March after one.
        (office, datetime(2028, 2, 29, 12, tzinfo=UTC)),
        (office, datetime(2028, 3, 1, 12, tzinfo=UTC)),
        # It starts an hour earlier by UTC, since the clocks went forward; at one by day and at one by night.
        (lambda at: 300 * (at.hour == (7 if at < TODAY - DAY else 6)), NOON),
        (lambda at: 300 * ((at + HOUR * (at >= TODAY - DAY)).hour == 0), NOON),
        (lambda at: 300 * ((at + HOUR * (at >= TODAY - DAY)).hour == 0 and at.weekday() in (1, 2)), NOON),
        # Noise.
        *((noise(mean, shape, f"{mean} {shape}"), NOON) for mean in (0.2, 1, 5, 20) for shape in (1, 4, 30)),
    ],
)
def test_what_is_as_usual_is_none(fleet: Fleet, clock: Clock, rhythm: Rhythm, now: datetime) -> None:
    clock.now = now
    agent_id = settled(fleet, "as usual", rhythm, now=now + HOUR, days=80)
    fleet.store()
    assert found(fleet, days=14) == []
    assert agent_id


@pytest.mark.parametrize(
    ("usual", "tokens", "is_found"),
    [
        (0, 2, False),
        (0, 30, False),
        (0, 31, True),
        (10, 40, False),
        (10, 41, True),
        (100, 210, False),
        (100, 211, True),
    ],
)
def test_an_hour_must_exceed_the_usual_by_the_floor_and_so_many_times(
    fleet: Fleet, usual: int, tokens: int, is_found: bool
) -> None:
    # Something at midnight, so that it is at work on each day.
    agent_id = settled(fleet, "agent", lambda at: usual * (at.hour == 9) or at.hour == 0, now=TODAY + HOUR)
    settled(fleet, "huge", lambda at: 3000)
    fleet.count(agent_id, TODAY + 9 * HOUR, tokens)
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["agent"] * is_found


@pytest.mark.parametrize(("works_at", "spikes_at"), [(8, 7), (8, 9), (23, 0), (0, 23)])
def test_what_is_usual_in_the_hour_before_or_after_is_usual(fleet: Fleet, works_at: int, spikes_at: int) -> None:
    agent_id = settled(fleet, "agent", lambda at: 10 * (at.hour == works_at), now=TODAY)
    fleet.count(agent_id, TODAY - DAY + spikes_at * HOUR, 400)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert (finding["observed"]["value"], finding["expected"]["value"]) == (400, 10)


def test_varied_days_allow_for_more(fleet: Fleet) -> None:
    # In four of five weeks' days 40 at nine, in the fifth 100: by the spread 370 is not above it.
    def varied(at: datetime) -> int:
        return (100 if at.date().toordinal() % 5 == 0 else 40) * (at.hour == 9)

    tame, wild = settled(fleet, "tame", varied, now=TODAY), settled(fleet, "wild", varied, now=TODAY)
    fleet.count(tame, TODAY + 9 * HOUR, 370)
    fleet.count(wild, TODAY + 9 * HOUR, 371)
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["wild"]


@pytest.mark.parametrize(
    ("at", "tokens", "is_found"),
    [
        (datetime(2026, 5, 1, 9, tzinfo=UTC), 90, False),
        (datetime(2026, 5, 1, 9, tzinfo=UTC), 91, True),
        (datetime(2026, 4, 28, 8, tzinfo=UTC), 90, False),
        (datetime(2026, 4, 27, 9, tzinfo=UTC), 90, True),
        (datetime(2026, 5, 3, 10, tzinfo=UTC), 90, False),
        (datetime(2026, 5, 4, 9, tzinfo=UTC), 90, True),
    ],
)
def test_the_turn_of_the_month_is_compared_with_the_one_before(
    fleet: Fleet, clock: Clock, at: datetime, tokens: int, is_found: bool
) -> None:
    clock.now = at + HOUR
    agent_id = settled(fleet, "closing", lambda at: 10 * (at.hour == 9), now=at.replace(hour=0))
    fleet.count(agent_id, datetime(2026, 4, 1, 9, tzinfo=UTC), 50)
    fleet.count(agent_id, at, tokens)
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["closing"] * is_found


@pytest.mark.parametrize(("days", "is_found"), [(1, False), (7, False), (13, False), (14, True)])
def test_a_new_agent_has_no_baseline(fleet: Fleet, days: int, is_found: bool) -> None:
    settled(fleet, "huge", lambda at: 300)
    newcomer = settled(fleet, "newcomer", steady, days=days, now=TODAY)
    fleet.count(newcomer, TODAY + 9 * HOUR, 300)
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["newcomer"] * is_found


@pytest.mark.parametrize(("tokens", "is_found"), [(500, False), (520, False), (5000, True)])
def test_what_a_new_agent_takes_is_held_against_the_organization_above_a_floor_only(
    fleet: Fleet, tokens: int, is_found: bool
) -> None:
    settled(fleet, "settled", steady)
    newcomer = fleet.agent("newcomer")
    fleet.count(newcomer, TODAY + 9 * HOUR, tokens)
    fleet.store()
    findings = fleet.findings("spike")
    assert [(one["agentName"], [each["agentName"] for each in one["agents"]]) for one in findings] == [
        (None, ["newcomer"])
    ] * is_found


def test_a_new_organization_has_none(fleet: Fleet) -> None:
    fleet.work(fleet.agent("first"), TODAY - 5 * DAY, NOON, lambda at: 500 * (at.hour % 7 == 0))
    fleet.store()
    assert found(fleet) == []


@pytest.mark.parametrize(
    ("ago", "days", "is_found"),
    [(6, 7, True), (7, 7, False), (0, 1, True), (1, 1, False), (89, 90, True), (30, 30, False)],
)
def test_a_day_is_looked_at_or_it_is_not(fleet: Fleet, ago: int, days: int, is_found: bool) -> None:
    agent_id = settled(fleet, "agent", office, days=170)
    fleet.count(agent_id, TODAY - ago * DAY + (23 * HOUR if ago else HOUR), 300)
    fleet.store()
    assert len(found(fleet, days=days)) == is_found


def test_what_is_counted_after_now_is_not_seen(fleet: Fleet) -> None:
    agent_id = settled(fleet, "agent", office)
    fleet.count(agent_id, TODAY + DAY, 900)
    fleet.store()
    assert found(fleet) == []


def test_what_lasts_for_a_week_is_found_to_its_end(fleet: Fleet) -> None:
    agent_id = settled(fleet, "agent", steady)
    fleet.work(agent_id, TODAY - 6 * DAY, NOON, lambda at: 50)
    fleet.store()
    for days in (1, 3, 7):
        [(_, begins, ends, _)] = found(fleet, days=days)
        assert (begins, ends) == (f"2026-04-{16 - days:02}T00", "2026-04-15T12:00")


def test_a_spike_of_the_past_hides_no_later_one(fleet: Fleet) -> None:
    looping, leaking = settled(fleet, "looping", office), settled(fleet, "leaking", office)
    for agent_id in (looping, leaking):
        for ago in (14, 28):
            fleet.count(agent_id, TODAY - ago * DAY + 9 * HOUR, 4000)
    fleet.count(looping, TODAY + 9 * HOUR, 400)
    fleet.work(leaking, TODAY, NOON, lambda at: 14)
    fleet.store()
    assert {name for name, *_ in found(fleet, days=1)} == {"looping", "leaking"}


def test_slots_are_added_up(fleet: Fleet, database_url: str) -> None:
    agent_id = settled(fleet, "agent", lambda at: 20 * (at.hour == 9), now=TODAY)
    settled(fleet, "huge", lambda at: 3000)
    fleet.count(agent_id, TODAY + 9 * HOUR, 26)
    fleet.store()
    copy = """
        insert into agent_usage_daily
        select (jsonb_populate_record(agent_usage_daily, '{"slot": 1}')).*
        from agent_usage_daily where agent_id = %s and
        """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [fleet.organization_id])
        assert found(fleet) == []
        connection.execute(copy + "day = '2026-04-15'", [agent_id])
        assert found(fleet) == [("agent", "2026-04-15T09", "2026-04-15T10:00", 52)]
        connection.execute(copy + "day < '2026-04-15'", [agent_id])
        assert found(fleet) == []


def test_another_organizations_tokens_change_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    fleet.count(settled(fleet, "ours", office), TODAY + 9 * HOUR, 500)
    fleet.store()
    before = fleet.findings()
    outsiders.count(settled(outsiders, "theirs", office), TODAY + 9 * HOUR, 5000)
    outsiders.store()
    assert fleet.findings() == before
    assert [name for name, *_ in found(outsiders)] == ["theirs"]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_databases_time_zone_changes_nothing(fleet: Fleet, database_url: str, zone: str) -> None:
    fleet.count(settled(fleet, "agent", office), TODAY - 6 * DAY, 400)
    fleet.count(settled(fleet, "before", office), TODAY - 7 * DAY + 23 * HOUR, 400)
    fleet.store()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set timezone to '{zone}'")
    fleet.services.database.close()
    assert found(fleet) == [("agent", "2026-04-09T00", "2026-04-09T01:00", 400)]


@ON_EVERY_POSTGRES
def test_many_agents_in_a_loop_at_once_take_no_more_reading_each(fleet: Fleet) -> None:
    # As when the service that all of them call is down: who is behind an organization's hours is not read for each.
    agents = 30
    for number in range(agents):
        agent_id = settled(fleet, f"agent-{number}", steady, now=TODAY)
        fleet.work(agent_id, TODAY + 4 * HOUR, TODAY + 10 * HOUR, lambda _: 400)
    fleet.store()
    assert len(found(fleet)) == agents
    call = spike.call(Look(at=NOON, days=7, token_ttl=3600, dominance_percent=80))
    with database_of(fleet.services, fleet.organization_id).transaction() as transaction:
        [[[explained]]] = transaction._connection.execute(
            f"explain (analyze, format json) {load_sql(call.name)}",
            {"organization_id": fleet.organization_id, "at": NOON, **call.parameters},
        )
    nodes, read = [explained["Plan"]], 0
    for node in nodes:
        nodes += node.get("Plans", ())
        if node.get("Relation Name") == "agent_usage_daily":
            read += node["Actual Rows"] * node["Actual Loops"]
    # Two weeks of each to find those to look at, and their nine weeks.
    assert read < agents * 100


def test_of_a_huge_organization_the_worst_days_are_judged(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    # The organization's own day is always one of them.
    monkeypatch.setattr(spike, "MOST_DAYS", 3)
    for tokens in (400, 700, 500, 600):
        agent_id = settled(fleet, f"{tokens}", steady)
        fleet.count(agent_id, TODAY + 9 * HOUR, tokens)
    fleet.store()
    assert sorted(name for name, *_ in found(fleet) if name) == ["600", "700"]
