"""``rejections``: an agent fails to authenticate far more often than it usually does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from agentidp.findings.rejections import percentile_75, usual_if_exceeded
from agentidp.usage import KEEP_NETWORKS, UNKNOWN_AGENT
from tests.conftest import Clock
from tests.factories import NOON
from tests.findings.conftest import Fleet

TODAY = NOON.replace(hour=0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def settled(fleet: Fleet, name: str = "sync", *, days: int = 28, tokens: int = 1, rejected: int = 0) -> UUID:
    """An agent that has been at work at nine on each of so many days before today."""
    agent_id = fleet.agent(name)
    for ago in range(1, days + 1):
        fleet.count(agent_id, TODAY - ago * DAY + timedelta(hours=9), tokens, rejected=rejected)
    return agent_id


def found(fleet: Fleet, **query: int) -> list[tuple[str, str, str, float]]:
    """Name, window and what was observed of each."""
    return [
        (one["agentName"], one["window"]["from"][:13], one["window"]["to"][:16], one["observed"]["value"])
        for one in fleet.findings("rejections", **query)
    ]


def test_says_that_the_new_secret_was_not_rolled_out_where_no_token_was_issued_meanwhile(fleet: Fleet) -> None:
    agent_id = settled(fleet)
    for ago in range(2, 29):
        fleet.count(agent_id, TODAY - ago * DAY + timedelta(hours=12), 5)
    # Still issued in the hour in which the secret was rotated, and again in the one in which it was rolled out.
    fleet.count(agent_id, TODAY - DAY + timedelta(hours=11), 4, rejected=30)
    fleet.count(agent_id, TODAY - DAY + timedelta(hours=12), rejected=1200)
    fleet.count(agent_id, TODAY - DAY + timedelta(hours=13), 2, rejected=10)
    fleet.store()
    assert fleet.findings("rejections") == [
        {
            "kind": "rejections",
            "severity": "critical",
            "agentId": str(agent_id),
            "agentName": "sync",
            "window": {"from": "2026-04-14T11:00:00.000000Z", "to": "2026-04-14T14:00:00.000000Z"},
            "observed": {"value": 1240, "unit": "rejected requests"},
            "expected": {
                "value": 0,
                "unit": "rejected requests",
                "baseline": "the 75th percentile of a day's rejected requests in the 28 days before",
            },
            "agents": [],
            "agentCount": 1,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "1,240 requests of sync failed to authenticate, and no token was issued to it meanwhile; "
            "typically it is issued 5 in that time.",
            "causes": "Its secret was probably rotated, or has expired, and the new one was not rolled out.",
            "next": "Check which of its credentials are valid, and give its instances a valid one.",
        }
    ]


def test_says_that_an_instance_has_the_old_secret_or_somebody_guesses_where_tokens_were_issued(fleet: Fleet) -> None:
    agent_id = settled(fleet, rejected=2)
    for hour in range(8, 12):
        fleet.count(agent_id, TODAY + timedelta(hours=hour), 3, rejected=8)
    fleet.store()
    [finding] = fleet.findings("rejections")
    assert finding == {
        "kind": "rejections",
        "severity": "warning",
        "agentId": str(agent_id),
        "agentName": "sync",
        "window": {"from": "2026-04-15T08:00:00.000000Z", "to": "2026-04-15T12:00:00.000000Z"},
        "observed": {"value": 32, "unit": "rejected requests"},
        "expected": {
            "value": 2,
            "unit": "rejected requests",
            "baseline": "the 75th percentile of a day's rejected requests in the 28 days before",
        },
        "agents": [],
        "agentCount": 1,
        "credentialId": None,
        "alsoSeenAs": [],
        "summary": "32 requests of sync failed to authenticate, while it was still issued 6 tokens.",
        "causes": "An instance of it still has an old secret or tokens that are no longer valid, or somebody is "
        "guessing its secret.",
        "next": "Check where the requests come from: if from its own instances, give them the new secret; if not, "
        "block their source. The secret itself cannot be guessed.",
    }


def test_a_single_token_is_in_the_singular(fleet: Fleet) -> None:
    fleet.count(settled(fleet), TODAY, 1, rejected=40)
    fleet.store()
    [finding] = fleet.findings("rejections")
    assert finding["summary"] == "40 requests of sync failed to authenticate, while it was still issued 1 token."


@pytest.mark.parametrize("change", ["status = 'suspended'", "deleted_at = now()"])
def test_says_that_something_uses_an_agent_that_is_suspended_or_deleted(
    fleet: Fleet, database_url: str, change: str
) -> None:
    agent_id = settled(fleet)
    fleet.count(agent_id, TODAY, rejected=40)
    fleet.store()
    with psycopg.connect(database_url) as connection:
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [fleet.organization_id])
        connection.execute(f"update agents set {change} where agent_id = %s", [agent_id])
    [finding] = fleet.findings("rejections")
    assert finding["severity"] == "warning"
    assert finding["summary"] == "40 requests of sync failed to authenticate, and it is suspended or deleted."
    assert finding["causes"] == "Something still uses its credential or its tokens."


@pytest.mark.parametrize(
    ("usual", "rejected", "is_found"),
    [(0, 14, False), (0, 15, True), (4, 15, True), (7, 21, False), (7, 22, True), (50, 150, False), (50, 151, True)],
)
def test_is_found_from_the_floor_and_above_three_times_the_usual(
    fleet: Fleet, usual: int, rejected: int, is_found: bool
) -> None:
    fleet.count(settled(fleet, rejected=usual), TODAY, rejected=rejected)
    fleet.store()
    assert len(found(fleet)) == is_found


def test_an_agent_that_rests_at_weekends_has_quiet_days_too(fleet: Fleet) -> None:
    agent_id = fleet.agent("office")
    for ago in range(1, 29):
        day = TODAY - ago * DAY
        if day.weekday() < 5:
            fleet.count(agent_id, day, 1, rejected=10)
    fleet.count(agent_id, TODAY, rejected=30)
    fleet.store()
    # 20 of the 28 days have 10, so that is what is usual: 30 is not above three times as much.
    assert found(fleet) == []


def test_days_on_which_nothing_is_counted_are_quiet_ones(fleet: Fleet) -> None:
    agent_id = fleet.agent("weekly")
    for ago in (7, 14, 21, 28):
        fleet.count(agent_id, TODAY - ago * DAY, 1, rejected=20)
    fleet.count(agent_id, TODAY, rejected=30)
    fleet.store()
    assert found(fleet) == [("weekly", "2026-04-15T00", "2026-04-15T01:00", 30)]


@pytest.mark.parametrize(("bad_days", "is_found"), [(7, True), (8, False)])
def test_what_goes_on_for_more_than_a_week_becomes_usual(fleet: Fleet, bad_days: int, is_found: bool) -> None:
    agent_id = settled(fleet)
    for ago in range(bad_days + 1):
        fleet.count(agent_id, TODAY - ago * DAY, rejected=40)
    fleet.store()
    assert found(fleet, days=1) == [("sync", "2026-04-15T00", "2026-04-15T01:00", 40)] * is_found


def test_days_that_follow_one_another_are_one_finding_and_others_are_not(fleet: Fleet) -> None:
    agent_id = settled(fleet)
    fleet.count(agent_id, TODAY - 5 * DAY + timedelta(hours=3), rejected=20)
    fleet.count(agent_id, TODAY - 3 * DAY + timedelta(hours=23), rejected=25)
    fleet.count(agent_id, TODAY - 2 * DAY, rejected=21)
    fleet.count(agent_id, TODAY - 2 * DAY + timedelta(hours=5), rejected=1)
    fleet.store()
    assert found(fleet) == [
        ("sync", "2026-04-12T23", "2026-04-13T06:00", 47),
        ("sync", "2026-04-10T03", "2026-04-10T04:00", 20),
    ]


def test_the_window_leaves_out_hours_with_no_more_than_usual(fleet: Fleet) -> None:
    agent_id = settled(fleet, rejected=24)
    fleet.count(agent_id, TODAY + timedelta(hours=1), rejected=3)  # three times a usual hour
    fleet.count(agent_id, TODAY + timedelta(hours=2), rejected=4)
    fleet.count(agent_id, TODAY + timedelta(hours=4), rejected=70)
    fleet.count(agent_id, TODAY + timedelta(hours=6), rejected=3)
    fleet.store()
    assert found(fleet) == [("sync", "2026-04-15T02", "2026-04-15T05:00", 74)]


def test_the_hour_that_runs_ends_now(fleet: Fleet, clock: Clock) -> None:
    agent_id = settled(fleet)
    fleet.count(agent_id, NOON, rejected=20)
    fleet.store()
    clock.advance(minutes=10)
    assert found(fleet) == [("sync", "2026-04-15T12", "2026-04-15T12:10", 20)]


@pytest.mark.parametrize(("ago", "days", "is_found"), [(6, 7, True), (7, 7, False), (0, 1, True), (1, 1, False)])
def test_a_day_is_looked_at_or_it_is_not(fleet: Fleet, ago: int, days: int, is_found: bool) -> None:
    fleet.count(settled(fleet), TODAY - ago * DAY + timedelta(hours=23 if ago else 0), rejected=20)
    fleet.store()
    assert len(found(fleet, days=days)) == is_found


def test_what_is_counted_after_now_is_not_seen(fleet: Fleet) -> None:
    fleet.count(settled(fleet), TODAY + DAY, rejected=900)
    fleet.store()
    assert found(fleet) == []


@pytest.mark.parametrize("now", [datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)])
def test_a_leap_day_and_a_months_first_day_are_days_like_others(fleet: Fleet, clock: Clock, now: datetime) -> None:
    clock.now = now
    for name, rejected in (("steady", 24), ("failing", 90)):
        agent_id = fleet.agent(name)
        fleet.work(agent_id, now - 40 * DAY, now, lambda at: 1, rejected=1)
        fleet.count(agent_id, now.replace(hour=3), rejected=rejected)
    fleet.store()
    assert found(fleet, days=1) == [("failing", f"{now.date()}T03", f"{now.date()}T04:00", 91)]


def test_slots_are_added_up(fleet: Fleet, database_url: str) -> None:
    agent_id = settled(fleet, rejected=5)
    fleet.count(agent_id, TODAY + timedelta(hours=7), rejected=14)
    fleet.store()
    assert found(fleet) == []
    with psycopg.connect(database_url) as connection:
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [fleet.organization_id])
        connection.execute(
            """
            insert into agent_usage_daily
            select (jsonb_populate_record(agent_usage_daily, '{"slot": 1}')).*
            from agent_usage_daily where agent_id = %s and day = '2026-04-15'
            """,
            [agent_id],
        )
        assert found(fleet) == []  # not committed
        connection.commit()
        assert found(fleet) == [("sync", "2026-04-15T07", "2026-04-15T08:00", 28)]
        # The past's slots too: 10 a day is more than a third of 28.
        connection.execute(
            """
            insert into agent_usage_daily
            select (jsonb_populate_record(agent_usage_daily, '{"slot": 1}')).*
            from agent_usage_daily where agent_id = %s and day < '2026-04-15'
            """,
            [agent_id],
        )
        connection.commit()
    assert found(fleet) == []


def test_another_organizations_rejections_change_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    fleet.count(settled(fleet), TODAY, rejected=50)
    fleet.store()
    before = fleet.findings()
    outsiders.count(settled(outsiders, "theirs"), TODAY, rejected=5000)
    outsiders.store()
    assert fleet.findings() == before
    assert [name for name, *_ in found(outsiders)] == ["theirs"]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_databases_time_zone_changes_nothing(fleet: Fleet, database_url: str, zone: str) -> None:
    fleet.count(settled(fleet), TODAY - 6 * DAY, rejected=40)
    fleet.count(settled(fleet, "before"), TODAY - 7 * DAY + 23 * HOUR, rejected=40)
    fleet.store()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set timezone to '{zone}'")
    fleet.services.database.close()
    assert found(fleet) == [("sync", "2026-04-09T00", "2026-04-09T01:00", 40)]


def test_guessing_at_a_time_at_which_the_agent_rests_is_not_explained_as_a_rotated_secret(fleet: Fleet) -> None:
    agent_id = settled(fleet)  # at nine
    fleet.work(agent_id, TODAY + HOUR, TODAY + 4 * HOUR, lambda at: 0)
    for hour in (1, 2, 3):
        fleet.count(agent_id, TODAY + hour * HOUR, rejected=300)
    fleet.store()
    [finding] = fleet.findings("rejections")
    assert finding["severity"] == "warning"
    assert finding["summary"] == "900 requests of sync failed to authenticate, at a time at which it usually rests."
    assert finding["causes"].endswith("or somebody is guessing its secret.")


def test_names_the_reasons_and_the_networks_of_its_days(fleet: Fleet, database_url: str) -> None:
    agent_id, other = settled(fleet), fleet.agent("other")
    fleet.count(agent_id, TODAY - DAY + 22 * HOUR, rejected=1300)
    fleet.store()
    sources = [
        (-1, agent_id, "192.0.2.0/24", "revoked credential", 1200),
        (-1, agent_id, "198.51.100.0/24", "revoked credential", 60),
        (-1, agent_id, "198.51.100.0/24", "wrong secret", 30),
        (-1, agent_id, "203.0.113.0/24", "wrong secret", 5),
        (-1, agent_id, "2001:db8:1::/48", "wrong secret", 5),
        # Not of its days, and not of this agent.
        (-2, agent_id, "10.0.0.0/24", "unknown", 9999),
        (0, agent_id, "10.0.0.0/24", "unknown", 9999),
        (-1, other, "10.0.0.0/24", "unknown", 9999),
    ]
    with psycopg.connect(database_url) as connection:
        for day, whose, *source in sources:
            connection.execute(
                "insert into rejected_networks values (%s, %s, %s, %s, %s, %s)",
                [fleet.organization_id, (TODAY + day * DAY).date(), whose, *source],
            )
    [finding] = fleet.findings("rejections")
    assert finding["summary"] == (
        "1,300 requests of sync failed to authenticate, at a time at which it usually rests. "
        "Reasons: revoked credential (1,260), wrong secret (40). "
        "Networks: 192.0.2.0/24 (1,200), 198.51.100.0/24 (90), 2001:db8:1::/48 (5) and 1 more."
    )


def test_names_no_network_that_is_older_than_thirty_days(fleet: Fleet, database_url: str) -> None:
    agent_id = settled(fleet, days=70)
    for ago in (KEEP_NETWORKS - 1, KEEP_NETWORKS):
        fleet.count(agent_id, TODAY - ago * DAY, rejected=40)
    fleet.store()
    with psycopg.connect(database_url) as connection:
        for ago in (KEEP_NETWORKS - 1, KEEP_NETWORKS):
            connection.execute(
                "insert into rejected_networks values (%s, %s, %s, '192.0.2.0/24', 'wrong secret', %s)",
                [fleet.organization_id, (TODAY - ago * DAY).date(), agent_id, ago],
            )
    [finding] = fleet.findings("rejections", days=40)
    assert finding["summary"].endswith(f"Networks: 192.0.2.0/24 ({KEEP_NETWORKS - 1}).")


@pytest.mark.parametrize(("rejected", "is_many"), [(14, False), (15, True)])
def test_a_handful_is_never_many(rejected: int, is_many: bool) -> None:
    assert (usual_if_exceeded([0] * 28 + [rejected], 28, [0]) is not None) is is_many


@pytest.mark.parametrize(("rejected", "is_many"), [(60, False), (61, True)])
def test_many_are_more_than_three_times_the_percentile_of_28_days(rejected: int, is_many: bool) -> None:
    # What is older, and the days before the agent's first one, are not among them.
    counts = [900] * 2 + [20] * 28 + [rejected]
    assert (usual_if_exceeded(counts, 30, range(30)) is not None) is is_many
    assert usual_if_exceeded(counts, 30, [0, 29]) == (20 if is_many else None)


def test_a_new_agent_had_no_quiet_days_before_its_first_one(fleet: Fleet) -> None:
    for name, days in (("new", 5), ("steady", 40)):
        settled(fleet, name, days=days, rejected=20)
    fleet.store()
    # Of the new one its first day alone, before which nothing was usual.
    assert found(fleet) == [("new", "2026-04-10T09", "2026-04-10T10:00", 20)]


@pytest.mark.parametrize("days", [7, 30])
def test_an_agent_that_comes_back_is_judged_alike_however_far_back_one_looks(fleet: Fleet, days: int) -> None:
    agent_id = settled(fleet, "returned", days=5, rejected=20)
    fleet.count(agent_id, TODAY - 45 * DAY, tokens=1)
    fleet.store()
    found = fleet.findings("rejections", days=days)
    assert [one["observed"]["value"] for one in found] == [20]


def test_the_75th_percentile_is_not_exceeded_by_three_quarters() -> None:
    assert [percentile_75([]), percentile_75([7]), percentile_75([4, 1, 3, 2]), percentile_75([5, 4, 1, 3, 2])] == [
        0,
        7,
        3,
        4,
    ]


def test_subjects_that_get_no_agent_are_named_as_such(fleet: Fleet) -> None:
    settled(fleet)
    fleet.count(UNKNOWN_AGENT, TODAY + 9 * HOUR, rejected=120)
    fleet.store()
    [finding] = fleet.findings("rejections")
    assert (finding["severity"], finding["agentId"], finding["agentName"]) == ("warning", None, None)
    assert finding["summary"].startswith("120 requests of subjects that have no agent failed to authenticate.")
