"""``spike``: an agent, or the organization, is issued far more tokens than it usually is at that time."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import psycopg
import pytest

from agentidp.findings import spike, thresholds
from tests.conftest import Clock
from tests.factories import NOON
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
    # Their credentials are created long before, or that would be among the causes.
    clock.now = NOON - 70 * DAY
    looping = settled(fleet, "looping", office)
    settled(fleet, "quiet", steady)
    clock.now = NOON + timedelta(minutes=20)
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
                "baseline": spike.BASELINE,
            },
            "agents": [],
            "agentCount": 1,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "looping was issued 800 tokens in an hour; typically it is 10.",
            "causes": "It is probably in a retry loop: it asks for a token again and again without a pause.",
            "next": "Check its log for what fails after it has a token; revoke its credential if it is not the one "
            "that asks.",
        }
    ]


def test_finds_a_leak_that_takes_little_but_goes_on(fleet: Fleet) -> None:
    agent_id = settled(fleet, "leaking", noise(4, 10, "leaking"), now=TODAY)
    fleet.work(agent_id, TODAY - 2 * DAY, TODAY, lambda at: 12)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert (finding["agentName"], finding["severity"]) == ("leaking", "warning")
    assert finding["causes"].endswith("or somebody else uses its credential.")


def test_finds_a_leak_of_three_nights_of_an_agent_that_works_in_bursts(fleet: Fleet) -> None:
    random = Random("bursts")
    agent_id = settled(
        fleet, "bursting", lambda _: random.choice((3, 6, 15)) if random.random() < 0.35 else 0, now=TODAY
    )
    for night in range(3):
        fleet.work(agent_id, TODAY - (night + 1) * DAY, TODAY - (night + 1) * DAY + 8 * HOUR, lambda _: 6)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert (finding["agentName"], finding["severity"]) == ("bursting", "warning")
    assert finding["summary"] == (
        "bursting was issued 126 tokens in the 8 hours up to 06:00 UTC on Tuesday, 14 April 2026 and the same hours of "
        "the 2 days before; typically it is 0."
    )
    assert (finding["observed"]["value"], finding["expected"]["value"]) == (126, 0)


@pytest.mark.parametrize(("tokens", "expected"), [(40, "info"), (160, "warning")])
def test_a_batch_that_takes_twelve_hours_instead_of_three_is_only_listed(
    fleet: Fleet, tokens: int, expected: str
) -> None:
    batch = settled(fleet, "batch", lambda at: 40 * (2 <= at.hour < 5), now=TODAY - DAY)
    fleet.work(batch, TODAY - DAY + 2 * HOUR, TODAY - DAY + 14 * HOUR, lambda _: tokens)
    fleet.store()
    assert [(one["agentName"], one["severity"]) for one in fleet.findings("spike")] == [("batch", expected)]


def test_a_backfill_that_came_back_is_only_listed_and_says_when_it_was_before(fleet: Fleet) -> None:
    agent_id = settled(fleet, "refilled", steady, now=TODAY)
    for days in (20, 1):
        fleet.work(agent_id, TODAY - days * DAY + 9 * HOUR, TODAY - days * DAY + 13 * HOUR, lambda _: 90)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert finding["severity"] == "info"
    assert finding["summary"].endswith(
        " It is only listed, because a similar spike occurred on Thursday, 26 March 2026."
    )


def test_what_new_agents_do_is_no_spike_of_the_organization(fleet: Fleet) -> None:
    settled(fleet, "settled", steady)
    for number in range(5):
        fleet.work(fleet.agent(f"new {number}"), TODAY, TODAY + 6 * HOUR, lambda at: 200)
    fleet.store()
    assert found(fleet) == []


@pytest.mark.parametrize("of_newcomer", [300, 600])
def test_a_new_agents_spike_explains_its_own_tokens_once(fleet: Fleet, of_newcomer: int) -> None:
    for number in range(10):
        agent_id = settled(fleet, f"settled {number}", steady, now=TODAY)
        fleet.work(agent_id, TODAY, TODAY + HOUR, lambda at: (2000 - of_newcomer) // 10)
    fleet.work(fleet.agent("newcomer"), TODAY, TODAY + HOUR, lambda at: of_newcomer)
    fleet.store()
    assert [name for name, *_ in found(fleet) if name is None] == [None]


def test_a_loop_after_a_leak_is_what_decided(fleet: Fleet) -> None:
    looping = settled(fleet, "looping", lambda _: 20, now=TODAY)
    fleet.work(looping, TODAY - 8 * HOUR, TODAY, lambda at: 14)
    fleet.work(looping, TODAY, TODAY + 4 * HOUR, lambda at: 300)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert finding["observed"]["value"] >= 1200
    assert "In the hour from 00:00 UTC on Wednesday, 15 April 2026 it was issued 300;" in finding["summary"]


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
            "baseline": spike.BASELINE,
        },
        "agents": [
            {"agentId": str(agents[number]), "agentName": f"agent {number}", "count": 22 + number}
            for number in (6, 5, 4, 3, 2)
        ],
        "agentCount": 5,
        "credentialId": None,
        "alsoSeenAs": [],
        "summary": "The organization was issued 175 tokens in an hour; typically it is 14.",
        "causes": "Several agents together ask for more tokens than usual, or new ones do.",
        "next": "Check whether these agents were changed or restarted together, and whether they keep their tokens.",
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
def test_what_is_typical_is_none(fleet: Fleet, clock: Clock, rhythm: Rhythm, now: datetime) -> None:
    clock.now = now
    agent_id = settled(fleet, "as usual", rhythm, now=now + HOUR, days=80)
    fleet.store()
    # Chance may list an hour as info.
    assert [one for one in fleet.findings("spike", days=14) if one["severity"] != "info"] == []
    assert agent_id


@pytest.mark.parametrize(
    ("days", "tokens", "is_found"),
    [
        (0, thresholds.MIN_LOOP - 1, False),
        (0, thresholds.MIN_LOOP, True),
        (3, thresholds.MIN_LOOP - 1, False),
        (3, thresholds.MIN_LOOP, True),
        (3, 2000, True),
        # The last day without a baseline, and the first days with one.
        (13, 2000, True),
        (14, 2000, True),
        (15, 2000, True),
    ],
)
def test_a_new_agent_has_a_limit(fleet: Fleet, days: int, tokens: int, is_found: bool) -> None:
    settled(fleet, "settled", steady)
    newcomer = settled(fleet, "newcomer", steady, days=days, now=TODAY)
    fleet.work(newcomer, TODAY, TODAY + 6 * HOUR, lambda at: tokens)
    fleet.store()
    assert ("newcomer" in [name for name, *_ in found(fleet)]) is is_found


def test_a_new_agent_in_an_old_organization_at_900_an_hour_for_six_hours(fleet: Fleet) -> None:
    for number in range(5):
        settled(fleet, f"settled {number}", noise(40, 10, f"settled {number}"))
    fleet.work(fleet.agent("newcomer"), TODAY, TODAY + 6 * HOUR, lambda at: 900)
    fleet.store()
    assert found(fleet) == [("newcomer", "2026-04-15T00", "2026-04-15T06:00", 5400)]


def test_a_loop_in_an_organization_that_is_three_days_old(fleet: Fleet) -> None:
    fleet.count(settled(fleet, "first", lambda at: 50, days=3), TODAY + 9 * HOUR, 2000)
    fleet.store()
    assert found(fleet) == [("first", "2026-04-15T09", "2026-04-15T10:00", 2050)]


def test_the_same_loop_on_the_same_weekday_of_ten_weeks_is_still_reported(fleet: Fleet) -> None:
    looping = settled(fleet, "looping", office, days=95)
    for weeks in range(10):
        fleet.work(looping, TODAY - weeks * WEEK + 9 * HOUR, TODAY - weeks * WEEK + 12 * HOUR, lambda at: 2000)
    fleet.store()
    assert found(fleet) == [("looping", "2026-04-15T09", "2026-04-15T12:00", 6030)]


def test_an_incident_of_three_days_does_not_hide_the_next_one(fleet: Fleet) -> None:
    looping = settled(fleet, "looping", noise(20, 10, "looping"), days=95)
    fleet.work(looping, TODAY - 31 * DAY, TODAY - 28 * DAY, lambda at: 800)
    fleet.work(looping, TODAY + 9 * HOUR, TODAY + 11 * HOUR, lambda at: 500)
    fleet.store()
    [(name, begins, ends, _)] = found(fleet)
    assert (name, begins, ends) == ("looping", "2026-04-15T09", "2026-04-15T11:00")


def test_a_loop_at_night_of_an_agent_that_is_busy_at_noon(fleet: Fleet) -> None:
    busy = settled(fleet, "busy", lambda at: 1000 if 9 <= at.hour < 17 else 20, now=TODAY)
    fleet.work(busy, TODAY + 3 * HOUR, TODAY + 6 * HOUR, lambda at: 1500)
    fleet.store()
    assert found(fleet) == [("busy", "2026-04-15T03", "2026-04-15T06:00", 4500)]


@pytest.mark.parametrize("number", [4, 60])
def test_many_agents_in_a_loop_from_the_same_hour_on_are_one_finding(fleet: Fleet, number: int) -> None:
    for each in range(number):
        agent_id = settled(fleet, f"agent-{each}", steady, now=TODAY)
        fleet.work(agent_id, TODAY + 4 * HOUR, TODAY + 10 * HOUR, lambda _: 400)
    fleet.store()
    [finding] = fleet.findings("spike")
    assert (finding["agentId"], finding["agentCount"], len(finding["agents"])) == (None, number, min(number, 5))
    assert f"{number} agents" in finding["summary"]
    assert finding["observed"]["value"] == number * 400 * 6


def test_one_loop_is_one_finding_of_all_kinds(fleet: Fleet, clock: Clock) -> None:
    # On a Saturday, so long that it is the month's greatest consumer.
    clock.now = datetime(2026, 4, 18, 12, tzinfo=UTC)
    looping = settled(fleet, "looping", office, now=clock.now)
    settled(fleet, "other", office, now=clock.now)
    fleet.work(looping, clock.now - 36 * HOUR, clock.now, lambda at: 3000)
    fleet.store()
    found = [one for one in fleet.findings() if one["severity"] != "info"]
    assert [(one["agentName"], one["kind"]) for one in found] == [("looping", "uncached_tokens")]
    assert found[0]["severity"] == "critical"
    assert "dominance" in found[0]["alsoSeenAs"]


def test_counts_beyond_four_bytes_are_no_fault(fleet: Fleet) -> None:
    agent_id = settled(fleet, "huge", steady, now=TODAY)
    fleet.count(agent_id, TODAY + 9 * HOUR, 1_500_000_000)
    fleet.store()
    fleet.store_in_another_slot()
    assert [tokens for *_, tokens in found(fleet)] == [3_000_000_000]


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


def test_what_lasts_for_days_is_found_to_its_end(fleet: Fleet) -> None:
    agent_id = settled(fleet, "agent", steady)
    fleet.work(agent_id, TODAY - 3 * DAY, NOON, lambda at: 7)
    fleet.store()
    # From where it began, whatever is asked for: so it stays the same finding.
    windows = {
        window
        for days in (1, 3, 7)
        for _, *window, _ in [tuple(found(fleet, days=days)[0])]
        for window in [tuple(window)]
    }
    assert windows == {("2026-04-12T05", "2026-04-15T12:00")}


def test_slots_are_added_up(fleet: Fleet, database_url: str) -> None:
    agent_id = settled(fleet, "agent", lambda at: 20 * (at.hour == 9), now=TODAY)
    settled(fleet, "huge", lambda at: 3000)
    fleet.count(agent_id, TODAY + 9 * HOUR, 38)
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
        assert found(fleet) == [("agent", "2026-04-15T09", "2026-04-15T10:00", 76)]
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


@pytest.mark.parametrize("limit", ["MAX_SPIKE_SUSPECTS", "MAX_SPIKE_AGENTS"])
def test_looks_first_into_the_agents_that_grew_the_most(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(thresholds, limit, 1)
    looping = settled(fleet, "looping", office)
    settled(fleet, "busy", lambda at: 1000)
    settled(fleet, "quiet", steady)
    fleet.count(looping, NOON - HOUR, 2000)
    fleet.store()
    assert [name for name, *_ in found(fleet)] == ["looping"]
