"""What the analytics read of many agents: not more than an index must.

On every PostgreSQL: under row-level security, versions before 18 use fewer conditions to search an index.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from agentidp.analytics.period import Period
from agentidp.findings import markers
from agentidp.findings.finding import FindingsQuery
from agentidp.findings.kinds import KINDS
from tests.conftest import ON_EVERY_POSTGRES, database_url
from tests.factories import NOON
from tests.plans import explain, pages, prepare, service_connection
from tests.statements import header, run_by, values_of

# A database for each test, because they fill it and look at all of it.
__all__ = ["database_url"]

pytestmark = pytest.mark.slow

ORGANIZATION = "org-00000007-0000-4000-8000-000000000000"


FLEET = """
with days as (
    select %(today)s::date - ago as day, ago, extract(isodow from %(today)s::date - ago) > 5 as is_weekend
    from generate_series(0, 89) as ago
),
daily as materialized (
    select lpad(agent::text, 32, '0')::uuid as agent_id, day, by_hour.*
    from generate_series(1, %(agents)s) as agent
    cross join days
    cross join lateral (
        select
            sum(tokens) as tokens, sum(rejected) as rejected, array_agg(tokens) as tokens_by_hour,
            array_agg(3 * tokens) as requests_by_hour, array_agg(rejected) as rejected_by_hour
        from (
            select
                case
                    when agent %% 50 = 1 and ago < 3 then 0
                    when agent %% 5 = 2 and is_weekend then case when agent %% 100 = 2 and ago < 7 then 30 else 0 end
                    when agent %% 40 = 3 and ago = 1 and hour between 3 and 8 then 900
                    when agent %% 40 = 4 then 60
                    else (agent + ago + hour) %% 7
                end as tokens,
                case when agent %% 60 = 5 and ago = 1 and hour = 9 then 400 else 0 end as rejected
            from generate_series(0, 23) as hour
        ) as hours
    ) as by_hour
),
registered as (
    insert into agents (organization_id, agent_id, name, description, scopes, status, created_at, updated_at)
    select distinct
        %(organization_id)s, agent_id, agent_id::text, '', array['analytics:read'], 'active', now(), now()
    from daily
),
of_the_organization as (
    insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
    select
        %(organization_id)s, day, 0, sum(tokens), array_agg(tokens order by hour), array_agg(3 * tokens order by hour),
        array_agg(rejected order by hour)
    from (
        select day, hour, sum(hours.tokens) as tokens, sum(hours.rejected) as rejected
        from daily
        cross join unnest(tokens_by_hour, rejected_by_hour) with ordinality as hours (tokens, rejected, hour)
        group by day, hour
    ) as hours
    group by day
)
insert into agent_usage_daily (
    organization_id, day, agent_id, slot, tokens, requests, rejected,
    tokens_by_hour, requests_by_hour, rejected_by_hour
)
select
    %(organization_id)s, day, agent_id, 0, tokens, 3 * tokens, rejected,
    tokens_by_hour, requests_by_hour, rejected_by_hour
from daily
where tokens > 0
"""
"""90 days of agents, of which some stop, work at a weekend, loop, do not keep their tokens, or fail to authenticate."""

FLEET_STATEMENTS = [
    name
    for name in run_by("service")
    if name.startswith(("analytics/", "dashboard/", "findings/"))
    # They read a row of the one that is signed in.
    and name not in ("dashboard/viewer", "dashboard/person_session")
]


def fill(database_url: str, statement: str, **values: Any) -> None:
    """Found the organization, insert rows of it, and let PostgreSQL know of them."""
    founded = "insert into organizations (organization_id, name, created_at) values (%s, 'Acme', now())"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(founded, [ORGANIZATION])
        connection.execute(statement.encode(), {"organization_id": ORGANIZATION, **values})
        connection.execute("vacuum (analyze)")


@ON_EVERY_POSTGRES
def test_a_thousand_agents_are_read_by_the_key(database_url: str) -> None:
    look = FindingsQuery(at=NOON, days=7, token_ttl=3600)
    parameters = {call.name: call.parameters for call in (kind.build_call(look) for kind in (*KINDS.values(), markers))}
    known = {
        "organization_id": ORGANIZATION,
        "agent_id": f"{8:032d}",
        **Period.of(90, NOON).bounds,
        "on_day": NOON.date(),
    }
    fill(database_url, FLEET, agents=1_000, today=NOON.date())
    read = {}
    with service_connection(database_url, ORGANIZATION) as connection:
        for name in FLEET_STATEMENTS:
            values = {"at": NOON} | values_of(connection, name, known | parameters.get(name, {}))
            read[name] = pages(explain(connection, prepare(connection, name, **values)))
    assert {name: number for name, number in read.items() if number > header(name).fleet_pages} == {}


DELETED = """
insert into agents (
    organization_id, agent_id, name, description, scopes, status, created_at, updated_at, deleted_at
)
select
    %(organization_id)s, lpad(place::text, 32, '1')::uuid, 'deleted', '', array['analytics:read'], 'active',
    now(), now(), now()
from generate_series(10000, 29999) as place
"""


@ON_EVERY_POSTGRES
@pytest.mark.parametrize("plan_cache_mode", ["force_generic_plan", "force_custom_plan"])
def test_a_part_of_many_deleted_agents_reads_little(database_url: str, plan_cache_mode: str) -> None:
    fill(database_url, DELETED)
    today = NOON.date()
    values: dict[str, Any] = {"organization_id": ORGANIZATION, "at": NOON, "limit": 1_000, "search": ""}
    values |= {"status": None, "owner": None, "agent_ids": None, "first": today - timedelta(days=91), "last": today}
    read = {}
    with service_connection(database_url, ORGANIZATION) as connection:
        connection.execute("select set_config('plan_cache_mode', %s, false)", [plan_cache_mode])
        for after in (0, 15_000, 28_999):
            execute = prepare(
                connection, "dashboard/agents_by_id", after=f"{after:1>32}" if after else f"{0:032}", **values
            )
            rows = connection.execute(execute.encode()).fetchall()
            # None of them is listed, and the last one is there to go on after it.
            assert [row[0] for row in rows] == [UUID(f"{(after or 9_999) + 1_000:1>32}")]
            read[after] = pages(explain(connection, execute))
    # A search for each day and the agents themselves.
    assert max(read.values()) < 1_000, read
