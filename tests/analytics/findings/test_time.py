"""What is found is the same whatever time zone the session has, on both sides of its midnights and of UTC's."""

from __future__ import annotations

import itertools
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.findings import KINDS
from agentidp.analytics.findings.finding import Look
from agentidp.database import Call, Database
from agentidp.demo import ORGANIZATION_ID, SILENT, create_demo, traffic
from agentidp.services import Services

from ...conftest import settings_for
from ...factories import make_agent, make_organization
from ..test_time import ZONES, session_time_zone, with_options
from .conftest import Fleet

LAST = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)
"""Up to when there is usage: the first of a month, which New York has not yet begun by some of these."""

DAYS = (3, 4, 5, 19, 20, 38, 39, 90)
"""How far to look back: with the first day of each fault in it, and just not."""

INSTANTS = [LAST - timedelta(hours=12, minutes=20), LAST, LAST + timedelta(hours=11, minutes=20)]


@pytest.fixture
def weekend_run(services: Services, client: FlaskClient) -> str:
    """An organization that worked on working days for nine weeks, and then from Saturday 23:00 to Sunday 01:00."""
    organization_id = make_organization(services)
    fleet = Fleet(services, make_agent(services, organization_id, "reader"), client)
    worker = fleet.agent("worker")

    def tokens(hour: datetime) -> int:
        if hour.weekday() < 5:
            return 20 if 8 <= hour.hour < 18 else 0
        return 300 if datetime(2026, 3, 28, 23, tzinfo=UTC) <= hour < datetime(2026, 3, 29, 1, tzinfo=UTC) else 0

    fleet.work(worker, datetime(2026, 1, 26, tzinfo=UTC), LAST, tokens)
    fleet.store()
    return organization_id


def everything(database: Database, organization_id: str, agent_id: UUID, at: datetime, days: int) -> dict[str, Any]:
    """The rows of every statement behind the findings and the dashboard at an instant."""
    look = Look(at=at, days=days, token_ttl=3600, dominance_percent=50)
    calls = {name: kind.call(look) for name, kind in KINDS.items()}
    calls |= {
        "agent": Call("analytics/agent_activity", {"agent_id": agent_id, "days": 30}),
        "overview": Call("analytics/agent_overview", {"limit": 50, "offset": 0}),
        "names": Call("analytics/agent_usage_with_names", {}),
        "rejections by day": Call("analytics/rejection_trend", {"days": 30}),
    }
    own = {"organization_id": organization_id, "at": at}
    rows = database.run(organization_id, *(Call(name, own | more) for name, more in calls.values()))
    return dict(zip(calls, rows, strict=True))


@pytest.mark.parametrize("zone", ZONES[1:])
def test_the_time_zone_of_a_session_changes_nothing(
    database_url: str, services: Services, weekend_run: str, zone: str
) -> None:
    create_demo(database_url, services.database, LAST)
    url = with_options(database_url, timezone=zone, datestyle="SQL,DMY", intervalstyle="iso_8601")
    found: set[str] = set()
    with closing(Database(url, settings_for(url))) as elsewhere:
        for organization_id in (ORGANIZATION_ID, weekend_run):
            for at, days in itertools.product(INSTANTS, DAYS):
                expected = everything(services.database, organization_id, SILENT.agent_id, at, days)
                assert everything(elsewhere, organization_id, SILENT.agent_id, at, days) == expected
                found |= {name for name, rows in expected.items() if rows}
        with closing(Services.of(settings_for(url), services.clock)) as there:
            assert session_time_zone(there) == zone
    assert found == {*KINDS, "agent", "overview", "names", "rejections by day"}


def test_what_is_compared_falls_on_days_that_zones_disagree_about() -> None:
    days = {row.day for row in traffic(LAST)}
    assert {date(2026, 3, 31), date(2026, 4, 1)} <= days
    assert {at.date() for at in INSTANTS} == {date(2026, 4, 1)}


def test_an_agents_last_hour_is_an_instant(services: Services, database_url: str) -> None:
    create_demo(database_url, services.database, LAST)
    rows = everything(services.database, ORGANIZATION_ID, SILENT.agent_id, LAST, 30)
    last = max((row.day, row.hour) for row in traffic(LAST) if row.agent is SILENT and row.usage.tokens)
    assert rows["agent"][0].last_token_hour == datetime.combine(last[0], datetime.min.time(), UTC).replace(hour=last[1])
