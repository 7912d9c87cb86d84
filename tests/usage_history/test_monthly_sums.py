"""Stored monthly sums: responses that use them are exact, even if tokens are counted or deleted meanwhile."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.findings import dominance
from agentidp.findings.finding import FindingsQuery
from agentidp.services import Services
from agentidp.usage_history.monthly_sums import store_sums
from agentidp.usage_history.pruning import delete_days
from tests.analytics.oracle import USAGE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, PATIENCE, Agent, Clock, execute, make_agent, usage_sums

MONTHS = ("month=2026-02", "month=2026-03", "month=2026-04")
PARTS = (
    # The first period continues after a month whose sums are read. The second ends before the stored sums end.
    *("from=2026-02-01&to=2026-04-14", "from=2026-03-01&to=2026-03-15"),
    # The period begins after the first day of a month.
    *("from=2026-03-02&to=2026-03-31", "days=30"),
)
YESTERDAY = NOON - timedelta(days=1)


def stored(url: str, organization_id: str) -> list[tuple[Any, ...]]:
    """Return the stored sums by month: the day until which they extend, and the tokens per agent."""
    statement = (
        "select month::text, summed_until::text, tokens, agent_ids::text[], agent_tokens from usage_monthly "
        "where organization_id = %s order by month"
    )
    return [
        (month, until, tokens, dict(zip(agents, counts, strict=True)))
        for month, until, tokens, agents, counts in execute(url, statement, organization_id)
    ]


def store(url: str, organization_id: str, at: datetime = NOON) -> int:
    """Store the sums as ``agentidp watch`` does, and return the number of months."""
    with connect(url) as connection:
        return store_sums(connection, organization_id, at)


def answers(client: FlaskClient, agent: Agent, queries: tuple[str, ...] = MONTHS) -> dict[str, Any]:
    """Return the summary of each month or other period."""
    return {query: client.get(f"{USAGE}?{query}", headers=agent.bearer()).json["data"] for query in queries}


def dominant(services: Services, agent: Agent, at: datetime = NOON) -> list[Any]:
    """Return the rows that the finding of dominance reads."""
    query = FindingsQuery(at=at, days=7, token_ttl=3600)
    call = dominance.build_call(query)
    return services.database.of(agent.organization_id, at).fetch(call.name, **call.parameters)


def tamper(url: str, organization_id: str) -> None:
    """Store a hundred times as many tokens per agent, which shows whether the sums are read."""
    hundredfold = "agent_tokens = array(select 100 * n from unnest(agent_tokens) n)"
    execute(url, f"update usage_monthly set {hundredfold} where organization_id = %s", organization_id)


@ON_CITUS_TOO
def test_the_summary_and_dominance_are_the_same_with_sums(
    client: FlaskClient, services: Services, cast: Cast, database_url: str
) -> None:
    organization_id, random = cast.acme.organization_id, Random(5)
    fleet = [make_agent(services, organization_id, f"agent {number}") for number in range(4)]
    for ago in range(74):
        for agent in random.sample(fleet, random.randint(0, 2)):
            agent.count(NOON - timedelta(days=ago), tokens=random.randint(1, 9))
    fleet[0].count(YESTERDAY, tokens=150)
    fleet[1].count(NOON + timedelta(days=1), tokens=9)
    cast.outsider.count(YESTERDAY, tokens=9)
    before, dominant_before = answers(client, cast.acme), dominant(services, cast.acme)
    parts = answers(client, cast.acme, PARTS)
    assert all((before | parts).values())
    assert dominant_before
    # An existing database has counters and no sums.
    assert store(database_url, organization_id) == 3
    assert [row[:2] for row in stored(database_url, organization_id)] == [
        ("2026-02-01", "2026-03-01"),
        ("2026-03-01", "2026-04-01"),
        ("2026-04-01", "2026-04-15"),
    ]
    assert store(database_url, organization_id) == 0
    assert stored(database_url, cast.outsider.organization_id) == []
    assert (answers(client, cast.acme), dominant(services, cast.acme)) == (before, dominant_before)
    assert answers(client, cast.acme, PARTS) == parts
    # The tokens come from the sums, except today's.
    tamper(database_url, organization_id)
    for month, data in answers(client, cast.acme).items():
        assert sum(item["tokenCount"] for item in data) > 90 * sum(item["tokenCount"] for item in before[month])
    assert dominant(services, cast.acme)[0].token_count > 90 * dominant_before[0].token_count


@pytest.mark.parametrize("more", [-1, 1])
def test_sums_that_differ_from_the_counters_are_not_read(
    client: FlaskClient, cast: Cast, database_url: str, more: int
) -> None:
    """The sums may be smaller, as after a late token, or larger, as if a deletion had kept them."""
    acme = cast.acme
    acme.count(YESTERDAY, tokens=5)
    before = answers(client, acme)
    assert store(database_url, acme.organization_id) == 1
    tamper(database_url, acme.organization_id)
    assert answers(client, acme) != before
    execute(database_url, "update usage_monthly set tokens = tokens + %s", more)
    assert answers(client, acme) == before


@ON_CITUS_TOO
def test_a_token_that_is_counted_late_is_in_the_next_answer(
    client: FlaskClient, services: Services, cast: Cast, database_url: str
) -> None:
    acme = cast.acme
    acme.count(YESTERDAY, tokens=2)
    other = make_agent(services, acme.organization_id, "other")
    for late in range(3):
        assert store(database_url, acme.organization_id) == 1
        assert answers(client, acme)["month=2026-04"][0] == {"agentId": acme.client_id, "tokenCount": 2 + late}
        acme.count(YESTERDAY, tokens=1)
        assert answers(client, acme)["month=2026-04"] == [{"agentId": acme.client_id, "tokenCount": 3 + late}]
    store(database_url, acme.organization_id)
    other.count(YESTERDAY - timedelta(days=3), tokens=9)
    assert answers(client, acme)["month=2026-04"] == [
        {"agentId": other.client_id, "tokenCount": 9},
        {"agentId": acme.client_id, "tokenCount": 5},
    ]
    sums = usage_sums(database_url, acme.organization_id)
    assert {count for name, count in sums.items() if "tokens" in name} == {14}


def test_today_is_not_summed_and_later_sums_are_not_read(
    client: FlaskClient, cast: Cast, clock: Clock, database_url: str
) -> None:
    acme = cast.acme
    for days in (-1, 0, 1):
        acme.count(NOON + timedelta(days=days), tokens=3)
    midnight = datetime(2026, 4, 15, tzinfo=UTC)
    store(database_url, acme.organization_id, midnight)
    assert stored(database_url, acme.organization_id) == [("2026-04-01", "2026-04-15", 3, {acme.client_id: 3})]
    store(database_url, acme.organization_id, midnight - timedelta(microseconds=1))
    assert stored(database_url, acme.organization_id) == [("2026-04-01", "2026-04-15", 3, {acme.client_id: 3})]
    # A server whose clock is ahead has counted these tokens.
    store(database_url, acme.organization_id, NOON + timedelta(days=2))
    assert stored(database_url, acme.organization_id) == [("2026-04-01", "2026-04-17", 9, {acme.client_id: 9})]
    assert answers(client, acme)["month=2026-04"] == [{"agentId": acme.client_id, "tokenCount": 6}]
    clock.now = NOON + timedelta(days=2)
    assert answers(client, acme)["month=2026-04"] == [{"agentId": acme.client_id, "tokenCount": 9}]


def test_a_month_that_was_deleted_and_filled_again_is_not_read_from_its_old_sums(
    client: FlaskClient, services: Services, cast: Cast, database_url: str
) -> None:
    acme, day = cast.acme, NOON - timedelta(days=40)
    other = make_agent(services, acme.organization_id, "other")
    acme.count(day, tokens=5)
    store(database_url, acme.organization_id)
    delete_days(database_url, acme.organization_id, [day.date()], first_kept=NOON.date(), at=NOON)
    assert answers(client, acme)["month=2026-03"] == []
    # The organization's total is unchanged.
    other.count(day, tokens=5)
    assert answers(client, acme)["month=2026-03"] == [{"agentId": other.client_id, "tokenCount": 5}]
    assert store(database_url, acme.organization_id) == 1
    assert stored(database_url, acme.organization_id) == [("2026-03-01", "2026-04-01", 5, {other.client_id: 5})]


def test_a_deletion_waits_for_sums_that_are_being_stored(cast: Cast, database_url: str) -> None:
    acme, day = cast.acme, NOON - timedelta(days=40)
    acme.count(day, tokens=5)
    deleting = threading.Thread(
        target=delete_days,
        args=(database_url, acme.organization_id, [day.date()]),
        kwargs={"first_kept": NOON.date(), "at": NOON},
    )
    with connect(database_url) as connection:
        with operator_transaction(connection, acme.organization_id, NOON) as opened:
            opened.fetch("organizations/lock_organization")
            opened.fetch("usage_history/sum_month", month=day.date().replace(day=1), until=datetime(2026, 4, 1).date())
            deleting.start()
            deleting.join(0.3)
        deleting.join(PATIENCE)
    assert not deleting.is_alive()
    assert stored(database_url, acme.organization_id) == []


@pytest.mark.parametrize(
    "statement",
    ["insert into usage_monthly default values", "update usage_monthly set tokens = 0", "delete from usage_monthly"],
)
def test_the_service_only_reads_them(services: Services, statement: str) -> None:
    with services.database.pool.connection() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())
