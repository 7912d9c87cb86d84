"""``uncached_tokens``: an agent that asks for a token before each call, day after day."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from agentidp.findings import thresholds
from agentidp.findings.uncached_tokens import habit_of
from agentidp.oauth import issuance
from agentidp.registry.resource_servers import add_resource_server, update_resource_server
from agentidp.services import Services
from tests.citus import REFUSED_BY_CITUS
from tests.factories import Clock, database_of
from tests.findings.conftest import Fleet

pytestmark = pytest.mark.slow

TODAY = datetime(2026, 4, 15, tzinfo=UTC)
OFFICE = range(9, 17)
"""Hours of a day."""

FOUND = ["worker"]


def at(days_ago: int, hour: int = 0) -> datetime:
    """An hour of a day."""
    return TODAY - timedelta(days=days_ago) + timedelta(hours=hour)


def works(
    fleet: Fleet,
    agent_id: UUID,
    days_ago: Iterable[int],
    hours: Iterable[int],
    tokens: int | Callable[[datetime], int],
) -> None:
    """Count tokens in hours of days, and ten requests beside them."""
    for day in days_ago:
        for hour in hours:
            when = at(day, hour)
            fleet.count(agent_id, when, tokens if isinstance(tokens, int) else tokens(when), requests=10)


def names(found: list[dict[str, Any]]) -> list[str]:
    return [one["agentName"] for one in found]


def test_says_how_many_were_issued_and_how_many_suffice(fleet: Fleet) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, [1, 2, 3], OFFICE, 160)
    works(fleet, worker, [0], range(9, 12), 160)
    # Excluded: the day before, on which it cached.
    works(fleet, worker, [4], OFFICE, 1)
    works(fleet, fleet.agent("thrifty"), range(7), range(24), 1)
    fleet.store()
    assert fleet.findings("uncached_tokens") == [
        {
            "kind": "uncached_tokens",
            "severity": "warning",
            "agentId": str(worker),
            "agentName": "worker",
            "window": {"from": "2026-04-12T00:00:00.000000Z", "to": "2026-04-15T12:00:00.000000Z"},
            "observed": {"value": 4320, "unit": "tokens"},
            "expected": {"value": 27, "unit": "tokens", "baseline": "one each 3600 seconds in its active hours"},
            "agents": [],
            "agentCount": 1,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "worker was issued 4,320 tokens on 4 days; it needed 27.",
            "causes": "It asks for a new token before each call instead of keeping the one that it has, or very many "
            "instances of it run.",
            "next": "Make it keep its token for the 3600 seconds of expires_in, which would have saved 4,293 tokens. "
            "If its instances are short-lived, let them share one. If many instances run, declare how many: "
            "agentidp agent update --expected-replicas.",
        }
    ]


def issue(fleet: Fleet, agent_id: UUID, when: datetime, resource: str | None, number: int) -> None:
    """Let the agent get so many tokens for a resource in the hour."""
    digest = os.urandom(32)
    with fleet.services.database.of(fleet.organization_id, when).transaction() as opened:
        opened.fetch(
            "agents/add_credential",
            agent_id=agent_id,
            credential_id=uuid4(),
            secret_hash=digest,
            jwks=None,
            trust=None,
            label=None,
            expires_at=None,
            most=1000,
        )
        client = issuance.Client(fleet.organization_id, agent_id, secret_hash=digest)
        call = issuance.issuing(client, scope=None, resource=resource, has_proof=False)
        for _ in range(number):
            [issued] = opened.run(call)
            assert issued.scope is not None


def change_server(fleet: Fleet, server_id: UUID, **change: Any) -> None:
    """What ``PATCH /api/v1/resource-servers/{resourceServerId}`` does."""
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        update_resource_server(opened, fleet.services.settings, server_id, change)


def test_tokens_for_a_resource_server_that_wants_one_for_each_call_are_left_out(fleet: Fleet, outsiders: Fleet) -> None:
    per_call, other = (f"https://{name}.example/{uuid4()}" for name in ("pay", "files"))
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        server, _ = (
            add_resource_server(opened, fleet.services.settings, resource=resource, name="one", scopes=[])
            for resource in (per_call, other)
        )
    worker, both = fleet.agent("worker"), fleet.agent("both")
    for day in (1, 2, 3):
        for hour in range(4):
            issue(fleet, worker, at(day, 8 + hour), per_call, 12)
            issue(fleet, both, at(day, 8 + hour), per_call, 12)
        # In an hour in which it needs no other token.
        issue(fleet, both, at(day, 8), other, 30)
    assert {one["agentName"]: one["observed"]["value"] for one in fleet.findings("uncached_tokens")} == {
        "worker": 3 * 48,
        "both": 3 * 78,
    }
    change_server(fleet, server.resource_server_id, token_per_call=True)
    [found] = fleet.findings("uncached_tokens")
    assert (found["agentName"], found["observed"]["value"], found["expected"]["value"]) == ("both", 3 * 30, 3)
    change_server(fleet, server.resource_server_id, token_per_call=False, token_ttl=3600)
    assert len(fleet.findings("uncached_tokens")) == 2
    # More of them are needed than of others.
    change_server(fleet, server.resource_server_id, token_ttl=3599)
    assert [one["agentName"] for one in fleet.findings("uncached_tokens")] == ["both"]
    change_server(fleet, server.resource_server_id, token_ttl=None)
    assert len(fleet.findings("uncached_tokens")) == 2
    # What another organization wants of its own resource servers says nothing of this one's.
    with database_of(outsiders.services, outsiders.organization_id).transaction() as opened:
        opened._connection.execute(
            "insert into resource_servers values (%s, gen_random_uuid(), %s, 'one', '{}', now(), true)",
            [outsiders.organization_id, per_call],
        )
    assert len(fleet.findings("uncached_tokens")) == 2


def test_ends_with_its_last_day_where_it_has_ended(fleet: Fleet) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, [2, 3], OFFICE, 60)
    works(fleet, worker, [1], OFFICE, 1)
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert found["window"] == {"from": "2026-04-12T00:00:00.000000Z", "to": "2026-04-14T00:00:00.000000Z"}


@pytest.mark.parametrize(
    ("tokens", "is_found"),
    [
        (10, False),  # ten instances that keep their token
        (11, True),
    ],
)
def test_is_found_above_the_factor_only(fleet: Fleet, tokens: int, is_found: bool) -> None:
    works(fleet, fleet.agent("worker"), [1, 2], OFFICE, tokens)
    fleet.store()
    assert names(fleet.findings("uncached_tokens")) == FOUND * is_found


@pytest.mark.parametrize(("tokens", "is_found"), [(14, False), (15, True)])
def test_a_day_of_few_tokens_is_none(fleet: Fleet, tokens: int, is_found: bool) -> None:
    # 28 and 30 on each day, against two that are needed.
    works(fleet, fleet.agent("worker"), [1, 2], [9, 14], tokens)
    fleet.store()
    assert names(fleet.findings("uncached_tokens")) == FOUND * is_found


@pytest.mark.parametrize(
    ("days_ago", "is_found"),
    [
        ([1], False),  # an incident
        ([0, 1], True),
        ([1, 4], True),  # idle between them, so in a row
        ([6, 7], False),  # the second lies before the days looked at, but is not read either
        ([7, 8], False),
    ],
)
def test_is_found_on_two_days_in_a_row(fleet: Fleet, days_ago: list[int], is_found: bool) -> None:
    works(fleet, fleet.agent("worker"), days_ago, range(11), 160)
    fleet.store()
    assert names(fleet.findings("uncached_tokens")) == FOUND * is_found


def test_days_with_thrifty_ones_between_them_are_not_in_a_row(fleet: Fleet) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, [1, 3, 5], OFFICE, 60)
    works(fleet, worker, [2, 4], OFFICE, 1)
    fleet.store()
    assert fleet.findings("uncached_tokens") == []


@pytest.mark.parametrize(("days", "is_found"), [(1, False), (2, True), (90, True)])
def test_a_habit_is_found_on_a_day_that_is_looked_at_though_it_began_before(
    fleet: Fleet, days: int, is_found: bool
) -> None:
    works(fleet, fleet.agent("worker"), [1, 2], OFFICE, 60)
    fleet.store()
    assert names(fleet.findings("uncached_tokens", days=days)) == FOUND * is_found


@pytest.mark.parametrize(("days_ago", "is_found"), [([12, 13], True), ([13, 14], False)])
def test_a_habit_that_ended_two_weeks_ago_is_not_found_however_far_one_looks(
    fleet: Fleet, days_ago: list[int], is_found: bool
) -> None:
    works(fleet, fleet.agent("worker"), days_ago, OFFICE, 60)
    fleet.store()
    assert names(fleet.findings("uncached_tokens", days=90)) == FOUND * is_found


def test_the_latest_habit_of_an_agent_is_the_one_that_is_reported(fleet: Fleet) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, [5, 6, 1, 2], OFFICE, 60)
    works(fleet, worker, [3, 4], OFFICE, 1)
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert found["window"] == {"from": "2026-04-13T00:00:00.000000Z", "to": "2026-04-15T00:00:00.000000Z"}


@pytest.mark.parametrize(
    ("loops", "is_found"),
    [
        ([(1, 9), (1, 10), (1, 11)], False),
        # On the day before as well: twice in a row, but in fewer than half of the active hours.
        ([(day, hour) for day in (1, 2) for hour in (9, 10, 11)], False),
        ([(day, hour) for day in (1, 2) for hour in (9, 10, 11, 12)], True),
    ],
)
def test_a_retry_loop_of_a_few_hours_is_no_habit(fleet: Fleet, loops: list[tuple[int, int]], is_found: bool) -> None:
    worker = fleet.agent("worker")
    hours_of_loops = {at(*loop) for loop in loops}
    works(fleet, worker, range(1, 7), OFFICE, lambda when: 3600 if when in hours_of_loops else 1)
    fleet.store()
    assert names(fleet.findings("uncached_tokens")) == FOUND * is_found


def test_a_client_that_begins_to_do_it_is_found_on_the_second_day(fleet: Fleet, clock: Clock) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, range(2, 160), range(24), 1)
    works(fleet, worker, [1], range(12), 1)
    works(fleet, worker, [1], range(12, 24), 160)
    works(fleet, worker, [0], range(2), 160)
    fleet.store()
    clock.now = at(1, 23)
    assert names(fleet.findings("uncached_tokens")) == []
    clock.now = at(0, 2)
    assert names(fleet.findings("uncached_tokens")) == FOUND


def test_new_agents_and_crowds_of_instances_that_keep_their_tokens_are_not_found(fleet: Fleet) -> None:
    works(fleet, fleet.agent("new"), [0], [10], 100)
    # Ten instances around the clock, and three that start again each hour.
    works(fleet, fleet.agent("crowd"), range(7), range(24), 10)
    works(fleet, fleet.agent("restarted"), range(7), range(24), 3)
    # A holiday, then all at once.
    works(fleet, fleet.agent("rested"), [0], range(11), 60)
    fleet.store()
    assert fleet.findings("uncached_tokens") == []


class TestLifetimes:
    """How many tokens are needed depends on how long a token lives."""

    @pytest.fixture
    def token_ttl(self) -> int:
        """Seconds."""
        return 3600

    @pytest.fixture
    def fleet(self, app: Flask, fleet: Fleet, token_ttl: int, monkeypatch: pytest.MonkeyPatch) -> Fleet:
        """Of a service with that lifetime, until the test ends: others share the application."""
        settings = dataclasses.replace(fleet.services.settings, token_ttl=token_ttl)
        services: Services = dataclasses.replace(fleet.services, settings=settings)
        monkeypatch.setitem(app.extensions, "agentidp", services)
        return fleet

    @pytest.mark.parametrize(
        ("token_ttl", "hours", "tokens", "fewest"),
        [
            # Two days each; tokens an hour, of which the factor is 10 times what is needed.
            (3600, range(9, 17), 11, 16),
            (3600, range(9, 17), 10, None),
            (3600, [9, 11, 13], 11, 6),
            (300, range(9, 17), 121, 192),
            (300, range(9, 17), 120, None),
            (300, [9], 121, 24),
            # Five fit into an hour and a bit; a run of two hours needs eleven, not twice six.
            (700, [9, 10], 56, 22),
            (5400, range(9, 12), 11, 4),
            # Idle at 10: within the life of a token that lasts as long, and not of one that lasts less.
            (7200, [9, 11], 16, 4),
            (7199, [9, 11], 16, 4),
            (7200, [9, 11, 13, 15], 21, 8),
            (7200, [9, 11, 13, 15], 10, None),
            # One token spans a day, whatever is idle in it.
            (86_400, [0, 23], 15, 2),
            (86_400, range(24), 2, 2),
            (86_400, [0, 8, 16], 10, 2),
            # A job that begins again each hour.
            (86_400, range(24), 1, None),
            # Forty instances that start in the morning.
            (86_400, range(9, 17), 0, None),
        ],
    )
    def test_the_fewest_follow_the_lifetime_and_the_active_hours(
        self, fleet: Fleet, hours: Iterable[int], tokens: int, fewest: int | None
    ) -> None:
        worker = fleet.agent("worker")
        works(fleet, worker, [1, 2], hours, tokens)
        if not tokens:
            works(fleet, worker, [1, 2], [9], 40)
        fleet.store()
        found = fleet.findings("uncached_tokens")
        assert [one["expected"]["value"] for one in found] == ([] if fewest is None else [fewest])


@pytest.mark.parametrize("today", [datetime(2026, 4, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)], ids=str)
def test_a_habit_crosses_months_and_leap_days(fleet: Fleet, clock: Clock, today: datetime) -> None:
    clock.now = today + timedelta(hours=12)
    worker = fleet.agent("worker")
    for day in range(3):
        for hour in range(9, 12):
            fleet.count(worker, today + timedelta(hours=hour) - timedelta(days=day), 60)
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert (found["observed"]["value"], found["expected"]["value"]) == (540, 9)


@REFUSED_BY_CITUS
def test_slots_are_added_up(fleet: Fleet) -> None:
    works(fleet, fleet.agent("worker"), [1, 2], OFFICE, 12)
    works(fleet, fleet.agent("thrifty"), [1, 2], range(24), 10)
    fleet.store()
    before = fleet.findings("uncached_tokens")
    assert names(before) == FOUND
    with database_of(fleet.services, fleet.organization_id).transaction() as transaction:
        # Half of each hour is counted in a slot of its own.
        transaction._connection.execute(
            """
            with halves as (
                select *,
                    (select array_agg(n / 2 order by h) from unnest(tokens_by_hour) with ordinality as t (n, h)) as t2,
                    (select array_agg(n / 2 order by h) from unnest(requests_by_hour) with ordinality as r (n, h)) as r2
                from agent_usage_daily
            ),
            halved as (
                update agent_usage_daily as usage
                set tokens = halves.tokens / 2, requests = halves.requests / 2,
                    tokens_by_hour = t2, requests_by_hour = r2
                from halves
                where (usage.day, usage.agent_id, usage.slot) = (halves.day, halves.agent_id, halves.slot)
            )
            insert into agent_usage_daily
            select organization_id, day, agent_id, 3, tokens / 2, requests / 2, rejected, t2, r2, rejected_by_hour
            from halves
            """
        )
    assert fleet.findings("uncached_tokens") == before


def test_the_greatest_waste_comes_first_and_twenty_agents_are_named(fleet: Fleet) -> None:
    for number in range(21):
        works(fleet, fleet.agent(f"worker {number:02}"), [1, 2], OFFICE, 20 + number)
    fleet.store()
    found = fleet.findings("uncached_tokens")
    assert sorted(names(found)) == [f"worker {number:02}" for number in range(1, 21)]


def test_a_deleted_agent_is_not_named(fleet: Fleet) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, [1, 2], OFFICE, 60)
    fleet.store()
    assert names(fleet.findings("uncached_tokens")) == FOUND
    assert fleet.client.delete(f"/api/v1/agents/{worker}", headers=fleet.reader.bearer()).status_code == 204
    assert fleet.findings("uncached_tokens") == []


def test_another_organizations_habits_change_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    works(fleet, fleet.agent("worker"), [1, 2], OFFICE, 60)
    fleet.store()
    before = fleet.findings()
    works(outsiders, outsiders.agent("stranger"), [1, 2], OFFICE, 600)
    outsiders.store()
    assert fleet.findings() == before
    assert names(outsiders.findings("uncached_tokens")) == ["stranger"]


def calls(mean: int, seed: str) -> Callable[[datetime], int]:
    """As many calls an hour as chance makes of the mean, each of which asks for a token."""
    random = Random(seed)
    return lambda when: sum(random.random() < mean / 1000 for _ in range(1000))


def replicas(number: int, seed: str) -> Callable[[datetime], int]:
    """As many instances that keep their tokens and renew them a little early: now and then one asks twice an hour."""
    random = Random(seed)
    return lambda when: number + sum(random.random() < 0.05 for _ in range(number))


@pytest.mark.parametrize(
    ("tokens", "is_found"),
    [
        (replicas(12, "a"), False),
        (replicas(40, "b"), False),
        (calls(12, "c"), True),
        (calls(40, "d"), True),
        (lambda when: 100, False),
        (lambda when: 101, True),  # steadier than chance, but too many to be instances
    ],
)
def test_replicas_that_keep_their_tokens_are_not_reported(
    fleet: Fleet, tokens: Callable[[datetime], int], is_found: bool
) -> None:
    works(fleet, fleet.agent("worker"), range(1, 14), range(24), tokens)
    fleet.store()
    assert names(fleet.findings("uncached_tokens")) == FOUND * is_found


@pytest.mark.parametrize(
    ("declared", "tokens", "is_found"),
    [
        (12, 120, False),  # ten times what twelve need
        (12, 121, True),
        (None, 120, True),  # steadier than chance, but too many to be instances
        (2, 20, False),
        (2, 21, True),  # though it is as steady as 21 instances
        (None, 21, False),
        (1, 11, True),
    ],
)
def test_declared_replicas_need_a_token_each(fleet: Fleet, declared: int | None, tokens: int, is_found: bool) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, range(1, 14), range(24), tokens)
    fleet.store()
    declare(fleet, worker, declared)
    assert names(fleet.findings("uncached_tokens")) == FOUND * is_found


@pytest.mark.parametrize(
    ("declared", "token_ttl", "tokens", "is_found"),
    [
        (12, 3600, 120, False),
        (12, 3600, 121, True),
        (12, 1800, 240, False),
        (12, 1800, 241, True),
        (12, 7200, 60, False),
        (12, 7200, 61, True),
        (None, 3600, 100, False),  # instances, as far as one can see
        (None, 3600, 101, True),
        (10_000, 3600, 100_000, False),
    ],
)
def test_declared_replicas_are_judged_by_the_lifetime(
    declared: int | None, token_ttl: int, tokens: int, is_found: bool
) -> None:
    hours = 2 * 24
    habit = habit_of([tokens] * hours, [tokens] * hours, token_ttl, 0, declared)
    assert (habit is not None) == is_found


def declare(fleet: Fleet, agent_id: UUID, replicas: int | None) -> None:
    """By the API."""
    path, change = f"/api/v1/agents/{agent_id}", {"expectedReplicas": replicas}
    assert fleet.client.patch(path, json=change, headers=fleet.reader.bearer()).status_code == 200


@pytest.mark.parametrize(("declared", "replicas"), [(1, "1 declared replica"), (12, "12 declared replicas")])
def test_names_the_declared_replicas(fleet: Fleet, declared: int, replicas: str) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, [1, 2], OFFICE, 400)
    fleet.store()
    declare(fleet, worker, declared)
    [found] = fleet.findings("uncached_tokens")
    assert found["severity"] == "warning"
    assert found["expected"]["value"] == 16 * declared
    assert found["expected"]["baseline"] == f"one each 3600 seconds in its active hours, for {replicas}"
    assert found["summary"] == f"worker was issued 6,400 tokens on 2 days; its {replicas} needed {16 * declared}."
    assert found["causes"].endswith(", or more instances of it run than are declared.")


def test_agents_that_need_what_they_declare_take_no_place_of_those_that_waste(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "MAX_UNCACHED_SUSPECTS", 1)
    crowd = fleet.agent("crowd")
    works(fleet, crowd, [1, 2], OFFICE, 1_000)
    works(fleet, fleet.agent("worker"), [1, 2], OFFICE, 60)
    fleet.store()
    assert names(fleet.findings("uncached_tokens")) == ["crowd"]
    declare(fleet, crowd, 1_000)
    assert names(fleet.findings("uncached_tokens")) == FOUND


@pytest.mark.parametrize(("tokens", "severity"), [(25, "info"), (26, "warning")])
def test_a_little_too_many_are_only_listed(fleet: Fleet, tokens: int, severity: str) -> None:
    works(fleet, fleet.agent("worker"), [1, 2], OFFICE, tokens)
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert found["severity"] == severity


@pytest.mark.parametrize(
    ("days", "without", "severity"),
    [
        (14, [], "warning"),
        # By design: listed, and no warning again after a day of rest or of little work.
        (15, [], "info"),
        (40, [3], "info"),
    ],
)
def test_what_an_agent_has_done_for_two_weeks_is_no_news(
    fleet: Fleet, days: int, without: list[int], severity: str
) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, sorted({*range(1, days), *([0] if days > 14 else [])} - {*without}), OFFICE, 160)
    works(fleet, worker, without, OFFICE, 1)
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert found["severity"] == severity


@pytest.mark.parametrize(("weekends", "severity"), [(4, "warning"), (5, "info")])
def test_what_comes_back_each_weekend_is_no_news(fleet: Fleet, weekends: int, severity: str) -> None:
    # A pipeline has 40 jobs each night, and by day one token an hour. At the weekend the night is all that there is.
    pipeline = fleet.agent("pipeline")
    days = range(7 * weekends)
    works(fleet, pipeline, days, [3], 40)
    works(fleet, pipeline, [day for day in days if at(day).weekday() < 5], OFFICE, 1)
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert (found["severity"], found["observed"]["value"]) == (severity, 80)


def test_a_token_for_each_job_by_design_is_one_finding_that_says_what_could_be_saved(
    fleet: Fleet, clock: Clock
) -> None:
    works(fleet, fleet.agent("worker"), range(60), OFFICE, 160)
    fleet.store()
    found = []
    for days_ago in range(20, -1, -4):
        clock.now = at(days_ago, 18)
        found += [one for one in fleet.listed()["data"] if one["kind"] == "uncached_tokens"]
    assert len(found) == 6
    assert len({one["findingId"] for one in found}) == 1
    assert {one["severity"] for one in found} == {"info"}
    assert "which would have saved" in found[-1]["next"]


def test_a_habit_that_wastes_several_times_as_much_is_news_again(fleet: Fleet) -> None:
    worker = fleet.agent("worker")
    works(fleet, worker, range(3, 30), OFFICE, 40)
    works(fleet, worker, [1, 2], OFFICE, 200)
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert (found["severity"], found["window"]["from"][:10]) == ("warning", at(2).date().isoformat())


def test_instances_that_stop_keeping_their_tokens_are_news(fleet: Fleet) -> None:
    # Twelve keep their tokens, which is no waste; on the last two days none does. That is a critical spike, too.
    worker = fleet.agent("worker")
    works(fleet, worker, range(2, 30), range(24), 12)
    works(fleet, worker, [0, 1], range(24), calls(600, "g"))
    fleet.store()
    [found] = fleet.findings("uncached_tokens")
    assert (found["severity"], found["window"]["from"][:10]) == ("critical", at(1).date().isoformat())


def test_a_habit_begins_on_the_same_day_whenever_one_asks(fleet: Fleet, clock: Clock) -> None:
    works(fleet, fleet.agent("worker"), range(40), range(24), calls(200, "e"))
    fleet.store()
    begins = set()
    for hours in range(0, 12 * 24, 12):
        clock.now = at(0, 12) - timedelta(hours=hours)
        begins |= {one["window"]["from"] for one in fleet.findings("uncached_tokens")}
    assert begins == {"2026-03-07T00:00:00.000000Z"}
