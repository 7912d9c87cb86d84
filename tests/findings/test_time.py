"""What is found is the same whatever time zone the session has, on both sides of its midnights and of UTC's."""

from __future__ import annotations

import itertools
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.db.database import Database
from agentidp.db.sql import Call
from agentidp.demo import SILENT, traffic
from agentidp.findings import KINDS
from agentidp.findings.finding import FindingsQuery
from agentidp.services import Services
from tests.analytics.test_time import ZONES, session_time_zone, with_options
from tests.conftest import settings_for
from tests.findings.conftest import STORY_AT, STORY_DAYS, Fleet, make_a_story

pytestmark = pytest.mark.slow

INSTANTS = [STORY_AT - timedelta(hours=12, minutes=20), STORY_AT, STORY_AT + timedelta(hours=11, minutes=20)]
"""The first of a month, which New York has not yet begun by the first of these, and Kiritimati ended by the last."""


def month_of(at: datetime) -> dict[str, Any]:
    """The parameters of the month of *at*, up to its day."""
    days = {"first_day": at.date().replace(day=1), "until": at.date() + timedelta(days=1)}
    return days | {"with_names": True, "limit": None}


AGENTS = {
    "search": "",
    "status": None,
    "agent_ids": None,
    "sort": "tokens",
    "descending": True,
    "limit": 50,
    "offset": 0,
}


def everything(database: Database, organization_id: str, agent_id: UUID, at: datetime, days: int) -> dict[str, Any]:
    """The rows of every statement behind the findings and the dashboard at an instant."""
    look = FindingsQuery(at=at, days=days, token_ttl=3600, dominance_percent=50)
    calls = {name: kind.call(look) for name, kind in KINDS.items()}
    calls |= {
        "agent": Call("analytics/agent_activity", {"agent_id": agent_id, "days": 30}),
        "agents": Call("dashboard/agents", AGENTS | {"first": at.date() - timedelta(days=29), "last": at.date()}),
        "months": Call("usage_history/stale_months", {}),
        "names": Call("analytics/agent_usage", month_of(at)),
    }
    rows = database.of(organization_id, at).run(*calls.values())
    return dict(zip(calls, rows, strict=True))


@pytest.mark.very_slow
@pytest.mark.parametrize("zone", ZONES[1:])
def test_the_time_zone_of_a_session_changes_nothing(
    database_url: str, services: Services, fleet: Fleet, zone: str
) -> None:
    silent = make_a_story(fleet)
    url = with_options(database_url, timezone=zone, datestyle="SQL,DMY", intervalstyle="iso_8601")
    found: set[str] = set()
    with closing(Database(url, settings_for(url))) as elsewhere:
        for at, days in itertools.product(INSTANTS, STORY_DAYS):
            expected = everything(services.database, fleet.organization_id, silent, at, days)
            assert everything(elsewhere, fleet.organization_id, silent, at, days) == expected
            found |= {name for name, rows in expected.items() if rows}
    with closing(Services.of(settings_for(url), services.clock)) as there:
        assert session_time_zone(there) == zone
    assert found == {*KINDS, "agent", "agents", "months", "names"}


def test_what_is_compared_falls_on_days_that_zones_disagree_about() -> None:
    assert {date(2026, 3, 31), date(2026, 4, 1)} <= {row.day for row in traffic(STORY_AT)}
    assert {at.date() for at in INSTANTS} == {date(2026, 4, 1)}


def test_an_agents_last_hour_is_an_instant(services: Services, fleet: Fleet) -> None:
    silent = make_a_story(fleet)
    [first, *_] = everything(services.database, fleet.organization_id, silent, STORY_AT, 30)["agent"]
    day, hour = max((row.day, row.hour) for row in traffic(STORY_AT) if row.agent is SILENT and row.usage.tokens)
    assert first.last_token_hour == datetime.combine(day, time(hour), UTC)
