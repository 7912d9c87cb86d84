"""Bytes that the database writes for a token and keeps for an agent: counts, which do not depend on the machine.

``python -m bench.storage`` prints them; docs/growing.md calculates with them.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import psycopg

from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate

ORGANIZATIONS = 5
AGENTS = 40
"""Of each organization."""

FIRST_DAY = date(2026, 4, 1)

_POPULATE = """
    with organization as (
        insert into organizations (organization_id, name, created_at)
        select 'org-' || gen_random_uuid(), 'Organization ' || number, now() from generate_series(1, %(n)s) as number
        returning organization_id
    ),
    made as materialized (
        select organization_id, gen_random_uuid() as agent_id, number
        from organization
        cross join generate_series(1, %(agents)s) as number
    ),
    agent as (
        insert into agents (organization_id, agent_id, name, description, scopes, status, created_at, updated_at)
        select organization_id, agent_id, 'an-agent-with-a-name-' || number, '', array['analytics:read'], 'active',
            now(), now()
        from made
    ),
    client as (
        insert into clients (client_id, organization_id) select agent_id, organization_id from made
    ),
    credential as (
        insert into credentials (organization_id, agent_id, credential_id, secret_hash, created_at)
        select organization_id, agent_id, gen_random_uuid(), sha256(agent_id::text::bytea), now() from made
    )
    select organization_id, agent_id from made
"""
_COUNT = """
    select count_token(organization_id, agent_id, credential_id, '', %(day)s, %(hour)s)
    from credentials
    where organization_id = %(organization_id)s and agent_id = %(agent_id)s
"""
_USE = "update credentials set last_used_at = now() where organization_id = %s and agent_id = %s"
_SIZE = "select sum(pg_total_relation_size(relation::regclass)) from unnest(%s::text[]) as relation"


def measure(days: int = 30) -> dict[str, float]:
    """Bytes by what they are for.

    :param days: with a token of each agent in each hour.
    """
    settings = {"wal_level": "replica", "full_page_writes": "on", "checkpoint_timeout": "1h", "autovacuum": "off"}
    with temporary(settings=settings) as postgres:
        migrate(postgres.url)
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            return _measure(connection, days)


def _measure(connection: psycopg.Connection[Any], days: int) -> dict[str, float]:
    def count(day: date, hour: int) -> None:
        for organization_id, agent_id in agents:
            parameters = {"organization_id": organization_id, "agent_id": agent_id, "day": day, "hour": hour}
            connection.execute(_COUNT, parameters)

    def number(statement: str, *parameters: Any) -> int:
        row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        return int(row[0])

    def log_position() -> int:
        return number("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")

    registry = ["agents", "clients", "credentials"]
    usage = ["agent_usage_daily", "usage_daily", "credential_usage_daily"]
    before = number(_SIZE, registry)
    agents = connection.execute(_POPULATE, {"n": ORGANIZATIONS, "agents": AGENTS}).fetchall()
    found = {"an agent and its credential": (number(_SIZE, registry) - before) / len(agents)}
    before = number(_SIZE, usage)
    for day in range(days):
        for hour in range(24):
            count(FIRST_DAY + timedelta(days=day), hour)
        connection.execute("vacuum agent_usage_daily, usage_daily, credential_usage_daily")
    found["a day of an agent"] = (number(_SIZE, usage) - before) / len(agents) / days
    last = FIRST_DAY + timedelta(days=days - 1)
    connection.execute("checkpoint")
    for name in ("log of an agent's first token after a checkpoint", "log of a further token"):
        begin = log_position()
        count(last, 23)
        found[name] = (log_position() - begin) / len(agents)
    for _ in range(2):  # The first round writes whole pages, and the second one counts.
        begin = log_position()
        for organization_id, agent_id in agents:
            connection.execute(_USE, [organization_id, agent_id])
        found["log of a credential's last use"] = (log_position() - begin) / len(agents)
    return found


if __name__ == "__main__":
    for what, size in measure().items():
        print(f"{what:<50} {size:>8,.0f} bytes")
