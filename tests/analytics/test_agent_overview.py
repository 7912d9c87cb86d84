"""The agents of the month with their names, and the rejected requests of each day: what only the dashboard shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from agentidp.db.organization import Transaction
from agentidp.services import Services
from agentidp.usage import record_rejection
from tests.conftest import Cast
from tests.factories import NOON, Agent, count_usage, make_agent

Run = Callable[..., list[Any]]


@pytest.fixture
def run(database_url: str) -> Iterator[Run]:
    """Runs a statement about Acme as a superuser, whom row-level security does not keep from other organizations."""
    with psycopg.connect(database_url, row_factory=namedtuple_row) as connection:

        def rows(name: str, organization_id: str, at: datetime, **parameters: Any) -> list[Any]:
            return Transaction(connection, organization_id, at).fetch(name, **parameters)

        yield rows


def overview(run: Run, agent: Agent, at: datetime = NOON, limit: int = 50, offset: int = 0) -> list[Any]:
    """Name, tokens, requests, rejected and last hour of each agent."""
    rows = run("analytics/agent_overview", organization_id=agent.organization_id, at=at, limit=limit, offset=offset)
    return [(row.name, row.tokens, row.requests, row.rejected, row.last_seen) for row in rows]


def hour(at: datetime) -> datetime:
    """The beginning of its hour."""
    return at.replace(minute=0, second=0, microsecond=0)


def test_counts_the_month_up_to_its_day_and_no_other_organization(run: Run, cast: Cast, services: Services) -> None:
    acme, outsider = cast.acme, cast.outsider
    first = datetime(2026, 4, 1, tzinfo=UTC)
    for agent, times in ((acme, 1), (outsider, 3)):
        for at, tokens in (
            (first - timedelta(microseconds=1), 50),  # the last instant of March: not of the month, but seen
            (first, 1),
            (NOON, 2),
            (NOON + timedelta(days=1), 70),  # tomorrow: after "at"
        ):
            count_usage(services, agent.organization_id, agent.agent_id, at, tokens=tokens * times, requests=1)
    assert overview(run, acme) == [("builder", 3, 5, 0, NOON)]
    assert overview(run, acme, first - timedelta(seconds=1)) == [
        ("builder", 50, 51, 0, datetime(2026, 3, 31, 23, tzinfo=UTC))
    ]


def test_sees_an_agent_in_the_hour_of_its_last_request_within_90_days(run: Run, cast: Cast, services: Services) -> None:
    acme = cast.acme
    ancient, old, idle = (make_agent(services, acme.organization_id, name=name) for name in ("ancient", "old", "idle"))
    earliest = datetime(2026, 1, 16, tzinfo=UTC)
    count_usage(services, acme.organization_id, ancient.agent_id, earliest - timedelta(microseconds=1), requests=1)
    count_usage(services, acme.organization_id, old.agent_id, earliest, requests=1)
    at = NOON + timedelta(minutes=59)
    count_usage(services, acme.organization_id, acme.agent_id, NOON - timedelta(hours=30), requests=5)
    count_usage(services, acme.organization_id, acme.agent_id, at, requests=1)
    # A failed authentication may be anybody's.
    record_rejection(services.database.of(acme.organization_id, NOON), idle.agent_id)
    seen = {row[0]: row[4] for row in overview(run, acme, at)}
    assert seen == {"builder": hour(at), "old": earliest, "ancient": None, "idle": None}


def test_lists_in_order_and_in_parts_and_says_how_many_there_are(run: Run, cast: Cast, services: Services) -> None:
    acme = cast.acme
    for name, tokens, requests in (("d", 0, 0), ("c", 0, 0), ("b", 0, 9), ("a", 4, 0), ("e", 7, 0)):
        agent = make_agent(services, acme.organization_id, name=name)
        count_usage(services, acme.organization_id, agent.agent_id, NOON, tokens=tokens, requests=requests)
    order = ["e", "a", "b", "builder", "c", "d"]
    assert [row[0] for row in overview(run, acme)] == order
    assert [row[0] for n in range(0, 6, 2) for row in overview(run, acme, limit=2, offset=n)] == order
    assert overview(run, acme, offset=6) == []
    rows = run("analytics/agent_overview", organization_id=acme.organization_id, at=NOON, limit=1, offset=2)
    assert [(row.agents, row.all_tokens) for row in rows] == [(6, 11)]


def test_slots_of_a_day_are_added_up(run: Run, cast: Cast, services: Services, database_url: str) -> None:
    acme = cast.acme
    count_usage(services, acme.organization_id, acme.agent_id, NOON, tokens=2)
    record_rejection(services.database.of(acme.organization_id, NOON), acme.agent_id)
    with psycopg.connect(database_url) as connection:
        for table in ("usage_daily", "agent_usage_daily"):
            connection.execute(f"create temporary table other as select * from {table}")
            connection.execute("update other set slot = 7")
            connection.execute(f"insert into {table} select * from other")
            connection.execute("drop table other")
    assert overview(run, acme) == [("builder", 4, 4, 2, NOON)]
    assert rejections(run, acme, days=1) == {"2026-04-15": 2}


def rejections(run: Run, agent: Agent, days: int, at: datetime = NOON) -> dict[str, int]:
    """Day -> how many; the days are in order."""
    rows = run("analytics/rejection_trend", organization_id=agent.organization_id, at=at, days=days)
    assert [row.date for row in rows] == sorted(row.date for row in rows)
    return {row.date: row.count for row in rows}


def test_rejections_are_told_for_each_day_zeros_included_and_of_no_other_organization(
    run: Run, cast: Cast, services: Services
) -> None:
    midnight = datetime(2026, 4, 13, tzinfo=UTC)
    for agent, times in ((cast.acme, 1), (cast.outsider, 2)):
        for at in (
            midnight - timedelta(microseconds=1),  # a day before the range
            midnight,
            NOON,
            NOON + timedelta(hours=11, minutes=59),
            NOON + timedelta(hours=12),  # tomorrow
        ):
            for _ in range(times):
                record_rejection(services.database.of(agent.organization_id, at), agent.agent_id)
    count_usage(services, cast.acme.organization_id, cast.acme.agent_id, NOON, tokens=5)
    assert rejections(run, cast.acme, days=3) == {"2026-04-13": 1, "2026-04-14": 0, "2026-04-15": 2}
    assert rejections(run, cast.acme, days=1) == {"2026-04-15": 2}
