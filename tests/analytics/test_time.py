"""Days, hours and months are UTC's, whatever the server, the database, the role or the process is set to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import psycopg
import pytest
from flask import Flask

from agentidp import create_app
from tests.analytics.oracle import Comparison
from tests.conftest import settings_for
from tests.factories import Clock, make_agent, make_organization
from tests.helpers.time_zones import ZONES, session_time_zone, with_options

pytestmark = pytest.mark.slow


MIDNIGHTS = (
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2024, 3, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    # The days on which clocks in the United States are changed: 23 and 25 hours long there.
    datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 3, 9, tzinfo=UTC),
    datetime(2026, 4, 1, tzinfo=UTC),
    datetime(2026, 4, 15, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 11, 2, tzinfo=UTC),
)
# The hour that New York does not have, and the one that it has twice.
CLOCK_CHANGES = (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC))
MICROSECOND = timedelta(microseconds=1)
SIDES = tuple(at - before for at in (*MIDNIGHTS, *CLOCK_CHANGES) for before in (MICROSECOND, timedelta(0)))


@pytest.fixture
def process_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that sets the local time zone of Python."""

    def set_zone(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ZONES)
def test_both_sides_of_every_boundary_fall_where_utc_says(
    database_url: str, zone: str, process_time_zone: Callable[[str], None]
) -> None:
    process_time_zone(zone)
    url = with_options(database_url, timezone=zone, datestyle="SQL,DMY", intervalstyle="iso_8601")
    clock = Clock()
    app = create_app(settings_for(url), clock=clock)
    comparison = Comparison(app, clock)
    services = comparison.services
    with contextlib.closing(services):
        assert session_time_zone(services) == zone
        organization_id = make_organization(services)
        agents = [make_agent(services, organization_id, name) for name in ("builder", "tester")]
        for number, at in enumerate(SIDES, 1):
            comparison.count(agents[number % 2], at, tokens=number % 3 + 1, requests=number % 2)
        for at in SIDES:
            comparison.check(agents[0], at, trend=(1, 30), heatmap=(1, 90))
        for midnight in MIDNIGHTS:
            # Their first day is that of the midnight, and then the one after it.
            for days in (30, 90):
                comparison.check(agents[0], midnight + timedelta(days=days - 1), trend=(days,), heatmap=(days,))
                comparison.check(agents[0], midnight + timedelta(days=days), trend=(days,), heatmap=(days,))


def test_a_hundred_random_days_of_two_organizations_agree_with_the_oracle(
    database_url: str, app: Flask, clock: Clock
) -> None:
    random = Random(20260415)
    comparison = Comparison(app, clock)
    services = comparison.services
    fleets = []
    for name in ("Acme", "Outsider"):
        organization_id = make_organization(services, name)
        fleets.append([make_agent(services, organization_id, f"agent {number}") for number in range(7)])
    begin = datetime(2025, 12, 20, tzinfo=UTC)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(400):
            agent = random.choice(random.choice(fleets))
            # Others count in these slots just now.
            taken = range(random.choice((0, 0, 1, 3)))
            for slot in taken:
                connection.execute("select pg_advisory_lock(hashtext(%s), %s)", [agent.organization_id, slot])
            at = begin + timedelta(microseconds=random.randrange(100 * 86_400 * 1_000_000))
            comparison.count(agent, at, tokens=random.choice((0, 1, 1, 2, 5)), requests=random.randrange(3))
            connection.execute("select pg_advisory_unlock_all()")
    nows = [begin + timedelta(days=100, microseconds=-1), datetime(2026, 1, 1, tzinfo=UTC)]
    nows += [begin + timedelta(seconds=random.randrange(190 * 86_400)) for _ in range(8)]
    for now in nows:
        for fleet in fleets:
            comparison.check(
                random.choice(fleet), now, trend=(30, random.randint(1, 90)), heatmap=(90, random.randint(1, 90))
            )
    assert len(comparison.oracle.events) > 500
