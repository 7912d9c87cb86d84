"""What the three queries read does not grow with the traffic, with the organizations or with the history."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from agentidp.database import SERVICE_ROLE, load_sql

from ..factories import NOON

ORGANIZATIONS = 60
DAYS = 400  # more than any query looks back
AGENTS = 10
AGENT_DAYS = 40
ORGANIZATION = "org-00000007-0000-4000-8000-000000000000"

FILL = """
insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
select %(organization_id)s, %(today)s::date - ago, 0, 24 * %(scale)s::bigint,
    array_fill(%(scale)s::integer, array[24]), array_fill(%(scale)s::integer, array[24]), count_nothing()
from generate_series(0, %(days)s - 1) as ago
"""
FILL_AGENTS = """
insert into agent_usage_daily (
    organization_id, day, agent_id, slot, tokens, requests, rejected,
    tokens_by_hour, requests_by_hour, rejected_by_hour
)
select %(organization_id)s, %(today)s::date - ago, lpad(agent::text, 32, '0')::uuid, 0,
    24 * %(scale)s::bigint / %(agents)s, 24 * %(scale)s::bigint, 0,
    array_fill(%(scale)s::integer / %(agents)s, array[24]), array_fill(%(scale)s::integer, array[24]), count_nothing()
from generate_series(0, %(agent_days)s - 1) as ago, generate_series(1, %(agents)s) as agent
"""

# The statement, its parameters, the index, and the rows that it has to touch.
QUERIES = (
    ("analytics/token_trend", {"days": 30}, "usage_daily_pkey", 30),
    ("analytics/token_trend", {"days": 90}, "usage_daily_pkey", 90),
    ("analytics/activity_heatmap", {"days": 90}, "usage_daily_pkey", 90),
    # 1 to 15 April.
    ("analytics/agent_usage", {}, "agent_usage_daily_pkey", 15 * AGENTS),
)


def fill(url: str, scale: int) -> int:
    """Fill the counters anew, *scale* tokens an hour; returns how many of one organization they represent."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate usage_daily, agent_usage_daily")
        for number in range(ORGANIZATIONS):
            organization_id = f"org-{number:08x}-0000-4000-8000-000000000000"
            parameters = {
                "organization_id": organization_id,
                "today": NOON.date(),
                "scale": scale,
                "days": DAYS,
                "agents": AGENTS,
                "agent_days": AGENT_DAYS,
            }
            connection.execute("select set_config('agentidp.organization_id', %s, false)", [organization_id])
            connection.execute(FILL, parameters)
            connection.execute(FILL_AGENTS, parameters)
        connection.execute("vacuum (analyze) usage_daily, agent_usage_daily")
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [ORGANIZATION])
        [(tokens,)] = connection.execute(
            "select sum(tokens)::bigint from usage_daily where organization_id = %s", [ORGANIZATION]
        )
        return int(tokens)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def measure(url: str, plan_cache_mode: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The plan of each query, prepared and run as the service does: what it reads, and by which index."""
    measured = {}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(load_sql("database/configure_connection"), {"role": SERVICE_ROLE, "statement_timeout": "9s"})
        connection.execute(
            "select set_config('agentidp.organization_id', %s, false), set_config('plan_cache_mode', %s, false)",
            [ORGANIZATION, plan_cache_mode],
        )
        for number, (name, parameters, index, rows) in enumerate(QUERIES):
            values = {"organization_id": ORGANIZATION, "at": NOON, **parameters}
            statement = load_sql(name)
            order = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
            for place, parameter in enumerate(order, 1):
                statement = statement.replace(f"%({parameter})s", f"${place}")
            connection.execute(f"prepare query_{number} as {statement}".encode())
            execute = psycopg.ClientCursor(connection).mogrify(
                f"execute query_{number} ({', '.join(['%s'] * len(order))})", [values[p] for p in order]
            )
            answer = connection.execute(execute.encode()).fetchall()
            [(explained,)] = connection.execute(
                f"explain (analyze, buffers, timing off, format json) {execute}".encode()
            )
            plan = explained[0]["Plan"]
            found = list(nodes(plan))
            # Bitmaps name the index below the table, plain index scans beside it.
            tables = [node for node in found if "Relation Name" in node]
            assert {node["Node Type"] for node in tables} <= {
                "Index Scan",
                "Index Only Scan",
                "Bitmap Heap Scan",
            }, name
            assert [node["Index Name"] for node in found if "Index Name" in node] == [index], name
            [table] = tables
            assert table["Actual Rows"] * table["Actual Loops"] == rows, name
            # The policy is a comparison a statement and not one a row.
            assert "Filter" not in table, name
            measured[name, repr(parameters)] = {
                "rows": rows,
                "buffers": plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
                "answer": len(answer),
            }
    return measured


@pytest.mark.parametrize("plan_cache_mode", ["force_generic_plan", "force_custom_plan"])
def test_as_much_is_read_for_ten_thousand_tokens_as_for_a_hundred_million(
    database_url: str, plan_cache_mode: str
) -> None:
    assert 9_000 < fill(database_url, 1) < 11_000
    few = measure(database_url, plan_cache_mode)
    assert fill(database_url, 11_000) > 100_000_000
    many = measure(database_url, plan_cache_mode)
    assert many == few
    for (name, _), read in many.items():
        # A buffer a row at the most, and the way down the index.
        assert read["buffers"] <= read["rows"] + 10, (name, read)
    assert [read["answer"] for read in many.values()] == [30, 90, 7 * 24, AGENTS]
