"""Whether a request costs more as the data grows: the same requests before and after each step of growth."""

from __future__ import annotations

import itertools

import psycopg

from bench import load
from bench.requests import AGENT_USAGE, GRANT, HEATMAP, TOKEN, TREND, get, post
from bench.servers import cpu_seconds

SECONDS = 1.0
ROUNDS = 3

STEPS = {
    "10,000 organizations": """
        with organization as (
            insert into organizations (organization_id, name, created_at)
            select 'org-' || gen_random_uuid(), 'Organization', now() from generate_series(1, 10000)
            returning organization_id
        )
        insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, rejected_by_hour)
        select organization_id, (now() at time zone 'UTC')::date - ago, 0, 1, count_at(0), count_at(0), count_nothing()
        from organization
        cross join generate_series(0, 9) as ago
    """,
    "10,000 agents": """
        with agent as (
            insert into agents
                (organization_id, agent_id, name, description, scopes, status, created_at, updated_at)
            select organization_id, gen_random_uuid(), 'grown-' || number, '', scopes, status, now(), now()
            from agents
            cross join generate_series(1, 10000) as number
            where agent_id = %(agent)s
            returning organization_id, agent_id
        )
        insert into agent_usage_daily
            (
                organization_id, day, agent_id, slot, tokens, requests, rejected,
                tokens_by_hour, requests_by_hour, rejected_by_hour
            )
        select
            organization_id, (now() at time zone 'UTC')::date, agent_id, 0, 1, 1, 0,
            count_at(0), count_at(0), count_nothing()
        from agent
    """,
    "1 billion tokens": """
        update usage_daily
        set tokens = tokens + 12000000, tokens_by_hour = array_fill(500000::bigint, array[24])
        where organization_id = (select organization_id from agents where agent_id = %(agent)s)
    """,
}
"""What grows -> the statement that makes it so, in the organization of ``agent``. Each step keeps those before it."""


def measure_growth(
    port: int, url: str, processes: tuple[int, int], client: tuple[str, str], bearer: str
) -> dict[str, dict[str, float]]:
    """Print and return the processor time of each request in seconds, before the data grows and after each step.

    It comes last, because the statements do not keep the sums of the counters. "agents" lists each agent that has
    tokens, so its response grows.

    :param processes: the process ids of the service and of PostgreSQL.
    """
    requests = {
        "token": post(TOKEN, GRANT, client),
        "trend": get(f"{TREND}?days=30", bearer),
        "heatmap": get(HEATMAP, bearer),
        "agents": get(AGENT_USAGE, bearer),
        "agents, one page": get("/api/v1/agents?limit=20", bearer),
    }
    print("\nprocessor time of a request in ms (Python and PostgreSQL), and how many times that before the data grew")
    print(f"{'':<24}" + "".join(f"{name:>18}" for name in requests))
    found = {"before": processor_times(port, processes, requests)}
    print(line("before", found["before"], found["before"]), flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        for step, statement in STEPS.items():
            connection.execute(statement, {"agent": client[0]} if "%(agent)s" in statement else None)
            connection.execute("vacuum analyze")
            found[step] = processor_times(port, processes, requests)
            print(line(step, found[step], found["before"]), flush=True)
    return found


def processor_times(port: int, processes: tuple[int, int], requests: dict[str, bytes]) -> dict[str, float]:
    """The processor time of each request in seconds, the least of some rounds: other load can only add to it."""
    rounds: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(ROUNDS):
        for name, request in requests.items():
            begin = sum(map(cpu_seconds, processes))
            result = load.run(port, itertools.repeat(request), connections=4, seconds=SECONDS)
            rounds[name].append((sum(map(cpu_seconds, processes)) - begin) / result.responses)
    return {name: min(values) for name, values in rounds.items()}


def line(step: str, after: dict[str, float], before: dict[str, float]) -> str:
    """A row of the table."""
    cells = (f"{after[name] * 1000:.2f} ({after[name] / before[name]:.2f})" for name in before)
    return f"{step:<24}" + "".join(f"{cell:>18}" for cell in cells)
